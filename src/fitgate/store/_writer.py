"""What takes records: the contract of every metric writer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fitgate.store._schema import Record

__all__ = ["MetricWriter"]


class MetricWriter(Protocol):
    """A place where records go: Parquet segments, TensorBoard events, or your own.

    All calls come from one thread at a time, the recorder's, never from the training loop's.
    `write` takes each record once and must not lose it: what can't be written now is kept and
    tried again in the next `flush`. `flush` raises `OSError` when it could not bring everything to
    the disk; the recorder then warns once and goes on. `close` may be followed by `write`, which opens anew.
    """

    def write(self, records: Sequence[Record]) -> None:
        """Take records, in the order in which they were logged. No I/O is needed yet."""

    def flush(self) -> None:
        """Bring everything taken so far to where a reader finds it."""

    def close(self) -> None:
        """Flush, and give files back."""
