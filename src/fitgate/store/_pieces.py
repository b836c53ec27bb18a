"""Reading one Parquet file of a run: only the row groups and columns that are asked for, checked on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fitgate.store._arrow import number_array, numpy_of
from fitgate.store._parquet import check_footer
from fitgate.store._schema import SCHEMA

__all__ = ["NUMBERS", "Piece", "Wanted", "greatest_step", "read_groups", "read_pieces", "series_groups", "series_in"]

_KEYS = ("run_id", "attempt", "rank", "stage", "name")
_TEXTS = ["run_id", "stage", "name"]
NUMBERS = ("step", "global_step", "epoch", "wall_time", "value")
"""The columns that vary within one metric's curve."""


@dataclass(frozen=True)
class Wanted:
    """Which points: of these names (None: all), this stage (None: any) and this rank."""

    names: frozenset[str] | None
    stage: str | None
    rank: int

    def may_hold(self, group: dict[str, tuple[Any, Any]]) -> bool:
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

    def has(self, key: dict[str, Any]) -> bool:
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

    key: dict[str, Any]
    numbers: pa.Table


def _open(source: pa.NativeFile) -> tuple[pq.ParquetFile, dict[str, int]]:
    """The file, and the number of each of its columns."""
    check_footer(source)
    try:
        file = pq.ParquetFile(source, read_dictionary=_TEXTS, pre_buffer=False, page_checksum_verification=True)
    except KeyError as error:  # one of the texts
        message = "it lacks columns of a segment: some other file lies here"
        raise ValueError(message) from error
    schema = file.metadata.schema
    index = {schema.column(i).path: i for i in range(file.metadata.num_columns)}
    missing = [name for name in SCHEMA.names if name not in index]
    if missing:
        message = f"it lacks columns of a segment: {', '.join(missing)}"
        raise ValueError(message)
    return file, index


def read_pieces(source: pa.NativeFile, wanted: Wanted, columns: Sequence[str]) -> list[Piece]:
    """The wanted points of one file.

    Args:
        source: the open file.
        wanted: which points.
        columns: which of `NUMBERS`.

    Raises:
        ValueError, KeyError, OSError, pa.ArrowException: the file is damaged or no segment.
    """
    file, alike, mixed = series_groups(source, wanted)
    return read_groups(file, alike, mixed, columns, wanted)


def series_groups(source: pa.NativeFile, wanted: Wanted) -> tuple[pq.ParquetFile, list[tuple[int, dict[str, Any]]], list[int]]:
    """What of a file can hold wanted points, by its footer alone.

    Args:
        source: the open file.
        wanted: which points.

    Returns:
        The file; the row groups of one series each, with what their points have in common; the row groups that hold several series.

    Raises:
        ValueError, KeyError, OSError, pa.ArrowException: the file is damaged or no segment.
    """
    file, index = _open(source)
    metadata = file.metadata
    alike: list[tuple[int, dict[str, Any]]] = []
    mixed: list[int] = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        ranges = _ranges(group, index, ("name",))
        if not wanted.may_hold(ranges):
            continue
        ranges |= _ranges(group, index, ("run_id", "attempt", "rank", "stage"))
        key = {name: low for name, (low, high) in ranges.items() if low == high}
        if len(key) < len(_KEYS):
            if wanted.may_hold(ranges):
                mixed.append(number)
        elif wanted.has(key):
            alike.append((number, key))
    return file, alike, mixed


def greatest_step(file: pq.ParquetFile, group: int) -> int | None:
    """The greatest `step` of a row group; None where the file doesn't say."""
    metadata = file.metadata.row_group(group)
    for number in range(metadata.num_columns):
        column = metadata.column(number)
        if column.path_in_schema == "step":
            greatest: int | None = column.statistics.max if column.statistics is not None and column.statistics.has_min_max else None
            return greatest
    return None


def series_in(file: pq.ParquetFile, group: int) -> set[tuple[str, str]]:
    """The (stage, name) of every series in a row group, read from these two columns alone."""
    table = file.read_row_group(group, columns=["stage", "name"], use_threads=False)
    return {(row["stage"], row["name"]) for row in table.group_by(["stage", "name"], use_threads=False).aggregate([]).to_pylist()}


def read_groups(
    file: pq.ParquetFile, alike: Sequence[tuple[int, dict[str, Any]]], mixed: Sequence[int], columns: Sequence[str], wanted: Wanted
) -> list[Piece]:
    """The wanted points of some row groups, as `series_groups` gives them."""
    pieces = []
    if alike:
        table = _cast(file.read_row_groups([number for number, _ in alike], columns=list(columns), use_threads=False))
        start = 0
        for number, key in alike:
            rows = file.metadata.row_group(number).num_rows
            pieces.append(Piece(key, table.slice(start, rows)))
            start += rows
    if mixed:
        table = file.read_row_groups(list(mixed), columns=[*_KEYS, *columns], use_threads=False)
        pieces += [piece for piece in _split(table, columns) if wanted.has(piece.key)]
    return pieces


def _ranges(group: pq.RowGroupMetaData, index: dict[str, int], names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """The smallest and largest value of columns, where the file says so and no value is missing."""
    found = {}
    for name in names:
        statistics = group.column(index[name]).statistics
        if statistics is not None and statistics.has_min_max and statistics.null_count == 0:
            found[name] = (statistics.min, statistics.max)
    return found


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
