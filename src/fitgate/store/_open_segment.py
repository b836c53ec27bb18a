"""The points of the newest file, in memory: what each flush writes whole."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fitgate.store._arrow import number_array, repeated_texts
from fitgate.store._batch import AXES, STEP, Block
from fitgate.store._schema import SCHEMA

__all__ = ["OpenSegment"]

_Axes = npt.NDArray[np.int64]  # shape (4, points), as in Block
_Values = npt.NDArray[np.float64]  # shape (points,)

# Series are put together into row groups of at least so many rows: a long curve has row groups of its own and is
# read alone, and thousands of short ones don't make thousands of row groups.
_ROW_GROUP_ROWS = 4096


@dataclass(slots=True)
class _Series:
    """The points of one metric in one stage, by step."""

    chunks: list[tuple[_Axes, _Values]] = field(default_factory=list)
    last_step: int = -(2**63)

    def append(self, axes: _Axes, values: _Values, *, increasing: bool) -> int:
        """Add points; returns by how many rows the series grew (fewer when a step came again)."""
        if not increasing or int(axes[STEP, 0]) <= self.last_step:
            return self._append_with_repeats(axes, values)
        self.chunks.append((axes, values))
        self.last_step = int(axes[STEP, -1])
        return len(values)

    def _append_with_repeats(self, axes: _Axes, values: _Values) -> int:
        """The rare case: steps go back or come twice. One point a step; the last one logged stands."""
        before = sum(len(v) for _, v in self.chunks)
        all_axes = np.concatenate([*(a for a, _ in self.chunks), axes], axis=1)
        all_values = np.concatenate([*(v for _, v in self.chunks), values])
        steps, last_from_the_end = np.unique(all_axes[STEP, ::-1], return_index=True)
        keep = len(all_values) - 1 - last_from_the_end
        self.chunks = [(all_axes[:, keep], all_values[keep])]
        self.last_step = int(steps[-1])
        return len(keep) - before

    def columns(self) -> tuple[_Axes, _Values]:
        """All of it as one piece."""
        if len(self.chunks) > 1:
            self.chunks = [(np.concatenate([a for a, _ in self.chunks], axis=1), np.concatenate([v for _, v in self.chunks]))]
        return self.chunks[0]


class OpenSegment:
    """Gathers points of one (run, attempt, rank) by series, one point a step.

    Args:
        run_id, attempt, rank: the constants of every row.
    """

    def __init__(self, *, run_id: str, attempt: int, rank: int) -> None:
        self._run_id = run_id
        self._attempt = attempt
        self._rank = rank
        self._series: dict[tuple[str, str], _Series] = {}
        self.rows = 0
        self._written = 0

    def add(self, block: Block) -> None:
        """Take points; a step that is there already gets the new value."""
        steps = block.axes[STEP]
        if not len(steps):
            return
        increasing = len(steps) == 1 or bool(np.all(steps[1:] > steps[:-1]))
        for column, name in enumerate(block.names):
            key = (name, block.stage)
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = _Series()
            self.rows += series.append(block.axes, block.values[:, column], increasing=increasing)

    def steps(self) -> dict[tuple[str, str], tuple[int, int]]:
        """The first step and the last by (name, stage)."""
        return {key: (int(series.chunks[0][0][STEP, 0]), series.last_step) for key, series in self._series.items()}

    def clear(self) -> None:
        """Begin anew, empty."""
        self._series = {}
        self.rows = 0

    def tables(self, *, by_series: bool) -> Iterator[pa.Table]:
        """The points sorted by name, stage and step, one table for each row group.

        Args:
            by_series: cut row groups where a series ends, for quick reading of one of them; else one table.
        """
        self._written += 1
        # A sealed file's bytes follow from its points alone.
        unused = "" if by_series else _unused(self._written)
        group: list[tuple[str, str]] = []
        rows = 0
        for key in sorted(self._series):
            group.append(key)
            rows += len(self._series[key].columns()[1])
            if by_series and rows >= _ROW_GROUP_ROWS:
                yield self._table(group)
                group, rows = [], 0
        if group:
            yield self._table(group, unused)

    def _table(self, keys: list[tuple[str, str]], unused: str = "") -> pa.Table:
        pieces = [self._series[key].columns() for key in keys]
        axes = np.concatenate([a for a, _ in pieces], axis=1)
        lengths = np.array([len(v) for _, v in pieces])
        rows = axes.shape[1]
        columns = {
            "run_id": repeated_texts([self._run_id], np.array([rows]), unused=unused),
            "attempt": np.full(rows, self._attempt),
            "rank": np.full(rows, self._rank),
            "stage": repeated_texts([stage for _, stage in keys], lengths),
            "name": repeated_texts([name for name, _ in keys], lengths),
            **dict(zip(AXES, axes, strict=True)),
            "value": np.concatenate([v for _, v in pieces]),
        }
        arrays = [c if isinstance(c, pa.Array) else number_array(c, SCHEMA.field(name).type) for name, c in columns.items()]
        return pa.table(dict(zip(columns, arrays, strict=True))).select(SCHEMA.names)


def _unused(turn: int) -> str:
    """A text that stands in the file's first dictionary and in no row: all data behind it lies elsewhere than in the file before.

    Some readers (DuckDB, Polars) open a file twice in one query. Replaced in between, the old footer is read with the new data; while
    only its tail had grown, that made sense now and then, and was a wrong answer. With all of it moved, it is an error.
    """
    return "".join(random.Random(turn).choices(string.ascii_letters, k=3 * (turn % 40) + 1))  # noqa: S311 - no secret; zstd must not pack it
