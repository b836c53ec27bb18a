"""What takes records: the contract of every metric writer."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from fitgate.store._schema import Record

__all__ = ["MetricWriter", "PointsGoneError"]


class PointsGoneError(OSError):
    """Something that a writer had brought to the disk is gone or can't be changed any more. All that can be done is done: nothing waits.

    Args:
        message: what has happened.
        points: how many are lost by it.
    """

    def __init__(self, message: str, points: int) -> None:
        super().__init__(message)
        self.points = points


class MetricWriter(Protocol):
    """A place where records go: Parquet segments, TensorBoard events, or your own.

    All calls come from one thread at a time, the recorder's, never from the training loop's. `write` takes
    each record once; what can't be written now is kept and tried again in the next `flush`. `flush` and `close` raise
    what went wrong; the recorder warns once, goes on, and gives a writer that keeps a million
    points no more of them. `close` may be followed by `write`, which opens anew.
    """

    @property
    def name(self) -> str:
        """What it writes, for messages."""

    @property
    def stages(self) -> AbstractSet[str]:
        """Of which stages it takes records; it is given no others."""

    @property
    def waiting(self) -> int:
        """Points taken that a reader can't find yet."""

    @property
    def lost(self) -> int:
        """Points taken that a reader will never find, or find no more."""

    def write(self, records: Sequence[Record]) -> None:
        """Take records, in the order in which they were logged. No I/O is needed yet. All of them, or none and an error.

        What comes is a `Batch`, which has the same as arrays, in `blocks`.
        """

    def flush(self) -> None:
        """Bring everything taken so far to where a reader finds it."""

    def close(self) -> None:
        """Flush, and give files back."""
