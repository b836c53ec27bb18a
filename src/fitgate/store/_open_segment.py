"""The points of the newest file, in memory, and the file as each flush writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fitgate.store._arrow import number_array, repeated_number, repeated_texts
from fitgate.store._batch import AXES, STEP, Block
from fitgate.store._parquet import GrowingFile
from fitgate.store._schema import SCHEMA

__all__ = ["OpenSegment"]

_Axes = npt.NDArray[np.int64]  # shape (4, points), as in Block
_Values = npt.NDArray[np.float64]  # shape (points,)
_Chunk = tuple[_Axes, _Values]
_Piece = tuple[tuple[str, str], list[_Chunk]]  # of one series: (name, stage), and its points

_KINDS = {field.name: field.type for field in SCHEMA}
# In a sealed file series are put together into row groups of at least so many rows: a long curve has row groups of its own and
# is read alone, and thousands of short ones don't make thousands of row groups.
_ROW_GROUP_ROWS = 4096
# In the newest file a row group that has grown to so many rows is encoded no more: with all of the file encoded at each flush,
# a flush took ten times as long when the file was nearly full.
_KEPT_ROWS = 4096
# A table is put together from the chunks of all its series at once. To join each series' first takes longer, unless there are many.
_MOST_CHUNKS = 16


@dataclass(slots=True)
class _Series:
    """The points of one metric in one stage, by step; the first `kept` chunks are in row groups that are encoded no more."""

    chunks: list[_Chunk] = field(default_factory=list)
    kept: int = 0
    last_step: int = -(2**63)

    def mix(self, axes: _Axes, values: _Values) -> int:
        """The rare case: steps go back or come twice. One point a step; the last one logged stands. Returns how many were new."""
        self.chunks.append((axes, values))
        all_axes, all_values = self.columns()
        steps, last_from_the_end = np.unique(all_axes[STEP, ::-1], return_index=True)
        keep = len(all_values) - 1 - last_from_the_end
        self.chunks = [(all_axes[:, keep], all_values[keep])]
        self.last_step = int(steps[-1])
        return len(keep) - (len(all_values) - len(values))

    def columns(self) -> _Chunk:
        """All of it as one piece."""
        self._join(0)
        return self.chunks[0]

    def fresh(self) -> list[_Chunk]:
        """What is not kept, in a few pieces."""
        if len(self.chunks) > self.kept + _MOST_CHUNKS:
            self._join(self.kept)
        return self.chunks[self.kept :]

    def _join(self, start: int) -> None:
        if len(self.chunks) > start + 1:
            axes, values = zip(*self.chunks[start:], strict=True)
            self.chunks[start:] = [(np.concatenate(axes, axis=1), np.concatenate(values))]


class OpenSegment:
    """Gathers points of one (run, attempt, rank) by series, one point a step.

    Args:
        run_id, attempt, rank: the constants of every row.
    """

    def __init__(self, *, run_id: str, attempt: int, rank: int) -> None:
        self._run_id = run_id
        self._attempt = attempt
        self._rank = rank
        self._file = GrowingFile()
        self._newest_rows = 0
        self.clear()

    def clear(self) -> None:
        """Begin anew, empty."""
        self._series: dict[tuple[str, str], _Series] = {}
        self.rows = 0
        self._encode_all()

    def add(self, block: Block) -> None:
        """Take points; a step that is there already gets the new value."""
        if not block.points:
            return
        steps = block.axes[STEP]
        if self._newest_rows >= _KEPT_ROWS:
            self._keep()
        self._newest_rows = 0
        first, last = int(steps[0]), int(steps[-1])
        increasing = len(steps) == 1 or bool(np.all(steps[1:] > steps[:-1]))
        mixed = False
        for name, values in zip(block.names, block.values.T, strict=True):
            series = self._series.get((name, block.stage))
            if series is None:
                series = self._series[name, block.stage] = _Series()
            if increasing and series.last_step < first:
                series.chunks.append((block.axes, values))
                series.last_step = last
                self.rows += len(values)
            else:
                if not mixed:
                    self._encode_all()
                    mixed = True
                self.rows += series.mix(block.axes, values)

    def steps(self) -> dict[tuple[str, str], tuple[int, int]]:
        """The first step and the last by (name, stage)."""
        return {key: (int(series.chunks[0][0][STEP, 0]), series.last_step) for key, series in self._series.items()}

    def tables(self) -> Iterator[pa.Table]:
        """All points for a file that is left for good, sorted by name, stage and step: one table for each row group, cut where a series ends.

        Such a file's bytes follow from its points alone. Should it grow on after all, it is encoded anew.
        """
        self._encode_all()
        group: list[_Piece] = []
        rows = 0
        for key in sorted(self._series):
            columns = self._series[key].columns()
            group.append((key, [columns]))
            rows += len(columns[1])
            if rows >= _ROW_GROUP_ROWS:
                yield self._table(group)
                group, rows = [], 0
        if group:
            yield self._table(group)

    def growing_file(self) -> bytes:
        """The file as it stands now: a few row groups in the order of time, each sorted by name, stage and step."""
        fresh = [(key, series.fresh()) for key, series in sorted(self._series.items()) if len(series.chunks) > series.kept]
        table = self._table(fresh)
        self._newest_rows = table.num_rows
        return self._file.with_group(table)

    def _keep(self) -> None:
        self._file.keep()
        for series in self._series.values():
            series.kept = len(series.chunks)

    def _encode_all(self) -> None:
        self._file.clear()
        self._newest_rows = 0
        for series in self._series.values():
            series.kept = 0

    def _table(self, pieces: Sequence[_Piece]) -> pa.Table:
        chunks = [chunk for _, own in pieces for chunk in own]
        axes = np.concatenate([a for a, _ in chunks], axis=1)
        lengths = np.array([sum(len(v) for _, v in own) for _, own in pieces])
        rows = axes.shape[1]
        columns = {
            "run_id": repeated_texts((self._run_id,), np.array([rows])),
            "attempt": repeated_number(self._attempt, _KINDS["attempt"], rows),
            "rank": repeated_number(self._rank, _KINDS["rank"], rows),
            "stage": repeated_texts(tuple(stage for (_, stage), _ in pieces), lengths),
            "name": repeated_texts(tuple(name for (name, _), _ in pieces), lengths),
            **dict(zip(AXES, axes, strict=True)),
            "value": np.concatenate([v for _, v in chunks]),
        }
        arrays = [
            c if isinstance(c, pa.Array) else number_array(c, kind) for c, kind in ((columns[name], kind) for name, kind in _KINDS.items())
        ]
        return pa.Table.from_arrays(arrays, names=list(_KINDS))
