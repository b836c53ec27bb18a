"""Opening a run for writing: a new one, or a further attempt at one that is there."""

from __future__ import annotations

import logging
import os
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fitgate._started import git_state, started_command
from fitgate.store._attempts import claim_attempt, seems_alive
from fitgate.store._batch import Block
from fitgate.store._evidence import BATCHES_FOLDER
from fitgate.store._names import new_run_id
from fitgate.store._recorder import Recorder
from fitgate.store._run_file import RUN_FILE, Attempt, RunInfo, read_run_info
from fitgate.store._schema import BATCHES, Record
from fitgate.store._segments import SegmentWriter

__all__ = ["new_run_folder", "open_recorder"]

_log = logging.getLogger("fitgate")
_TWO_AT_ONCE = (
    "%s: process %d on %s seems to record in this run still, as attempt %d. This one is attempt %d: both keep their points in files of "
    "their own, and from where it goes on, the later attempt's are the run's. Stop one of the two."
)


def new_run_folder(root: Path, name: str | None) -> tuple[str, Path]:
    """A folder that nobody else has: two processes that draw the same id don't share it."""
    root.mkdir(parents=True, exist_ok=True)
    while True:
        run_id = new_run_id(name)
        try:
            (root / run_id).mkdir()
        except FileExistsError:
            continue
        return run_id, root / run_id


def open_recorder(
    run_dir: Path,
    *,
    name: str | None = None,
    rank: int = 0,
    attempt: int | None = None,
    resumed_step: int | None = None,
    fitting: bool = False,
    purge_from: int | None = None,
    mirror_again: Sequence[Block] = (),
    hparams: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    tensorboard: bool = True,
    tags: Mapping[tuple[str, str], str] | None = None,
    flush_every_s: float = 1.0,
    fetch: Callable[[list[Record]], list[Record]] | None = None,
) -> Recorder:
    """A recorder for the run whose folder is `run_dir`, with its writers.

    Where a run.json is already there, this is one more attempt at that run, from `resumed_step`.

    Args:
        run_dir: the run's folder; made where it is missing.
        name: what the user called the run.
        rank: whose points these are. Rank 0 owns run.json and the TensorBoard mirror; the others write points alone.
        attempt: the number that rank 0 was given (`recorder.info.attempts[-1].number`), for the other ranks.
        resumed_step: the `global_step` that a resumed fit goes on from.
        fitting: a fit begins: what is known of one before is none of its facts, and its state no more that of the run.
        purge_from: the step from which TensorBoard is to forget what earlier attempts have written.
        mirror_again: what it must be told again then.
        hparams: hyperparameters, for run.json.
        versions: of libraries, for run.json.
        tensorboard: mirror the points as TensorBoard events.
        tags: TensorBoard tags for some (stage, name), where the name alone won't do.
        flush_every_s: seconds between two background flushes, or a little more (`pause_s`).
        fetch: see `Recorder`.

    Raises:
        StoreError: a run.json is there and can't be read.
        OSError: the folder can't be written.
    """
    run_dir = run_dir.absolute()  # a fit that changes its working folder goes on in the same run
    now = datetime.now(UTC)
    path = run_dir / RUN_FILE
    if attempt is None and path.exists():
        info = read_run_info(path.read_bytes(), str(path))
        number = claim_attempt(run_dir, 1 + max((a.number for a in info.attempts), default=-1))
        if other := seems_alive(info):
            _log.warning(_TWO_AT_ONCE, run_dir, other.pid, other.host, other.number, number)
    else:
        info = RunInfo(id=run_dir.name, name=name or run_dir.name, state="running", created=now, updated=now)
        number = claim_attempt(run_dir, 0) if attempt is None else attempt
    start = Attempt(
        number=number,
        started=now,
        resumed_step=resumed_step if number else None,
        host=socket.gethostname(),
        pid=os.getpid(),
        **(_how_started(run_dir.parent) if rank == 0 else {}),
    )
    info = replace(
        info,
        state="running" if fitting or info.fit is None else info.state,  # a validation leaves what became of the fit
        updated=now,
        hparams={**info.hparams, **(hparams or {})},
        versions={"python": platform.python_version(), "fitgate": version("fitgate"), **(versions or {})},
        attempts=(*info.attempts, start),
        fit=None if fitting else info.fit,
    )
    segments = partial(SegmentWriter, run_id=run_dir.name, attempt=number, rank=rank)
    writers = [
        segments(run_dir / "metrics"),
        segments(run_dir / BATCHES_FOLDER, name="the validations' Parquet files", stages=frozenset([BATCHES])),
    ]
    mirrors = []
    if tensorboard and rank == 0:
        from fitgate.tensorboard import EventWriter, session_start  # noqa: PLC0415 - protobuf is only loaded by those who write events

        session = session_start(run_dir.name, info.hparams, info.created)
        head = [session] if session is not None else []
        mirrors.append(EventWriter(run_dir, purge_from=purge_from if number else None, tags=tags, head=head, again=mirror_again))
    return Recorder(run_dir, info, writers, mirrors, flush_every_s=flush_every_s, fetch=fetch, owns_run_file=rank == 0)


def _how_started(root: Path) -> dict[str, Any]:
    """What one needs to start it again, for run.json."""
    try:
        folder = os.getcwd()
    except OSError:  # somebody has removed it
        return {"command": started_command()}
    return {"command": started_command(), "cwd": folder, "git": git_state(without=root)}
