"""Values logged again for steps long past, such as by validating twice after fit: their file is sealed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fitgate.store._batch import AXES, STEP, Block
from fitgate.store._parquet import write_segment
from fitgate.store._schema import SCHEMA

__all__ = ["Found", "replace_in_sealed"]

_Key = tuple[str, int]  # name, step
_Index = npt.NDArray[np.intp]
_NUMBERS = (*AXES, "value")


@dataclass(frozen=True)
class Found:
    """What became of values for steps long past.

    Attributes:
        new: points that no sealed file holds, a block for each metric; of several at one step the last.
        lost: points of which nobody can tell, since a file that may hold them can't be read.
    """

    new: list[Block]
    lost: int


def replace_in_sealed(paths: Iterable[Path], block: Block) -> Found:
    """Put values into the sealed files that already hold their steps.

    Each file is replaced atomically and keeps its keys, so a reader never counts a point twice.

    Raises:
        OSError: a file can't be written. Doing it again then does the same.
    """
    left = {(name, int(step)): (i, column) for i, step in enumerate(block.axes[STEP]) for column, name in enumerate(block.names)}
    unreadable = 0
    for path in paths:
        if not left:
            break
        try:
            found = _keys(path, block)
            tables = list(_replaced(path, block, {key: left[key] for key in found if key in left})) if found else []
        except (pa.ArrowException, OSError):
            unreadable += 1
            continue
        if tables:
            write_segment(path, tables, sealed=True)
        for key in found:
            left.pop(key, None)
    if unreadable:
        return Found(new=[], lost=len(left))
    rows = {column: sorted(i for i, c in left.values() if c == column) for column in range(len(block.names))}
    return Found(new=[block.columns([column]).rows(np.array(r, dtype=np.intp)) for column, r in rows.items() if r], lost=0)


def _keys(path: Path, block: Block) -> list[_Key]:
    """The points' names and steps that a file may hold, and others of the same metrics."""
    steps = block.axes[STEP]
    wanted = (pc.field("stage") == block.stage) & pc.field("name").isin(list(block.names))
    wanted &= (pc.field("step") >= int(steps.min())) & (pc.field("step") <= int(steps.max()))
    table = pq.read_table(path, columns=["name", "step"], filters=wanted, partitioning=None)
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
