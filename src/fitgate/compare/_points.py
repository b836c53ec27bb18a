"""One metric of one run, out of its Parquet files: only the columns and row groups that hold it.

`Run.metrics` gives whole tables; for a thousand runs that is too much. The points that count are the
same (later attempts win, what a resume went back behind is masked), without a Python step per point.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fitgate.compare._extent import Extent, epochs_in, extent_of, seconds_in, steps_in
from fitgate.compare._record import Point, RunPoints, Series
from fitgate.compare._row_groups import LABELS, columns_to_read, file_paths, holds, labels_in, open_file, split, statistics_of
from fitgate.compare._thin import one_value_a_step, thin
from fitgate.store import Run
from fitgate.store._run_file import Attempt

__all__ = ["read_names", "read_points", "series_of"]

_AXES = ["step", "global_step", "value"]
Ints = npt.NDArray[np.int64]
_UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError)


def read_points(run: Run, metric: str) -> RunPoints:
    """Read one metric in all its stages, and how far the run got. A damaged file makes a `problem`, not an error."""
    attempts = run.info.attempts
    columns = [*_AXES, *(["attempt"] if len(attempts) > 1 else [])]
    parts: dict[str, list[dict[str, Any]]] = {}
    extents: list[Extent] = []
    path = run.path
    try:
        for path in file_paths(run):
            with open_file(run, path) as file:
                for group in range(file.metadata.num_row_groups):
                    statistics = statistics_of(file, group)
                    extents += extent_of(statistics)
                    if holds(statistics, metric):
                        table = file.read_row_group(group, columns=columns_to_read(statistics, columns), use_threads=False)
                        for stage, arrays in split(table, metric, statistics):
                            parts.setdefault(stage, []).append(arrays)
    except _UNREADABLE as error:
        return RunPoints(problem=f"{path} can't be read: {error}")
    series = {stage: series_of(*_effective(stage_parts, attempts)) for stage, stage_parts in parts.items()}
    return RunPoints(
        series={stage: s for stage, s in series.items() if s is not None},
        epochs=epochs_in(extents),
        steps=steps_in(extents, attempts),
        seconds=seconds_in(extents, run),
    )


def read_names(run: Run) -> set[tuple[str, str]]:
    """The (stage, name) of every metric that a run's readable files hold."""
    found: set[tuple[str, str]] = set()
    with contextlib.suppress(*_UNREADABLE):
        for path in file_paths(run):
            with open_file(run, path) as file:
                for group in range(file.metadata.num_row_groups):
                    found |= _names_in(file, group)
    return found


def series_of(steps: Ints, global_steps: Ints, values: npt.NDArray[np.float64]) -> Series | None:
    """Reduce one metric's points, ascending by step; None when there is none.

    Args:
        steps: the loggers'. Shape (n,).
        global_steps: optimizer steps taken by then. Shape (n,).
        values: shape (n,).

    Example:
        >>> import math
        >>> series = series_of(np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([0.5, 0.9, math.nan]))
        >>> series.highest, series.last.step
        (Point(step=1, global_step=2, value=0.9), 2)
    """

    def point(at: int) -> Point:
        return Point(step=int(steps[at]), global_step=int(global_steps[at]), value=float(values[at]))

    if not len(values):
        return None
    finite = np.isfinite(values)
    count = int(np.count_nonzero(finite))
    lowest = highest = None
    if count:
        low, high = (values, values) if count == len(values) else (np.where(finite, values, np.inf), np.where(finite, values, -np.inf))
        lowest, highest = point(int(low.argmin())), point(int(high.argmax()))
    return Series(
        count=len(values),
        non_finite=len(values) - count,
        lowest=lowest,
        highest=highest,
        last=point(-1),
        curve=thin(*one_value_a_step(global_steps, values)),
    )


def _names_in(file: pq.ParquetFile, group: int) -> set[tuple[str, str]]:
    statistics = statistics_of(file, group)
    name, stage = statistics.get("name"), statistics.get("stage")
    if name and stage and name[0] == name[1] and stage[0] == stage[1]:
        return {(stage[0], name[0])}
    return labels_in(file.read_row_group(group, columns=LABELS, use_threads=False))


def _effective(parts: Sequence[dict[str, Any]], attempts: Sequence[Attempt]) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """The points that count, ascending by step: the rule of `Run.metrics`. Steps, global steps, values."""
    arrays = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
    steps, global_step, values = arrays["step"], arrays["global_step"], arrays["value"]
    if "attempt" in arrays:
        attempt = arrays["attempt"]
        keep = np.ones(len(steps), dtype=bool)
        for later in attempts:
            if later.resumed_step is not None:
                keep &= ~((attempt < later.number) & (global_step > later.resumed_step))
        steps, global_step, values, attempt = steps[keep], global_step[keep], values[keep], attempt[keep]
        order = np.lexsort((attempt, steps))
        steps, global_step, values = steps[order], global_step[order], values[order]
        latest = np.append(steps[1:] != steps[:-1], True) if len(steps) else np.array([], dtype=bool)
        return steps[latest], global_step[latest], values[latest]
    if len(steps) > 1 and not bool((steps[1:] > steps[:-1]).all()):
        order = np.argsort(steps, kind="stable")
        steps, global_step, values = steps[order], global_step[order], values[order]
    return steps, global_step, values
