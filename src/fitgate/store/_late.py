"""Values logged again for steps long past, such as by validating twice after fit: their file is sealed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from fitgate._files import replace_bytes
from fitgate.store._batch import AXES, STEP, Block
from fitgate.store._parquet import encode
from fitgate.store._schema import SCHEMA
from fitgate.store._segment_file import UNREADABLE, rows_of

__all__ = ["Found", "SealedFile", "replace_in_sealed"]

_Series = tuple[str, str]  # name, stage
_Key = tuple[str, int]  # name, step
_Index = npt.NDArray[np.intp]
_NUMBERS = (*AXES, "value")


@dataclass(frozen=True)
class Found:
    """What became of values for steps long past.

    Attributes:
        new: points that no sealed file holds, a block for each metric; of several at one step the last.
        lost: points of which nobody can tell, since a file that may hold them can't be read.
        damaged: those files.
    """

    new: list[Block]
    lost: int
    damaged: set[Path]


class SealedFile:
    """A file that is left for good, and the steps of each metric that it may hold.

    Args:
        path: where it is.
        rows: how many rows it has.
        steps: by (name, stage), the first step and the last.
        like: the file before, which mostly has the same metrics; they are then kept once.
    """

    def __init__(self, path: Path, rows: int, steps: Mapping[_Series, tuple[int, int]], *, like: SealedFile | None = None) -> None:
        self.path = path
        self.rows = rows
        same = like is not None and like.places.keys() == steps.keys()
        self.places: dict[_Series, int] = like.places if like is not None and same else {s: place for place, s in enumerate(steps)}
        self._steps = np.array([steps[series] for series in self.places], dtype=np.int64).reshape(-1, 2)

    def may_hold(self, series: _Series, step: int) -> bool:
        """Whether a point can be in it; that it is would be for the file to say."""
        place = self.places.get(series)
        return place is not None and bool(self._steps[place, 0] <= step <= self._steps[place, 1])


def replace_in_sealed(files: Iterable[SealedFile], block: Block) -> Found:
    """Put values into the sealed files that already hold their steps.

    Each file is replaced atomically and keeps its keys, so a reader never counts a point twice. Where a file can't be
    read, only the points that it may hold are lost.

    Raises:
        OSError: a file can't be written. Doing it again then does the same.
    """
    left = {(name, int(step)): (i, column) for i, step in enumerate(block.axes[STEP]) for column, name in enumerate(block.names)}
    unknown: dict[_Key, Path] = {}
    for file in files:
        near = [key for key in left if file.may_hold((key[0], block.stage), key[1])]
        if not near:
            continue
        try:
            found = _keys(file.path, block)
            tables = list(_replaced(file.path, block, {key: left[key] for key in found if key in left})) if found else []
        except FileNotFoundError:
            continue  # somebody removed it: what it held is gone
        except UNREADABLE:
            unknown.update(dict.fromkeys(near, file.path))
            continue
        if tables:
            replace_bytes(file.path, encode(tables), durable=True)
        for key in found:
            left.pop(key, None)
    new = [place for key, place in left.items() if key not in unknown]
    rows = {column: sorted(i for i, c in new if c == column) for column in range(len(block.names))}
    blocks = [block.columns([column]).rows(np.array(r, dtype=np.intp)) for column, r in rows.items() if r]
    return Found(new=blocks, lost=len(left) - len(new), damaged={unknown[key] for key in left if key in unknown})


def _keys(path: Path, block: Block) -> list[_Key]:
    """The points' names and steps that a file may hold, and others of the same metrics."""
    steps = block.axes[STEP]
    wanted = (pc.field("stage") == block.stage) & pc.field("name").isin(list(block.names))
    wanted &= (pc.field("step") >= int(steps.min())) & (pc.field("step") <= int(steps.max()))
    table = rows_of(LocalFileSystem(), str(path), wanted, ["name", "step"])
    return [(str(row["name"]), int(row["step"])) for row in table.to_pylist()]


def _replaced(path: Path, block: Block, where: dict[_Key, tuple[int, int]]) -> Iterator[pa.Table]:
    """The file's row groups, with the block's values at `where` (record, column) in place of what was there."""
    if not where:
        return
    with pq.ParquetFile(path, read_dictionary=["run_id", "stage", "name"], page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=SCHEMA.names)
            held = pc.and_(pc.is_in(table["stage"], pa.array([block.stage])), pc.is_in(table["name"], pa.array(block.names))).to_numpy()
            near = np.flatnonzero(held & np.isin(table["step"].to_numpy(), block.axes[STEP]))
            keys = zip(table["name"].take(near).to_pylist(), table["step"].take(near).to_pylist(), strict=True)
            places = [(row, *where[key]) for row, key in zip(near, keys, strict=True) if key in where]
            yield _with_values(table, block, *np.array(places, dtype=np.intp).T) if places else table


def _with_values(table: pa.Table, block: Block, rows: _Index, records: _Index, columns: _Index) -> pa.Table:
    """The table with rows replaced by the block's values at (record, column)."""
    fresh = [*block.axes[:, records], block.values[records, columns]]
    for name, new in zip(_NUMBERS, fresh, strict=True):
        kind = SCHEMA.field(name).type
        number_kind = pa.int64() if pa.types.is_timestamp(kind) else kind
        numbers = table[name].cast(number_kind).to_numpy().copy()
        numbers[rows] = new
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(numbers, number_kind).cast(kind))
    return table
