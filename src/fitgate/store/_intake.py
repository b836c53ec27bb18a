"""Where the training loop leaves its records: one append each, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

from fitgate.store._schema import Record

__all__ = ["MAX_WAITING_POINTS", "Intake"]

MAX_WAITING_POINTS = 1_000_000
"""How many points wait in memory for a disk that takes none, here and in each writer; what comes later is dropped and counted."""
_ENOUGH_POINTS = 100_000  # so many are not left to wait until the next flush is due


class Intake:
    """A list of records that one thread fills and another empties, with no lock between them.

    Args:
        wake: called when there is so much that it should be fetched now.
        max_points: the bound.

    Attributes:
        dropped: points that were not taken, since the bound was reached.
    """

    def __init__(self, wake: Callable[[], None], *, max_points: int = MAX_WAITING_POINTS) -> None:
        self._wake = wake
        self._max_points = max_points
        self._records: list[Record] = []
        self._in_hand: list[Record] = []
        self._full_at = -1
        self.dropped = 0

    def put(self, record: Record) -> None:
        """Take one record. The only call in the training loop."""
        records = self._records
        # As if all were as wide as this one: counting them would cost more than the append.
        if len(records) * len(record[5]) >= _ENOUGH_POINTS and not self._crowded(record):
            return
        records.append(record)

    def take(self) -> list[Record]:
        """Hand over what is here; it counts as here until `done`, so that an interruption loses nothing."""
        # Appends go on meanwhile: only what is there now is cut off the front.
        count = len(self._records)
        self._in_hand += self._records[:count]
        del self._records[:count]
        return self._in_hand

    def done(self) -> None:
        """What was handed over last is in the writers' hands."""
        self._in_hand = []

    def _crowded(self, record: Record) -> bool:
        """Whether there is room for one more; wakes the thread that makes some."""
        self._wake()
        records = self._records
        if len(records) * len(record.names) < self._max_points:
            return True
        if len(records) != self._full_at:
            if sum(len(r.names) for r in list(records)) < self._max_points:
                return True
            self._full_at = len(records)
        self.dropped += len(record.names)
        return False
