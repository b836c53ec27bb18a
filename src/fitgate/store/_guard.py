"""Driving one writer: nothing that it raises gets out, and its memory stays bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from fitgate.store._batch import Batch
from fitgate.store._intake import MAX_WAITING_POINTS
from fitgate.store._writer import MetricWriter

__all__ = ["Failure", "GuardedWriter", "Watch"]


@dataclass(frozen=True)
class Failure:
    """What goes wrong, since when, and how often in a row by now."""

    error: BaseException
    since: datetime
    times: int = 1

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


class Watch:
    """Does things that may fail, and remembers whether they do.

    Attributes:
        name: of what is done, for messages.
        failure: since it fails; None while all is well.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: Failure | None = None

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do it; whether it went well. Ctrl-C on the main thread is not caught."""
        try:
            action()
        except BaseException as error:  # training goes on whatever a writer raises
            if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C is meant for the training
            before = self.failure
            self.failure = Failure(error, before.since, before.times + 1) if before else Failure(error, datetime.now(UTC))
            return False
        self.failure = None
        return True


class GuardedWriter(Watch):
    """One writer, driven so that its errors don't get out.

    Attributes:
        dropped: points that the writer did not get, or would not take.
    """

    def __init__(self, writer: MetricWriter, *, max_waiting: int = MAX_WAITING_POINTS) -> None:
        super().__init__(writer.name)
        self._writer = writer
        self._max_waiting = max_waiting
        self.dropped = 0

    @property
    def lost(self) -> int:
        """Points that no reader finds: dropped, gone, or waiting in memory since writing fails."""
        return self.dropped + self._writer.lost + (self._writer.waiting if self.failure else 0)

    def flush(self, batch: Batch) -> None:
        """Give it records and have them written."""
        self._drive(batch, self._writer.flush)

    def hold(self, batch: Batch) -> None:
        """Give it records, to be written with the next flush; one that fails is tried each time."""
        self._drive(batch, self._writer.flush if self.failure else lambda: None)

    def close(self, batch: Batch) -> None:
        """Give it the last records and have its files closed."""
        self._drive(batch, self._writer.close)

    def _drive(self, batch: Batch, finish: Callable[[], None]) -> None:
        own = batch.of(self._writer.stages)
        fitting = self._what_fits(own)
        self.dropped += own.points - fitting.points

        def write_and_finish() -> None:
            if fitting:
                try:
                    self._writer.write(fitting)
                except BaseException:
                    self.dropped += fitting.points
                    raise
            finish()

        self.attempt(write_and_finish)

    def _what_fits(self, batch: Batch) -> Batch:
        room = self._max_waiting - self._writer.waiting
        if batch.points <= room:
            return batch
        count = 0
        while count < len(batch) and len(batch[count].names) <= room:
            room -= len(batch[count].names)
            count += 1
        return batch[:count]
