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
from typing import Any

import numpy as np
import pyarrow as pa

from fitgate.store._run_file import Attempt, RunInfo, write_run_info
from fitgate.store._schema import SCHEMA
from fitgate.store._segments import SEALED_ROWS, segment_name, write_segment

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
    for index in range(runs):
        run_id = f"sweep-{datetime.now(UTC):%Y%m%d-%H%M%S}-r{index:04d}"
        folder = root / run_id / "metrics"
        folder.mkdir(parents=True)
        rate = 2 + 4 * (index // _SEEDS) / runs
        shift = int(generator.integers(points))
        values = np.exp(-rate * np.linspace(0, 1, points)) + noise[shift : shift + points]
        table = points_table(run_id, names, np.tile(values, len(names)), points)
        for sequence, start in enumerate(range(0, table.num_rows, SEALED_ROWS)):
            write_segment(folder / segment_name(0, 0, sequence), table.slice(start, SEALED_ROWS))
        now = datetime.now(UTC)
        hparams = {"lr": 10.0 ** -(1 + index // _SEEDS % 4), "width": 32 * (1 + index // _SEEDS), "seed": index % _SEEDS}
        attempts = (Attempt(number=0, started=now),)
        info = RunInfo(id=run_id, name="sweep", state="completed", created=now, updated=now, hparams=hparams, attempts=attempts)
        write_run_info(root / run_id, info)
    return sum(path.stat().st_size for path in root.glob("*/metrics/*.parquet"))


def points_table(run_id: str, names: Sequence[str], values: np.ndarray, points: int) -> pa.Table:
    """One run's points as the store has them: sorted by name, then by step. Values of shape (names · points,)."""
    rows = len(values)
    steps = np.tile(np.arange(points), len(names))
    ordered = sorted(names)
    zeros = np.zeros(rows, dtype=np.int32)
    wall_time = int(time.time() * 1e6) + (steps * _STEP_S * 1e6).astype(np.int64)
    columns: dict[str, Any] = {
        "run_id": pa.DictionaryArray.from_arrays(zeros, pa.array([run_id])),
        "attempt": zeros,
        "rank": zeros,
        "stage": pa.DictionaryArray.from_arrays(zeros, pa.array(["train"])),
        "name": pa.DictionaryArray.from_arrays(np.repeat(np.arange(len(names), dtype=np.int32), points), pa.array(ordered)),
        "step": steps,
        "global_step": steps + 1,
        "epoch": (steps // 1_000).astype(np.int32),
        "wall_time": pa.array(wall_time).cast(pa.timestamp("us", tz="UTC")),
        "value": values,
    }
    return pa.table({name: columns[name] for name in SCHEMA.names})


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
