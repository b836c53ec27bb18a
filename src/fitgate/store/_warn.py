"""One warning for one outage, however many things fail in it and however often."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fitgate.store._guard import Failure, Watch
from fitgate.store._schema import Record
from fitgate.store._writer import PointsGoneError

__all__ = ["Outage"]

_log = logging.getLogger("fitgate")
_POINTS_ADVICE = (
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
        owns_run_file: False where another process writes run.json.
    """

    def __init__(self, run_dir: Path, *, owns_run_file: bool = True) -> None:
        self._run_dir = run_dir
        self._owns_run_file = owns_run_file
        self._told: Failure | None = None
        self._points_told = False
        self._gone_told: list[Failure] = []
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

    def tell(self, writers: Sequence[Watch], others: Sequence[Watch], *, lost: int, said: bool, last: bool) -> None:
        """Say what must be said now.

        Args:
            writers: the points' own.
            others: their mirrors, and run.json.
            lost: points that no reader finds, of this attempt.
            said: whether run.json has that number.
            last: nothing more will be tried.
        """
        self._tell_gone(writers, others)
        broken = [watch for watch in writers if _is_broken(watch)]
        if broken and not self._points_told:
            self._points_told = True
            self._begin(broken[0], _POINTS_ADVICE, lost, last=last)
        elif not broken:
            self._points_told = False
            for watch in others:
                if watch.failure is not None and _is_broken(watch) and self._told is None and (last or watch.failure.times > 1):
                    self._begin(watch, _MIRROR_ADVICE, lost, last=last)
        if self._told is not None and not broken and all(watch.failure is None for watch in others):
            _log.info("Writing to %s works again; it had failed since %s.", self._run_dir, _clock(self._told))
            self._told = None
        if last and lost and not said and not self._lost_told:
            self._lost_told = True
            ending = ", and run.json could not be written to say so" if self._owns_run_file else " of those that this process recorded"
            _log.warning("%s: %d points are lost%s.", self._run_dir, lost, ending)

    def _tell_gone(self, writers: Sequence[Watch], others: Sequence[Watch]) -> None:
        """What has happened at one instant, and does not go on."""
        gone = [
            (watch.failure, error)
            for watch in (*writers, *others)
            if watch.failure is not None
            and isinstance(error := watch.failure.error, PointsGoneError)
            # Where an outage was told, its end needs no more words if all points are there.
            and (self._told is None or error.points or watch in others)
        ]
        news = [(failure, error) for failure, error in gone if failure not in self._gone_told]
        self._gone_told = [failure for failure, _ in gone]
        if news:
            said = " ".join(f"{str(error)[:1].upper()}{str(error)[1:]}." for _, error in news)
            _log.warning("%s, seen at %s: %s Training goes on.", self._run_dir, _clock(news[0][0]), said)

    def _begin(self, watch: Watch, advice: str, lost: int, *, last: bool) -> None:
        failure = self._told = watch.failure
        assert failure is not None
        self._lost_told |= last
        ending = advice
        if last:
            ending = f"{lost} points are lost." if lost else "All points are on the disk."
        _log.warning("Writing %s to %s fails since %s: %s. %s", watch.name, self._run_dir, _clock(failure), failure, ending)


def _is_broken(watch: Watch) -> bool:
    return watch.failure is not None and not isinstance(watch.failure.error, PointsGoneError)


def _clock(failure: Failure) -> str:
    return failure.since.strftime("%H:%M:%S UTC")
