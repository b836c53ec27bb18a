"""How long `fitgate compare` takes over many runs: the whole command, from start to leaderboard.

    python benchmarks/compare.py                    1,000 runs of 100,000 points, the median of three
    python benchmarks/compare.py --runs 100

Two shapes of the same store: all points of a run in the one metric that is compared (the most there is to
read), and ten metrics of which one is compared. The files are as `MetricsCallback` leaves them.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fitgate._files import replace_bytes
from fitgate.store._batch import Block
from fitgate.store._open_segment import OpenSegment
from fitgate.store._parquet import encode
from fitgate.store._run_file import Attempt, RunInfo, write_run_info
from fitgate.store._segments import SEALED_ROWS, segment_name

_SEEDS = 5
_STEP_S = 0.01


def main() -> None:
    """Make the stores, time the command, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--points", type=int, default=100_000, help="of each run, over all its metrics")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, pyarrow {pa.__version__}"
    )
    for metrics in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            names = [f"metric_{i}_loss" for i in range(metrics)]
            size = make_store(Path(folder), runs=options.runs, names=names, points=options.points // metrics)
            seconds = [time_compare(folder, names[metrics // 2]) for _ in range(options.repeat)]
        each = ", ".join(f"{s:.2f}" for s in seconds)
        print(
            f"{options.runs:,} runs of {options.points:,} points in {metrics} metric{'s'[: metrics != 1]} ({size / 1e6:,.0f} MB): "
            f"{statistics.median(seconds):.2f} s (median of {each})"
        )


def make_store(root: Path, *, runs: int, names: Sequence[str], points: int) -> int:
    """A store of runs that fell at different rates, five seeds of each configuration; its size in bytes."""
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.05, size=points * 2)
    rows = SEALED_ROWS // len(names)
    for index in range(runs):
        run_id = f"sweep-{datetime.now(UTC):%Y%m%d-%H%M%S}-r{index:04d}"
        folder = root / run_id / "metrics"
        folder.mkdir(parents=True)
        rate = 2 + 4 * (index // _SEEDS) / runs
        shift = int(generator.integers(points))
        values = np.exp(-rate * np.linspace(0, 1, points)) + noise[shift : shift + points]
        segment = OpenSegment(run_id=run_id, attempt=0, rank=0)
        for sequence, start in enumerate(range(0, points, rows)):
            segment.add(points_of(names, values[start : start + rows], first=start))
            replace_bytes(folder / segment_name(0, 0, sequence), encode(segment.tables()))
            segment.clear()
        now = datetime.now(UTC)
        hparams = {"lr": 10.0 ** -(1 + index // _SEEDS % 4), "width": 32 * (1 + index // _SEEDS), "seed": index % _SEEDS}
        attempts = (Attempt(number=0, started=now),)
        info = RunInfo(id=run_id, name="sweep", state="completed", created=now, updated=now, hparams=hparams, attempts=attempts)
        write_run_info(root / run_id, info)
    return sum(path.stat().st_size for path in root.glob("*/metrics/*.parquet"))


def points_of(names: Sequence[str], values: npt.NDArray[np.float64], *, first: int) -> Block:
    """Points of one run from a step on: the same values for each metric."""
    steps = np.arange(first, first + len(values))
    wall_time = int(time.time()) * 1_000_000 + (steps * _STEP_S * 1e6).astype(np.int64)
    axes = np.array([steps, steps + 1, steps // 1_000, wall_time])
    return Block("train", tuple(names), axes, np.repeat(values[:, None], len(names), axis=1))


def time_compare(root: str, metric: str) -> float:
    """Seconds from starting the command to its end."""
    command = [sys.executable, "-m", "fitgate", "compare", "--root", root, "--metric", metric]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert metric in done.stdout
    return seconds


if __name__ == "__main__":
    main()
