"""One warning for one outage, however many things fail in it and however often."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fitgate.store._guard import Failure, Watch
from fitgate.store._schema import Record

__all__ = ["Outage"]

_log = logging.getLogger("fitgate")
_TRUTH_ADVICE = (
    "Training goes on; points wait in memory, a million at most, and are written when the disk takes them again. "
    "Until then the run counts them as lost, and no gate lets it pass."
)
_MIRROR_ADVICE = "Training goes on, and the Parquet files have every point."


class Outage:
    """Follows what fails, and says so once: when it begins, and (as information) when it is over.

    A full disk fails the points, their mirrors and run.json together; only the first of them is told. What
    fails beside healthy points is told when it fails twice in a row: the points are then not about to fail too.

    Args:
        run_dir: where, for the message.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._told: Failure | None = None
        self._truth_told = False
        self._unreadable_told = False
        self._lost_told = False

    def unreadable(self, failed: Sequence[tuple[Record, Exception]]) -> None:
        """Tell once that values were no numbers, or could not be fetched."""
        if failed and not self._unreadable_told:
            record, error = failed[0]
            self._unreadable_told = True
            _log.warning(
                "%s: the values of %s at step %d could not be read, the first of such: %s: %s. They count as lost.",
                *(self._run_dir, ", ".join(record.names), record.step, type(error).__name__, error),
            )

    def tell(self, truth: Watch, others: Sequence[Watch], *, lost: int, said: bool, last: bool) -> None:
        """Say what must be said now.

        Args:
            truth: the points' own writer.
            others: its mirrors, and run.json.
            lost: points that no reader finds, of this attempt.
            said: whether run.json has that number.
            last: nothing more will be tried.
        """
        for watch in (truth, *others):
            if watch.failure is not None and self._is_news(watch, truth, last=last):
                self._told = watch.failure
                self._truth_told = watch is truth
                self._begin(watch, watch.failure, _TRUTH_ADVICE if watch is truth else _MIRROR_ADVICE, lost if last else 0)
                self._lost_told |= last
        if self._told is not None and all(watch.failure is None for watch in (truth, *others)):
            _log.info("Writing to %s works again; it had failed since %s.", self._run_dir, _clock(self._told))
            self._told, self._truth_told = None, False
        if last and lost and not said and not self._lost_told:
            self._lost_told = True
            _log.warning("%s: %d points are lost, and run.json could not be written to say so.", self._run_dir, lost)

    def _is_news(self, watch: Watch, truth: Watch, *, last: bool) -> bool:
        if watch is truth:
            return not self._truth_told
        return self._told is None and truth.failure is None and watch.failure is not None and (last or watch.failure.times > 1)

    def _begin(self, watch: Watch, failure: Failure, advice: str, lost: int) -> None:
        ending = f"{lost} points are lost." if lost else advice
        _log.warning("Writing %s to %s fails since %s: %s. %s", watch.name, self._run_dir, _clock(failure), failure, ending)


def _clock(failure: Failure) -> str:
    return failure.since.strftime("%H:%M:%S UTC")
