"""Reading one Parquet file of a run: only the row groups and columns that are asked for, checked on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fitgate.store._arrow import number_array, numpy_of
from fitgate.store._parquet import check_footer
from fitgate.store._remote import open_file
from fitgate.store._schema import SCHEMA

if TYPE_CHECKING:
    import pyarrow.compute as pc

__all__ = ["NUMBERS", "UNREADABLE", "Groups", "Piece", "Ranges", "SegmentFile", "Wanted", "opened", "rows_of"]

UNREADABLE = (ValueError, KeyError, OSError, pa.ArrowException)
"""What reading a damaged file raises, or one that is no segment."""

_KEYS = ("run_id", "attempt", "rank", "stage", "name")
_TEXTS = ["run_id", "stage", "name"]
NUMBERS = ("step", "global_step", "epoch", "wall_time", "value")
"""The columns that vary within one metric's curve."""

Key = dict[str, Any]
Ranges = dict[str, tuple[Any, Any]]
"""By column, its smallest and its largest value."""


class Groups(NamedTuple):
    """Row groups of a file.

    Attributes:
        alike: those of one series each, with what all their points have in common.
        mixed: those of several series.
    """

    alike: Sequence[tuple[int, Key]]
    mixed: Sequence[int]


@dataclass(frozen=True)
class Wanted:
    """Which points: of these names (None: all), this stage (None: any) and this rank."""

    names: frozenset[str] | None
    stage: str | None
    rank: int

    def may_hold(self, group: Ranges) -> bool:
        """Whether a row group with such smallest and largest values can hold any."""
        low, high = group.get("rank", (self.rank, self.rank))
        if not low <= self.rank <= high:
            return False
        low, high = group.get("stage", (self.stage, self.stage))
        if self.stage is not None and not low <= self.stage <= high:
            return False
        if self.names is None or "name" not in group:
            return True
        low, high = group["name"]
        return low in self.names if low == high else any(low <= name <= high for name in self.names)

    def has(self, key: Key) -> bool:
        """Whether points with such constants are wanted."""
        return (
            key["rank"] == self.rank
            and (self.stage is None or key["stage"] == self.stage)
            and (self.names is None or key["name"] in self.names)
        )


@dataclass(frozen=True, eq=False)
class Piece:
    """Points of one metric in one stage that stand together in one file.

    Attributes:
        key: what all of them have in common: run_id, attempt, rank, stage, name.
        numbers: the other columns, as far as they are asked for.
    """

    key: Key
    numbers: pa.Table


class SegmentFile:
    """One file, open for reading. What is damaged raises one of `UNREADABLE`, here or when it is read.

    Args:
        source: the open file.
    """

    def __init__(self, source: pa.NativeFile) -> None:
        check_footer(source)
        try:
            self._file = pq.ParquetFile(source, read_dictionary=_TEXTS, pre_buffer=False, page_checksum_verification=True)
        except KeyError as error:  # one of the texts
            message = "it lacks columns of a segment: some other file lies here"
            raise ValueError(message) from error
        schema = self._file.metadata.schema
        self._index = {schema.column(i).path: i for i in range(self._file.metadata.num_columns)}
        missing = [name for name in SCHEMA.names if name not in self._index]
        if missing:
            message = f"it lacks columns of a segment: {', '.join(missing)}"
            raise ValueError(message)

    @property
    def row_groups(self) -> range:
        """Their numbers."""
        return range(self._file.metadata.num_row_groups)

    def ranges(self, group: int, names: Sequence[str]) -> Ranges:
        """The smallest and largest value of columns in a row group, where the file says so and no value is missing."""
        metadata = self._file.metadata.row_group(group)
        found = {}
        for name in names:
            statistics = metadata.column(self._index[name]).statistics
            if statistics is not None and statistics.has_min_max and statistics.null_count == 0:
                found[name] = (statistics.min, statistics.max)
        return found

    def groups(self, wanted: Wanted) -> Groups:
        """Which row groups can hold wanted points, by the footer alone."""
        alike: list[tuple[int, Key]] = []
        mixed: list[int] = []
        for number in self.row_groups:
            ranges = self.ranges(number, ("name",))
            if not wanted.may_hold(ranges):
                continue
            ranges |= self.ranges(number, ("run_id", "attempt", "rank", "stage"))
            key = {name: low for name, (low, high) in ranges.items() if low == high}
            if len(key) < len(_KEYS):
                if wanted.may_hold(ranges):
                    mixed.append(number)
            elif wanted.has(key):
                alike.append((number, key))
        return Groups(alike, mixed)

    def series_in(self, group: int) -> set[tuple[str, str]]:
        """The (stage, name) of every series in a row group, read from these two columns alone."""
        table = self._file.read_row_group(group, columns=["stage", "name"], use_threads=False)
        return {(row["stage"], row["name"]) for row in table.group_by(["stage", "name"], use_threads=False).aggregate([]).to_pylist()}

    def read(self, wanted: Wanted, columns: Sequence[str], groups: Groups | None = None) -> list[Piece]:
        """The wanted points.

        Args:
            wanted: which points.
            columns: which of `NUMBERS`.
            groups: where to look for them; None for all that can hold any.
        """
        alike, mixed = self.groups(wanted) if groups is None else groups
        pieces = []
        if alike:
            table = _cast(self._file.read_row_groups([number for number, _ in alike], columns=list(columns), use_threads=False))
            start = 0
            for number, key in alike:
                rows = self._file.metadata.row_group(number).num_rows
                pieces.append(Piece(key, table.slice(start, rows)))
                start += rows
        if mixed:
            table = self._file.read_row_groups(list(mixed), columns=[*_KEYS, *columns], use_threads=False)
            pieces += [piece for piece in _split(table, columns) if wanted.has(piece.key)]
        return pieces


@contextmanager
def opened(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[SegmentFile]:
    """Open a run's file."""
    with open_file(fs, path) as source:
        yield SegmentFile(source)


def rows_of(fs: fsspec.AbstractFileSystem, path: str, where: pc.Expression, columns: Sequence[str] = SCHEMA.names) -> pa.Table:
    """The rows of a run's file that an expression holds of. What is damaged raises one of `UNREADABLE`."""
    with open_file(fs, path) as source:
        check_footer(source)
        return _cast(pq.read_table(source, columns=list(columns), filters=where, page_checksum_verification=True))


def _split(table: pa.Table, columns: Sequence[str]) -> Iterator[Piece]:
    """A table with several series, cut into its series."""
    if not table.num_rows:
        return
    codes = np.array([_codes(table[name]) for name in _KEYS])
    starts = np.flatnonzero(np.append(True, np.any(codes[:, 1:] != codes[:, :-1], axis=0)))
    if len(starts) > np.unique(codes[:, starts], axis=1).shape[1]:  # not in our order: some other tool wrote this file
        order = np.lexsort(codes)
        yield from _split(table.take(number_array(order, pa.int64())), columns)
        return
    numbers = _cast(table.select(list(columns)))
    for start, end in pairwise([*map(int, starts), table.num_rows]):
        key = {name: table[name][start].as_py() for name in _KEYS}
        yield Piece(key, numbers.slice(start, end - start))


def _codes(column: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401 - a chunked array, of texts by their dictionary
    """A number for each value, the same for equal values."""
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries().combine_chunks().indices
    codes: npt.NDArray[np.int64] = numpy_of(column)
    return codes


def _cast(table: pa.Table) -> pa.Table:
    schema = pa.schema([SCHEMA.field(name) for name in table.column_names])
    return table if table.schema.equals(schema) else table.cast(schema)
