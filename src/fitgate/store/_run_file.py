"""run.json: what a run is, in which state, and how often it was started."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from fitgate._files import Instant, Int64, decode_json, encode_json, replace_bytes
from fitgate.errors import StoreError
from fitgate.store._checkpoints import WrittenCheckpoint
from fitgate.store._names import check_run_id

__all__ = [
    "LOST_AFTER",
    "RUN_FILE",
    "Attempt",
    "CheckpointRef",
    "FitFacts",
    "RunInfo",
    "State",
    "ValidationSet",
    "read_run_info",
    "write_run_info",
]

RUN_FILE = "run.json"
FORMAT = 1
_COMMIT = re.compile(r"[0-9a-f]{4,64}", re.ASCII)
LOST_AFTER = timedelta(minutes=5)
"""A `running` run whose run.json is older than this is shown as `lost`."""

State = Literal["running", "completed", "deployed", "improve", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a run.

    Attributes:
        number: 0, then 1 after the first resume, …
        started: when.
        resumed_step: the `global_step` it went on from; None for a fresh start. Points of earlier
            attempts above it are masked.
        host, pid: the process that wrote it.
        command: its command line, as one would type it again; None where there is none, such as in a notebook.
        cwd: its working folder.
        git: `commit` and `dirty` of the code that ran, then; None outside git.
        lost_points: points of it that no reader finds, of those that the run's `lost_points` counts.
        ended: when its fit ended; None where none has. What it records later, in a validation, is of whatever weights.
    """

    number: Int64
    started: Instant
    resumed_step: Int64 | None = None
    host: str = ""
    pid: Int64 = 0
    command: str | None = None
    cwd: str | None = None
    git: dict[str, Any] | None = None
    lost_points: Int64 = 0
    ended: Instant | None = None


@dataclass(frozen=True, kw_only=True)
class CheckpointRef:
    """The checkpoint that a fit chose: `global_step` says which points belong to it.

    `problem` says why it can't be judged, in words; None when nothing speaks against it.
    """

    path: str
    global_step: Int64 | None = None
    epoch: Int64 | None = None
    monitor: str | None = None
    mode: str | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class ValidationSet:
    """What tells one validation set from another.

    Attributes:
        sizes: samples of each loader's data set; None for one without a length.
        n: samples of all of them; None where one has no length.
        digest: SHA-256 of the first samples of each loader, as the module got them; None where they are drawn at random.
    """

    sizes: tuple[Int64 | None, ...] = ()
    n: Int64 | None = None
    digest: str | None = None

    def difference(self, other: ValidationSet) -> str | None:
        """In words, how this set differs from another; None where nothing tells them apart.

        Example:
            >>> ValidationSet(sizes=(360,)).difference(ValidationSet(sizes=(400,)))
            '360 samples here, 400 there'
        """
        if self.sizes != other.sizes:
            here, there = (" + ".join("?" if size is None else str(size) for size in each.sizes) or "no" for each in (self, other))
            return f"{here} samples here, {there} there"
        return "other first samples" if self.digest and other.digest and self.digest != other.digest else None


