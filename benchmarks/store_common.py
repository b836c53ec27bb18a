"""What the store's benchmarks share: realistic points, medians with their spread, and tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from fitgate.store._batch import Batch
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

__all__ = ["Timing", "measured", "metric_names", "show", "training", "written_run"]

_START_US = 1_780_000_000_000_000
_STEPS_PER_FLUSH = 3000


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one thing, in seconds."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def __str__(self) -> str:
        low, middle, high = np.quantile(self.wall, [0.25, 0.5, 0.75]) * 1e3
        return f"{middle:.1f} ms ({low:.1f} to {high:.1f})"

    @property
    def median(self) -> float:
        """Of wall time."""
        return float(np.median(self.wall))


def measured(actions: dict[str, Callable[[], object]], repeats: int = 15) -> dict[str, Timing]:
    """Time several things in turn, so that what else the machine does hits all of them alike."""
    wall: dict[str, list[float]] = {name: [] for name in actions}
    cpu: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(repeats):
        for name, action in actions.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            action()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - start_cpu)
    return {name: Timing(tuple(wall[name]), tuple(cpu[name])) for name in actions}


def metric_names(count: int) -> tuple[str, ...]:
    """Names of losses."""
    return tuple(f"train_loss_{i:02d}" for i in range(count))


def training(steps: int, metrics: int, seed: int = 0) -> Iterator[Batch]:
    """The records of a training, a flush's worth at a time.

    Every metric is a loss: an exponential decay with a tenth of noise on it, float32 as a module logs it. A step takes
    0.3 ms on average; one in a hundred is held up for some milliseconds.
    """
    rng = np.random.default_rng(seed)
    names = metric_names(metrics)
    now = _START_US
    for start in range(0, steps, _STEPS_PER_FLUSH):
        step = np.arange(start, min(start + _STEPS_PER_FLUSH, steps))
        took = rng.normal(300, 30, len(step)) + (rng.random(len(step)) < 0.01) * rng.exponential(3000, len(step))  # noqa: PLR2004
        times = now + np.cumsum(took.astype(np.int64))
        now = int(times[-1])
        losses = (0.3 + 2 * np.exp(-step / steps * 5))[:, None] * (1 + 0.1 * rng.normal(size=(len(step), metrics)))
        values = losses.astype(np.float32).astype(np.float64).tolist()
        yield Batch(
            [Record("train", s, s + 1, s // 1000, t, names, v) for s, t, v in zip(step.tolist(), times.tolist(), values, strict=True)]
        )


def written_run(folder: Path, *, points: int, metrics: int) -> Path:
    """A run's metrics folder with so many points, written flush by flush."""
    writer = SegmentWriter(folder / "metrics", run_id=folder.name)
    for batch in training(points // metrics, metrics):
        writer.write(batch)
        if writer.waiting > 100_000:  # noqa: PLR2004 - as the recorder does
            writer.flush()
    writer.close()
    return folder / "metrics"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print one table."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 or not _numeric(rows, i) else "right")
    for row in rows:
        table.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=140).print(table)


def _numeric(rows: Sequence[Sequence[object]], column: int) -> bool:
    return any(not isinstance(row[column], str) or row[column][:1].isdigit() for row in rows)
