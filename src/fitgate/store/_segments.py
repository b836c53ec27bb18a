"""Parquet segments: every file whole and readable at every instant.

Points gather in memory, one list of columns per (stage, name). Each flush writes the newest file
whole, under a temporary name, and renames it over its own last version; at about 128k rows the file
is sealed and the next begins. So a plain reader's glob sees every point once, at any instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fitgate._files import replace_file
from fitgate.store._schema import SCHEMA, Record

__all__ = ["SEALED_ROWS", "SegmentWriter", "segment_name", "write_segment"]

SEALED_ROWS = 128_000
ROW_GROUP_ROWS = 32_768
_STEP = 0

_Axes = npt.NDArray[np.int64]  # shape (points, 4), step, global_step, epoch, wall_time
_Values = npt.NDArray[np.float64]  # shape (points,)


@dataclass
class _Series:
    """The points of one metric in one stage that the newest file holds."""

    chunks: list[tuple[_Axes, _Values]] = field(default_factory=list)
    last_step: int | None = None

    def append(self, axes: _Axes, values: _Values) -> int:
        """Add points; returns by how many rows the series grew (fewer when a step came again)."""
        steps = axes[:, _STEP]
        first_is_later = self.last_step is None or int(steps[0]) > self.last_step
        if first_is_later and (len(steps) == 1 or bool(np.all(np.diff(steps) > 0))):
            self.chunks.append((axes, values))
            self.last_step = int(steps[-1])
            return len(values)
        return self._append_with_repeats(axes, values)

    def _append_with_repeats(self, axes: _Axes, values: _Values) -> int:
        """The rare case: steps go back or come twice. One point a step; the last one logged stands."""
        before = sum(len(v) for _, v in self.chunks)
        all_axes = np.concatenate([*(a for a, _ in self.chunks), axes])
        all_values = np.concatenate([*(v for _, v in self.chunks), values])
        reversed_steps = all_axes[::-1, _STEP]
        steps, last_index = np.unique(reversed_steps, return_index=True)
        keep = len(all_values) - 1 - last_index
        self.chunks = [(all_axes[keep], all_values[keep])]
        self.last_step = max(int(steps[-1]), self.last_step if self.last_step is not None else int(steps[-1]))
        return len(keep) - before

    def columns(self) -> tuple[_Axes, _Values]:
        if len(self.chunks) != 1:
            self.chunks = [(np.concatenate([a for a, _ in self.chunks]), np.concatenate([v for _, v in self.chunks]))]
        return self.chunks[0]


class SegmentWriter:
    """Writes the points of one (run, attempt, rank) as Parquet files; a `MetricWriter`.

    Args:
        folder: where the files go; made on the first flush.
        run_id, attempt, rank: the constants of every row.
        sealed_rows: rows after which a file is left for good and the next begins.
    """

    def __init__(self, folder: Path, *, run_id: str, attempt: int = 0, rank: int = 0, sealed_rows: int = SEALED_ROWS) -> None:
        self._folder = folder
        self._run_id = run_id
        self._attempt = attempt
        self._rank = rank
        self._sealed_rows = sealed_rows
        self._sequence = 0
        self._series: dict[tuple[str, str], _Series] = {}
        self._rows = 0
        self._dirty = False
        # The last step that sealed files hold, by series: a step at or under it may be there already.
        self._sealed_steps: dict[tuple[str, str], int] = {}

    def write(self, records: Sequence[Record]) -> None:
        """Take records into memory."""
        for (stage, names), axes, values in _blocks(records):
            for column, name in enumerate(names):
                self._append((stage, name), axes, values[:, column])

    def flush(self) -> None:
        """Write the newest file whole, if anything came since the last flush."""
        if not self._dirty:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        full = self._rows >= self._sealed_rows
        path = self._folder / segment_name(self._attempt, self._rank, self._sequence)
        write_segment(path, self._table(), durable=full)
        self._dirty = False
        if full:
            self._seal()

    def close(self) -> None:
        """Flush. Nothing else is held open between flushes."""
        self.flush()

    def _append(self, key: tuple[str, str], axes: _Axes, values: _Values) -> None:
        sealed = self._sealed_steps.get(key)
        if sealed is not None and int(axes[:, _STEP].min()) <= sealed:
            axes, values = self._replace_sealed(key, axes, values)
            if len(values) == 0:
                return
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        self._rows += series.append(axes, values)
        self._dirty = True

    def _replace_sealed(self, key: tuple[str, str], axes: _Axes, values: _Values) -> tuple[_Axes, _Values]:
        """Put values into the sealed file that already holds their step; returns the points that none holds.

        A value logged again for a step long past, such as by validating twice after fit. Each file is
        replaced atomically and keeps its keys, so a reader never counts a point twice.
        """
        stage, name = key
        left = {int(step): i for i, step in enumerate(axes[:, _STEP])}
        for sequence in range(self._sequence):
            path = self._folder / segment_name(self._attempt, self._rank, sequence)
            table = pq.read_table(path, schema=SCHEMA)
            steps = table["step"].to_numpy()
            mine = (table["stage"].to_numpy() == stage) & (table["name"].to_numpy() == name)
            found = [(int(row), left.pop(int(steps[row]))) for row in np.flatnonzero(mine & np.isin(steps, list(left)))]
            if found:
                write_segment(path, _with_values(table, found, axes, values), durable=True)
            if not left:
                break
        rest = sorted(left.values())
        return axes[rest], values[rest]

    def _seal(self) -> None:
        for key, series in self._series.items():
            if series.last_step is not None:
                self._sealed_steps[key] = max(series.last_step, self._sealed_steps.get(key, series.last_step))
        self._series = {}
        self._rows = 0
        self._sequence += 1

    def _table(self) -> pa.Table:
        keys = sorted((name, stage) for stage, name in self._series)
        series = [self._series[stage, name].columns() for name, stage in keys]
        lengths = np.array([len(values) for _, values in series])
        axes = np.concatenate([a for a, _ in series])
        rows = len(axes)
        zeros = np.zeros(rows, dtype=np.int32)
        names = sorted({name for name, _ in keys})
        stages = sorted({stage for _, stage in keys})
        columns = {
            "run_id": pa.DictionaryArray.from_arrays(zeros, pa.array([self._run_id])),
            "attempt": np.full(rows, self._attempt, dtype=np.int32),
            "rank": np.full(rows, self._rank, dtype=np.int32),
            "stage": pa.DictionaryArray.from_arrays(
                np.repeat([stages.index(s) for _, s in keys], lengths).astype(np.int32), pa.array(stages)
            ),
            "name": pa.DictionaryArray.from_arrays(np.repeat([names.index(n) for n, _ in keys], lengths).astype(np.int32), pa.array(names)),
            "step": axes[:, 0],
            "global_step": axes[:, 1],
            "epoch": axes[:, 2].astype(np.int32),
            "wall_time": pa.array(axes[:, 3]).cast(pa.timestamp("us", tz="UTC")),
            "value": np.concatenate([values for _, values in series]),
        }
        return pa.table({name: columns[name] for name in SCHEMA.names})


def segment_name(attempt: int, rank: int, sequence: int) -> str:
    """A segment's file name. One attempt of one rank numbers its files for itself."""
    return f"a{attempt:03d}-r{rank:03d}-{sequence:06d}.parquet"


