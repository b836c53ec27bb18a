"""A run's Parquet files, opened for one metric: by their statistics only the row groups that can hold it are decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fitgate.store import Run

__all__ = ["LABELS", "Statistics", "columns_to_read", "file_paths", "holds", "labels_in", "open_file", "split", "statistics_of"]

LABELS = ["name", "stage"]
RANK = 0
_WITH_STATISTICS = frozenset({"attempt", "rank", "stage", "name", "global_step", "epoch", "wall_time"})

Statistics = dict[str, tuple[Any, Any]]
"""The least and the greatest value of columns of a row group, where the file says so."""


def file_paths(run: Run) -> list[str]:
    """A run's metric files, in the order in which they were begun."""
    try:
        found = run.fs.ls(f"{run.path}/metrics", detail=False)
    except FileNotFoundError:
        return []
    return sorted(path for path in found if path.endswith(".parquet"))


def open_file(run: Run, path: str) -> pq.ParquetFile:
    """Open one of them; name and stage come as indices into their few values, which is how they lie in the file."""
    return pq.ParquetFile(path, filesystem=run.fs, read_dictionary=LABELS)


def statistics_of(file: pq.ParquetFile, group: int) -> Statistics:
    """The least and the greatest value of each column of a row group, where the file says so."""
    metadata = file.metadata.row_group(group)
    found = {}
    for index in range(metadata.num_columns):
        column = metadata.column(index)
        if column.path_in_schema not in _WITH_STATISTICS:
            continue
        statistics = column.statistics
        # A row without a value is not in the statistics.
        if statistics is not None and statistics.has_min_max and not statistics.null_count:
            found[column.path_in_schema] = (statistics.min, statistics.max)
    return found


def holds(statistics: Statistics, metric: str) -> bool:
    """Whether a row group can hold points of the metric that count; without statistics, it can."""
    wanted = (("name", metric), ("rank", RANK))
    return all(column not in statistics or statistics[column][0] <= value <= statistics[column][1] for column, value in wanted)


def columns_to_read(statistics: Statistics, columns: Sequence[str]) -> list[str]:
    """Those of `columns`, and of name, stage and rank, whose values the statistics don't already tell."""
    return [column for column in (*LABELS, "rank", *columns) if not _is_constant(statistics, column)]


def split(table: pa.Table, metric: str, statistics: Statistics) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a metric in a row group that `holds` it, by stage, as arrays of the columns but name, stage and rank."""
    rows = np.ones(table.num_rows, dtype=bool)
    if "name" in table.column_names:
        names, name_of = _codes(table["name"])
        rows = name_of == (names.index(metric) if metric in names else len(names))
    if "rank" in table.column_names:
        rows &= table["rank"].to_numpy() == RANK
    arrays = {column: table[column].to_numpy() for column in table.column_names if column not in (*LABELS, "rank")}
    if "stage" not in table.column_names:
        by_stage = [(statistics["stage"][0], rows)]
    else:
        stages, stage_of = _codes(table["stage"])
        by_stage = [(stage, rows & (stage_of == code)) for code, stage in enumerate(stages)]
    for stage, mine in by_stage:
        if mine.all():
            yield stage, arrays
        elif mine.any():
            yield stage, {column: values[mine] for column, values in arrays.items()}


def _is_constant(statistics: Statistics, column: str) -> bool:
    """Name, stage or rank that is the same in every row; of a row group that can hold a metric, that metric's."""
    return column in (*LABELS, "rank") and column in statistics and statistics[column][0] == statistics[column][1]


def labels_in(table: pa.Table) -> set[tuple[str, str]]:
    """The (stage, name) of every row."""
    names, name_of = _codes(table["name"])
    stages, stage_of = _codes(table["stage"])
    pairs = np.flatnonzero(np.bincount(name_of * len(stages) + stage_of))
    return {(stages[pair % len(stages)], names[pair // len(stages)]) for pair in pairs.tolist()}


def _codes(column: pa.ChunkedArray[pa.DictionaryScalar[Any, Any]]) -> tuple[list[str], npt.NDArray[np.int32]]:
    encoded: Any = column.unify_dictionaries().combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
