"""One metric of one run, out of its Parquet files: only the columns and row groups that hold it.

`Run.metrics` gives whole tables; for a thousand runs that is too much. The points that count are the
same (later attempts win, what a resume went back behind is masked), without a Python step per point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fitgate.compare._model import Point, RunPoints, Series
from fitgate.compare._thin import thin
from fitgate.store import Run
from fitgate.store._run_file import Attempt

__all__ = ["read_names", "read_points", "series_of"]

_AXES = ["step", "value"]
_LABELS = ["name", "stage"]
_RANK = 0
_WITH_STATISTICS = frozenset({"attempt", "rank", "stage", "name", "global_step", "epoch", "wall_time"})


@dataclass(frozen=True, kw_only=True)
class _Extent:
    """How far one row group goes, from its statistics alone."""

    attempt: int
    epoch: int
    global_step: int
    wall_time: float


def read_points(run: Run, metric: str) -> RunPoints:
    """Read one metric in all its stages, and how far the run got. A damaged file makes a `problem`, not an error."""
    attempts = run.info.attempts
    columns = [*_LABELS, *_AXES, "rank", *(["attempt", "global_step"] if len(attempts) > 1 else [])]
    parts: dict[str, list[dict[str, Any]]] = {}
    extents: list[_Extent] = []
    try:
        for file in _files(run):
            for group in range(file.metadata.num_row_groups):
                statistics = _statistics(file, group)
                extents += _extent(statistics)
                if _holds(statistics, metric):
                    wanted = [c for c in columns if c != "rank" or not _one_value(statistics, "rank", _RANK)]
                    for stage, arrays in _split(file.read_row_group(group, columns=wanted, use_threads=False), metric):
                        parts.setdefault(stage, []).append(arrays)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        return RunPoints(problem=f"can't be read: {error}")
    series = {stage: series_of(*_effective(stage_parts, attempts)) for stage, stage_parts in parts.items()}
    return RunPoints(
        series={stage: s for stage, s in series.items() if s is not None},
        epochs=_epochs(extents),
        steps=_steps(extents, attempts),
        seconds=_seconds(extents, run),
    )


def read_names(run: Run) -> set[tuple[str, str]]:
    """The (stage, name) of every metric that a run's readable files hold."""
    found: set[tuple[str, str]] = set()
    try:
        for file in _files(run):
            for group in range(file.metadata.num_row_groups):
                statistics = _statistics(file, group)
                name, stage = statistics.get("name"), statistics.get("stage")
                if name and stage and name[0] == name[1] and stage[0] == stage[1]:
                    found.add((stage[0], name[0]))
                else:
                    found |= _labels(file.read_row_group(group, columns=_LABELS, use_threads=False))
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return found
    return found