def write_segment(path: Path, table: pa.Table, *, durable: bool = False) -> None:
    """Replace one Parquet file atomically, in the encodings that the schema promises.

    `store_schema=False` keeps Arrow's own schema out of the file, so that every reader gets plain
    strings; float bits are split by byte (`BYTE_STREAM_SPLIT`), which zstd then packs well.
    """

    def write(file: IO[bytes]) -> None:
        pq.write_table(
            table,
            file,
            compression="zstd",
            compression_level=1,
            row_group_size=ROW_GROUP_ROWS,
            use_dictionary=["run_id", "stage", "name"],  # type: ignore[arg-type]  # the stubs know only bool
            column_encoding={
                "attempt": "DELTA_BINARY_PACKED",
                "rank": "DELTA_BINARY_PACKED",
                "step": "DELTA_BINARY_PACKED",
                "global_step": "DELTA_BINARY_PACKED",
                "epoch": "DELTA_BINARY_PACKED",
                "wall_time": "DELTA_BINARY_PACKED",
                "value": "BYTE_STREAM_SPLIT",
            },
            store_schema=False,
        )

    replace_file(path, write, durable=durable)


def _blocks(records: Sequence[Record]) -> Iterator[tuple[tuple[str, tuple[str, ...]], _Axes, _Values]]:
    """Records as arrays, one block for each stretch with the same stage and names."""
    for (stage, names), group in groupby(records, key=lambda r: (r.stage, r.names)):
        block = list(group)
        axes = np.array([r[1:5] for r in block], dtype=np.int64)
        values = np.array([r.values for r in block], dtype=np.float64)
        yield (stage, names), axes, values


def _with_values(table: pa.Table, found: list[tuple[int, int]], axes: _Axes, values: _Values) -> pa.Table:
    """The table with the rows `found` (row, index into the new points) given their new values."""
    rows, new = np.array(found).T
    for i, column in enumerate(("step", "global_step", "epoch", "wall_time", "value")):
        old = table[column].to_numpy().copy()
        fresh = values[new] if column == "value" else axes[new, i]
        old[rows] = fresh.astype("datetime64[us]") if column == "wall_time" else fresh
        array = pa.array(old).cast(SCHEMA.field(column).type) if column != "wall_time" else pa.array(old, pa.timestamp("us", tz="UTC"))
        table = table.set_column(table.schema.get_field_index(column), column, array)
    return table
