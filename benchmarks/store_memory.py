"""How much a process grows while it records ten million points by hand, with the TensorBoard mirror.

Run: `python benchmarks/store_memory.py [POINTS]`

The start is taken after the first two percent, when every library is loaded and the first file is sealed. What grows after that
would grow without end.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil
from store_common import metric_names, show

import fitgate

_SAMPLES = 50
_REST_S = 0.002


def main(points: int) -> None:
    """Measure and print."""
    rows = []
    for metrics in (2, 20):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:  # nothing left behind by the one before
            resident, seconds = fresh.submit(recorded, points, metrics).result()
        start, *later = resident
        growth = [(size - start) / 2**20 for size in later]
        last = growth[-len(growth) // 5 :]
        rows.append((f"{metrics} metrics a step", f"{seconds:.0f} s", start / 2**20, max(growth), sum(last) / len(last), growth[-1]))
    show(
        f"Resident memory while {points:,} points are recorded, MiB",
        ("run", "took", "start", "most above it", "mean of the last fifth above it", "at the end above it"),
        rows,
    )


def recorded(points: int, metrics: int) -> tuple[list[int], float]:
    """Bytes resident after each fiftieth of the points."""
    process = psutil.Process()
    names = metric_names(metrics)
    steps = points // metrics
    resident = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as root, fitgate.start_run(root, name="bench") as run:
        for step in range(steps):
            run.log_metrics({name: 1.0 / (step + 1) + index for index, name in enumerate(names)}, step=step)
            if step % (steps // 10_000) == 0:
                time.sleep(_REST_S)  # a step takes its time; and nothing that takes points at full speed all day is a training
            if (step + 1) % (steps // _SAMPLES) == 0:
                resident.append(process.memory_info().rss)
    return resident, time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