def series_of(steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> Series | None:
    """Reduce one metric's points, ascending by step; None when there is none.

    Example:
        >>> import math
        >>> series = series_of(np.array([0, 1, 2]), np.array([0.5, 0.9, math.nan]))
        >>> series.highest, series.last.step
        (Point(step=1, value=0.9), 2)
    """
    if not len(values):
        return None
    finite = np.isfinite(values)
    count = int(np.count_nonzero(finite))
    lowest = highest = None
    if count:
        low, high = (values, values) if count == len(values) else (np.where(finite, values, np.inf), np.where(finite, values, -np.inf))
        at_low, at_high = int(low.argmin()), int(high.argmax())
        lowest = Point(step=int(steps[at_low]), value=float(values[at_low]))
        highest = Point(step=int(steps[at_high]), value=float(values[at_high]))
    return Series(
        count=len(values),
        non_finite=len(values) - count,
        lowest=lowest,
        highest=highest,
        last=Point(step=int(steps[-1]), value=float(values[-1])),
        curve=thin(steps, values),
    )


def _files(run: Run) -> Iterator[pq.ParquetFile]:
    fs = run._fs  # noqa: SLF001 - a run knows its file system, with the credentials that opened it
    try:
        paths = sorted(path for path in fs.ls(f"{run.path}/metrics", detail=False) if path.endswith(".parquet"))
    except FileNotFoundError:
        return
    for path in paths:
        # The name column as indices into its few names, which is how it lies in the file.
        with pq.ParquetFile(path, filesystem=fs, read_dictionary=_LABELS) as file:
            yield file


def _statistics(file: pq.ParquetFile, group: int) -> dict[str, tuple[Any, Any]]:
    """The least and the greatest value of each column of a row group, where the file says so."""
    metadata = file.metadata.row_group(group)
    found = {}
    for index in range(metadata.num_columns):
        column = metadata.column(index)
        if column.path_in_schema not in _WITH_STATISTICS:
            continue
        statistics = column.statistics
        if statistics is not None and statistics.has_min_max:
            found[column.path_in_schema] = (statistics.min, statistics.max)
    return found


def _holds(statistics: dict[str, tuple[Any, Any]], metric: str) -> bool:
    if "name" not in statistics:
        return True
    low, high = statistics["name"]
    return bool(low <= metric <= high)


def _one_value(statistics: dict[str, tuple[Any, Any]], column: str, value: int) -> bool:
    return statistics.get(column) == (value, value)


def _split(table: pa.Table, metric: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a metric in a row group, by stage, as arrays."""
    names, name_of = _codes(table["name"])
    if metric not in names:
        return
    rows = name_of == names.index(metric)
    if "rank" in table.column_names:
        rows &= table["rank"].to_numpy() == _RANK
    stages, stage_of = _codes(table["stage"])
    arrays = {column: table[column].to_numpy() for column in table.column_names if column not in (*_LABELS, "rank")}
    for code, stage in enumerate(stages):
        mine = rows if len(stages) == 1 else rows & (stage_of == code)
        if mine.all():
            yield stage, arrays
        elif mine.any():
            yield stage, {column: values[mine] for column, values in arrays.items()}


def _labels(table: pa.Table) -> set[tuple[str, str]]:
    names, name_of = _codes(table["name"])
    stages, stage_of = _codes(table["stage"])
    pairs = np.unique(name_of.astype(np.int64) * len(stages) + stage_of)
    return {(stages[pair % len(stages)], names[pair // len(stages)]) for pair in pairs.tolist()}


def _codes(column: pa.ChunkedArray[pa.DictionaryScalar[Any, Any]]) -> tuple[list[str], npt.NDArray[np.int32]]:
    encoded: Any = column.unify_dictionaries().combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _effective(parts: Sequence[dict[str, Any]], attempts: Sequence[Attempt]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The points that count, ascending by step: the rule of `Run.metrics`."""
    arrays = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
    steps, values = arrays["step"], arrays["value"]
    if "attempt" in arrays:
        attempt, global_step = arrays["attempt"], arrays["global_step"]
        keep = np.ones(len(steps), dtype=bool)
        for later in attempts:
            if later.resumed_step is not None:
                keep &= ~((attempt < later.number) & (global_step > later.resumed_step))
        steps, values, attempt = steps[keep], values[keep], attempt[keep]
        order = np.lexsort((attempt, steps))
        steps, values = steps[order], values[order]
        latest = np.append(steps[1:] != steps[:-1], True) if len(steps) else np.array([], dtype=bool)
        return steps[latest], values[latest]
    if len(steps) > 1 and not bool((steps[1:] > steps[:-1]).all()):
        order = np.argsort(steps, kind="stable")
        steps, values = steps[order], values[order]
    return steps, values


def _extent(statistics: dict[str, tuple[Any, Any]]) -> list[_Extent]:
    if not {"attempt", "epoch", "global_step", "wall_time"} <= statistics.keys():
        return []
    return [
        _Extent(
            attempt=int(statistics["attempt"][1]),
            epoch=int(statistics["epoch"][1]),
            global_step=int(statistics["global_step"][1]),
            wall_time=statistics["wall_time"][1].timestamp(),
        )
    ]


def _epochs(extents: Sequence[_Extent]) -> int | None:
    last = max((e.attempt for e in extents), default=None)
    return max((e.epoch for e in extents if e.attempt == last), default=-1) + 1 or None


def _steps(extents: Sequence[_Extent], attempts: Sequence[Attempt]) -> int | None:
    """The greatest `global_step` that counts: an attempt's points end where a later one went on."""

    def counted(extent: _Extent) -> int:
        resumed = [a.resumed_step for a in attempts if a.resumed_step is not None and a.number > extent.attempt]
        return min([extent.global_step, *resumed])

    return max((counted(e) for e in extents), default=None)


def _seconds(extents: Sequence[_Extent], run: Run) -> float | None:
    if not extents:
        return None
    began = {a.number: a.started.timestamp() for a in run.info.attempts}
    total = 0.0
    for attempt in {e.attempt for e in extents}:
        end = max(e.wall_time for e in extents if e.attempt == attempt)
        total += max(end - began.get(attempt, run.created.timestamp()), 0.0)
    return total
