"""Numbers for attempts: no two processes write under the same one."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

__all__ = ["claim_attempt"]


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
