"""Records on their way to the writers: as they were logged, and as arrays, converted once for all writers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from typing import overload

import numpy as np
import numpy.typing as npt

from fitgate.store._schema import Record

__all__ = ["AXES", "GLOBAL_STEP", "STEP", "TIME_UNIT_US", "Batch", "Block", "blocks_of"]

AXES = ("step", "global_step", "epoch", "wall_time")
"""The rows of `Block.axes`."""
STEP, GLOBAL_STEP = AXES.index("step"), AXES.index("global_step")
TIME_UNIT_US = 1000
"""Times are kept to the millisecond: the noise in their microseconds would cost a byte a point."""


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Records of one stage with the same names, as arrays, in the order in which they were logged.

    Attributes:
        stage: `"train"`, `"validate"` or `"test"`.
        names: the metrics.
        axes: int64 of shape (4, records): step, global_step, epoch, wall_time in microseconds.
        values: float64 of shape (records, names).
    """

    stage: str
    names: tuple[str, ...]
    axes: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    @property
    def points(self) -> int:
        """How many values it holds."""
        return self.values.size

    def rows(self, wanted: slice | npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Block:
        """Some of its records."""
        return Block(self.stage, self.names, self.axes[:, wanted], self.values[wanted])

    def columns(self, wanted: Sequence[int]) -> Block:
        """Some of its metrics."""
        return Block(self.stage, tuple(self.names[i] for i in wanted), self.axes, self.values[:, wanted])


class Batch(Sequence[Record]):
    """Records that are given to writers together.

    A writer may go through it record by record, or take `blocks`.

    Raises:
        TypeError, ValueError: (from `blocks`) a value is no number, or names and values differ in number.
    """

    def __init__(self, records: Sequence[Record], blocks: list[Block] | None = None) -> None:
        self._records = records
        if blocks is not None:
            self.blocks = blocks
        self._parts: dict[AbstractSet[str], Batch] = {}

    @cached_property
    def blocks(self) -> list[Block]:
        """The same as arrays. Made at the first call, then shared."""
        return list(_blocks(self._records))

    @cached_property
    def points(self) -> int:
        """How many values it holds."""
        return sum(block.points for block in self.blocks)

    def of(self, stages: AbstractSet[str]) -> Batch:
        """Its records of these stages."""
        if all(block.stage in stages for block in self.blocks):
            return self
        if stages not in self._parts:
            records = [record for record in self._records if record.stage in stages]
            self._parts[stages] = Batch(records, [block for block in self.blocks if block.stage in stages])
        return self._parts[stages]

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> Record | Batch:
        return Batch(self._records[index]) if isinstance(index, slice) else self._records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)


def blocks_of(records: Sequence[Record]) -> list[Block]:
    """Any records as arrays."""
    return records.blocks if isinstance(records, Batch) else list(_blocks(records))


def _blocks(records: Sequence[Record]) -> Iterator[Block]:
    """One block for all records with the same stage and names.

    Where one metric is logged now alone and now among others, blocks go by stretches instead, so that what
    was logged last comes last.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[Record]] = {}
    for record in records:
        key = (record[0], record[5])
        group = groups.get(key)
        if group is None:
            groups[key] = [record]
        else:
            group.append(record)
    series = [(stage, name) for stage, names in groups for name in names]
    if len(series) == len(set(series)):
        yield from (_block(stage, names, group) for (stage, names), group in groups.items())
    else:
        for (stage, names), stretch in groupby(records, key=lambda record: (record.stage, record.names)):
            yield _block(stage, names, list(stretch))


def _block(stage: str, names: tuple[str, ...], records: list[Record]) -> Block:
    _, steps, global_steps, epochs, times, _, values = zip(*records, strict=True)
    axes = np.array([steps, global_steps, epochs, times], dtype=np.int64)
    axes[3] = -(-axes[3] // TIME_UNIT_US) * TIME_UNIT_US  # up, so that no point seems older than what caused it
    return Block(stage, tuple(names), axes, _matrix(values, len(names)))


def _matrix(values: Iterable[Sequence[float]], width: int) -> npt.NDArray[np.float64]:
    rows = list(values)
    wrong = next((row for row in rows if len(row) != width), None)
    if wrong is not None:
        message = f"a record has {width} names and {len(wrong)} values"
        raise ValueError(message)
    return np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * width).reshape(len(rows), width)