@dataclass(frozen=True, kw_only=True)
class FitFacts:
    """What must be known of a fit, beside its points, to judge it again from its files alone.

    Attributes:
        global_step: optimizer steps at the end of fit.
        epoch: the epoch at the end of fit.
        steps: optimizer steps that this fit ran itself.
        interrupted: what stopped it from outside ("SIGTERM", "KeyboardInterrupt"), or None.
        failed: the exception that ended it, or None.
        fast_dev_run: it was a trial of the code, not a training.
        limit_val_batches: Lightning's argument as given: a float is a fraction, an int a number of batches.
        non_finite_stop: what stopped on a NaN or an infinity, in its own words, or None.
        non_finite_weights: which parameters that would ship hold a NaN or an infinity, in words, or None.
        disagreeing: gated metrics whose value differs between the processes of a distributed fit, in words, or None.
        weights_changed: how the weights at the end of fit differ from those that were validated, in words, or None.
        validation: which data it was validated on; None where it wasn't.
        ended: when the fit ended; points recorded later, by a validation after it, are not its evidence.
        checkpoint: the checkpoint that would ship; None for the weights at the end of fit.
    """

    global_step: Int64 = 0
    epoch: Int64 = 0
    steps: Int64 = 0
    interrupted: str | None = None
    failed: str | None = None
    fast_dev_run: bool = False
    limit_val_batches: int | float = 1.0
    non_finite_stop: str | None = None
    non_finite_weights: str | None = None
    disagreeing: str | None = None
    weights_changed: str | None = None
    validation: ValidationSet | None = None
    ended: Instant | None = None
    checkpoint: CheckpointRef | None = None


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The content of run.json.

    Attributes:
        id: the folder's name; sorts by time.
        name: what the user called it, or the id.
        state: where it stands; see also `shown_state`.
        created, updated: the first and the latest writing of this file.
        hparams: hyperparameters, flat enough for JSON.
        versions: of python and of the libraries that matter.
        attempts: every start, in order.
        checkpoints: the checkpoints that its fits wrote, as far as they may still be wanted.
        fit: facts of the last fit; None when it has not ended or there was none.
        lost_points: points that no reader finds: dropped, gone with a removed file, or waiting in memory as
            long as writing fails.
    """

    id: str
    name: str
    state: State
    created: Instant
    updated: Instant
    hparams: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    checkpoints: tuple[WrittenCheckpoint, ...] = ()
    fit: FitFacts | None = None
    lost_points: Int64 = 0
    format: int = FORMAT

    @property
    def git(self) -> dict[str, Any] | None:
        """Which code the latest attempt ran; None where that isn't known."""
        return next((attempt.git for attempt in reversed(self.attempts) if attempt.git is not None), None)

    @property
    def by_hand(self) -> bool:
        """Whether it was logged by hand: what wrote it says which fitgate it was, and there was no Trainer."""
        return "fitgate" in self.versions and "pytorch-lightning" not in self.versions

    def left_behind(self, attempt: int, global_step: int) -> Attempt | None:
        """The later attempt that went on from before `global_step` of an earlier one, whose points there are masked; or None.

        Example:
            >>> at = datetime(2026, 11, 23, tzinfo=UTC)
            >>> attempts = (Attempt(number=0, started=at), Attempt(number=1, started=at, resumed_step=6))
            >>> info = RunInfo(id="a", name="a", state="running", created=at, updated=at, attempts=attempts)
            >>> info.left_behind(0, 6), info.left_behind(0, 7).number, info.left_behind(1, 7)
            (None, 1, None)
        """
        later = (a for a in self.attempts if a.number > attempt and a.resumed_step is not None)
        return next((a for a in later if a.resumed_step is not None and a.resumed_step < global_step), None)

    def shown_state(self, now: datetime | None = None) -> str:
        """The state as people should read it: `lost` for a `running` run that fell silent."""
        now = now or datetime.now(UTC)
        return "lost" if self.state == "running" and now - self.updated > LOST_AFTER else self.state


@dataclass(frozen=True, kw_only=True)
class _Format:
    """The one field that every version of this file has."""

    format: int = FORMAT


_FORMAT_DECODER = msgspec.json.Decoder(_Format)
_DECODER = msgspec.json.Decoder(RunInfo)


def read_run_info(data: bytes, source: str) -> RunInfo:
    """Read and check a run.json. Fields that this version doesn't know are passed over.

    Raises:
        StoreError: it is damaged, of a format that this version doesn't read, or its id is none.
    """
    found = decode_json(data, _FORMAT_DECODER, source=source).format
    if found > FORMAT:
        message = f"{source} is of format {found}, and this version of fitgate reads formats up to {FORMAT}; install a newer fitgate"
        raise StoreError(message)
    if found < 1:
        message = f"{source} is of format {found}, which there is not; this version of fitgate reads format {FORMAT}"
        raise StoreError(message)
    info = decode_json(data, _DECODER, source=source)
    try:
        check_run_id(info.id)
        _check_git(info)
    except StoreError as error:
        message = f"{source} can't be trusted: {error}"
        raise StoreError(message) from error
    return info


def _check_git(info: RunInfo) -> None:
    """What is known of the code must be a commit: it is shown as a command to paste."""
    for attempt in info.attempts:
        if attempt.git is None:
            continue
        commit, dirty = attempt.git.get("commit"), attempt.git.get("dirty", False)
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or not isinstance(dirty, bool):
            message = f"attempt {attempt.number} has git {attempt.git!r}; expected a commit in hexadecimal digits, and whether it was dirty"
            raise StoreError(message)


def write_run_info(run_dir: Path, info: RunInfo) -> None:
    """Replace run.json atomically."""
    replace_bytes(run_dir / RUN_FILE, encode_json(info))
