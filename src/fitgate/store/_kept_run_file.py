"""run.json while a run is recorded: kept up to date, and shared with other attempts at the same run."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fitgate.errors import StoreError
from fitgate.store._guard import Watch
from fitgate.store._run_file import RUN_FILE, RunInfo, read_run_info, write_run_info

__all__ = ["KeptRunFile", "merged"]

_LOCK_TRIES, _LOCK_REST_S = 100, 0.01


class KeptRunFile(Watch):
    """The run.json of a run, as one attempt at it keeps it.

    Another attempt may write the same file: one that went on from a checkpoint while this one was closed, or at the
    same time. Each writing therefore starts from what is there, under a lock. Fields are changed on any thread, and
    written on one.

    Args:
        run_dir: the run's folder.
        info: what to write; its last attempt is the one that writes.
        owned: False where another process writes it, as on ranks other than 0.
        heartbeat_s: seconds between two rewritings.
    """

    def __init__(self, run_dir: Path, info: RunInfo, *, owned: bool, heartbeat_s: float) -> None:
        super().__init__(RUN_FILE)
        self.owned = owned
        self._info = self._before = info
        self._changes = self._written_changes = 0
        self._changing = threading.RLock()
        self._run_dir = run_dir
        self._heartbeat_s = heartbeat_s
        self._lost = self._lost_now = 0  # points of this attempt, as the file counts them, and as it should
        self._total_lost = info.lost_points
        self._saved_at = time.monotonic()

    @property
    def info(self) -> RunInfo:
        """What the file says, or would as soon as it can be written, where this attempt has the say."""
        return replace(self._info, lost_points=self._total_lost + self._lost_now - self._lost)

    @property
    def due_at(self) -> float:
        """When it is to be rewritten at the latest, by the monotonic clock."""
        return self._saved_at + self._heartbeat_s if self.owned else float("inf")

    @property
    def superseded(self) -> bool:
        """Whether a later attempt at the run is on record."""
        there = self._there()
        return there is not None and _newest(there) > _newest(self._info)

    def begin(self) -> None:
        """Write it for the first time.

        Raises:
            OSError: it can't be written.
        """
        if self.owned:
            self._write(0)

    def change(self, **changes: Any) -> None:  # noqa: ANN401 - RunInfo's own fields
        """Change fields, to be written with the next `save`."""
        with self._changing:
            self._info = replace(self._info, **changes)
            self._changes += 1

    def must_save(self, lost: int) -> bool:
        """Whether it is due, or off: `lost` points of this attempt are to stand in it, and it is to be there."""
        if not self.owned:
            return False
        off = self.failure is not None or lost != self._lost or self._changes != self._written_changes
        return off or time.monotonic() >= self.due_at or not os.path.exists(self._run_dir / RUN_FILE)

    def save(self, lost: int) -> None:
        """Write it; what goes wrong is remembered and tried again."""
        self._saved_at = time.monotonic()
        self._lost_now = lost
        self.attempt(lambda: self._write(lost))

    def _write(self, lost: int) -> None:
        changes, info = self._changes, replace(self._info, updated=datetime.now(UTC))
        *earlier, own = info.attempts
        info = replace(info, attempts=(*earlier, replace(own, lost_points=lost)))
        with _locked(self._run_dir):
            info = merged(self._before, info, self._there())
            write_run_info(self._run_dir, info)
        self._written_changes, self._lost, self._total_lost = changes, lost, info.lost_points

    def _there(self) -> RunInfo | None:
        """What is on the disk; None where it is gone or damaged: it is then written anew."""
        path = self._run_dir / RUN_FILE
        try:
            return read_run_info(path.read_bytes(), str(path))
        except (OSError, StoreError):
            return None


def merged(before: RunInfo, ours: RunInfo, there: RunInfo | None) -> RunInfo:
    """What to write where others may have written meanwhile: theirs and ours, and the newest attempt has the say.

    Args:
        before: what the file said when our attempt began, our attempt included.
        ours: what our attempt, the last in it, has made of that.
        there: what the file says now; None where it is gone.

    Example:
        >>> from fitgate.store._run_file import Attempt
        >>> at = datetime(2026, 11, 23, tzinfo=UTC)
        >>> first, second = Attempt(number=0, started=at, lost_points=3), Attempt(number=1, started=at)
        >>> ours = RunInfo(id="a", name="a", state="completed", created=at, updated=at, attempts=(first,))
        >>> there = replace(ours, state="running", attempts=(replace(first, lost_points=1), second), lost_points=5)
        >>> both = merged(ours, ours, there)
        >>> both.state, [attempt.number for attempt in both.attempts], both.lost_points
        ('running', [0, 1], 7)
    """
    own = ours.attempts[-1]
    if there is None:
        return replace(ours, lost_points=before.lost_points + own.lost_points)
    attempts = {attempt.number: attempt for attempt in (*ours.attempts, *there.attempts)}
    counted = attempts[own.number].lost_points if own.number in {attempt.number for attempt in there.attempts} else 0
    attempts[own.number] = own
    known = {*before.checkpoints, *ours.checkpoints}
    return replace(
        there if _newest(there) > _newest(ours) else ours,
        updated=ours.updated,
        lost_points=there.lost_points - counted + own.lost_points,
        attempts=tuple(attempts[number] for number in sorted(attempts)),
        checkpoints=(*ours.checkpoints, *(w for w in there.checkpoints if w not in known and w.attempt != _newest(ours))),
    )


def _newest(info: RunInfo) -> int:
    return max((attempt.number for attempt in info.attempts), default=-1)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for it out for a moment; a file system without locks has to do without.

    No library's lock file: it would stay in the folder, and filelock's audit hook would slow each training step.
    """
    try:
        import fcntl  # noqa: PLC0415 - not everywhere

        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
        yield
        return
    try:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_REST_S)
                continue
            except OSError:
                pass
            break
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # closing is not enough where a forked child has it too
        with contextlib.suppress(OSError):
            os.close(handle)
