"""Numbers for attempts: no two processes write under the same one."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from fitgate.store._run_file import Attempt, RunInfo

__all__ = ["claim_attempt", "seems_alive"]

_SILENT_AFTER = timedelta(seconds=90)
"""Three heartbeats."""


def claim_attempt(run_dir: Path, first: int) -> int:
    """The lowest number from `first` on that nobody has, now taken.

    Two processes may go on from one checkpoint at the same time, or a run.json may be gone whose points are still
    there. Under one number they would write over each other's files.

    Args:
        run_dir: the run's folder; made where it is missing.
        first: one more than the attempts that run.json tells of.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    for number in count(first):
        if any((run_dir / "metrics").glob(f"a{number:03d}-*.parquet")):
            continue
        try:
            os.close(os.open(run_dir / f".attempt-{number:03d}", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            continue
        return number
    raise AssertionError  # count has no end


def seems_alive(info: RunInfo, now: datetime | None = None) -> Attempt | None:
    """The attempt of another process that seems to record in this run at this moment; None where there is none.

    One that was killed leaves a run.json that says `running` too: on this machine its process is looked for, of another
    machine's nothing is known but when it last wrote.

    Example:
        >>> at = datetime(2026, 11, 23, tzinfo=UTC)
        >>> started = Attempt(number=0, started=at, host="elsewhere", pid=1)
        >>> info = RunInfo(id="a", name="a", state="running", created=at, updated=at, attempts=(started,))
        >>> seems_alive(info, at) is started, seems_alive(info, at + timedelta(minutes=2))
        (True, None)
    """
    silent = (now or datetime.now(UTC)) - info.updated > _SILENT_AFTER
    if info.state != "running" or silent or not info.attempts:
        return None
    last = info.attempts[-1]
    if last.host == socket.gethostname() and (last.pid in (0, os.getpid()) or not _is_there(last.pid)):
        return None
    return last


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True
