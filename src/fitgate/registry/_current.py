"""`CURRENT`, which version is live, and history.jsonl, how that came about."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from fitgate._command_line import typed
from fitgate._files import encode_json, fsync_folder, parse_json, replace_file, sha256_of
from fitgate.errors import RegistryError
from fitgate.registry._layout import CURRENT, HISTORY, LARGEST_VERSION, MANIFEST, version_dir
from fitgate.registry._reading import read_regular

__all__ = [
    "Current",
    "Move",
    "begin_history",
    "live_before",
    "point_to",
    "read_current",
    "read_history",
    "set_aside_damaged",
    "whole_history",
]

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Current:
    """The content of `CURRENT`.

    Attributes:
        version: the live version.
        manifest_sha256: the digest of its manifest.json.
        previous: the version that was live just before; None for the first.
        time: when it went live, ISO 8601, UTC.
    """

    version: int
    manifest_sha256: str
    previous: int | None = None
    time: str = ""


@dataclass(frozen=True, kw_only=True)
class Move:
    """One line of history.jsonl.

    Attributes:
        what: `"promote"` or `"rollback"`.
        version: what went live.
        previous: what was live before; None for the first.
        when: ISO 8601, UTC.
        why: in words.
    """

    what: Literal["promote", "rollback"]
    version: int
    previous: int | None = None
    when: str = ""
    why: str = ""


_CURRENT_DECODER = msgspec.json.Decoder(Current)
_MOVE_DECODER = msgspec.json.Decoder(Move)


def read_current(model_dir: Path) -> Current | None:
    """Which version is live; None when none ever was.

    Raises:
        RegistryError: `CURRENT` is damaged.
    """
    path = model_dir / CURRENT
    data = read_regular(path)
    if data is None:
        return None
    try:
        current = parse_json(data, _CURRENT_DECODER)
    except msgspec.DecodeError as error:
        message = f"{path} can't be read: {error}; `{typed('promote', model_dir, 'VERSION')}` writes it anew"
        raise RegistryError(message) from error
    if not 1 <= current.version <= LARGEST_VERSION or not _SHA256.fullmatch(current.manifest_sha256):
        message = f"{path} can't be trusted: it names version {current.version} with the digest {current.manifest_sha256!r}"
        raise RegistryError(message)
    return current


def read_history(model_dir: Path) -> tuple[Move, ...]:
    """Every promote and rollback, in order; empty when there was none.

    Raises:
        RegistryError: history.jsonl is damaged.
    """
    path = model_dir / HISTORY
    how = f"`{typed('promote', model_dir, 'VERSION')}` sets it aside and begins a new one"
    data = read_regular(path)
    if data is None:
        return ()
    try:
        history = tuple(parse_json(line, _MOVE_DECODER) for line in data.splitlines() if line.strip())
    except msgspec.DecodeError as error:
        message = f"{path} can't be read: {error}; {how}"
        raise RegistryError(message) from error
    for move in history:
        if not 1 <= move.version <= LARGEST_VERSION:
            message = f"{path} can't be trusted: it names version {move.version}; {how}"
            raise RegistryError(message)
    return history


def begin_history(model_dir: Path) -> None:
    """Make an empty history where there is none, before there is a version: so that one which is removed later is missed."""
    with suppress(FileExistsError):
        os.close(os.open(model_dir / HISTORY, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        fsync_folder(model_dir)


def set_aside_damaged(model_dir: Path) -> None:
    """Rename a history that can't be read, so that a new one can begin. The caller holds the model's lock."""
    try:
        read_history(model_dir)
    except RegistryError:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        (model_dir / HISTORY).rename(model_dir / f"{HISTORY}.damaged-{now}")


def live_before(history: Sequence[Move]) -> int | None:
    """The version that a rollback goes to: what was live before the live one was promoted.

    Example:
        >>> moves = [Move(what="promote", version=1), Move(what="promote", version=2), Move(what="promote", version=3)]
        >>> live_before(moves)
        2
        >>> live_before([*moves, Move(what="rollback", version=2)])
        1
    """
    stack: list[int] = []
    for move in history:
        if move.what == "rollback" and move.version in stack[:-1]:
            while stack[-1] != move.version:
                stack.pop()
        elif not stack or stack[-1] != move.version:
            stack.append(move.version)
    return stack[-2] if len(stack) > 1 else None


def point_to(model_dir: Path, version: int, *, what: Literal["promote", "rollback"], why: str) -> Current:
    """Make a version the live one, and write down that it is. The caller holds the model's lock.

    `CURRENT` moves first. A process killed right after it leaves history.jsonl one line behind, which the
    next move makes good.
    """
    try:
        before = read_current(model_dir)
    except RegistryError:
        before = None  # a damaged CURRENT must not stand in the way of a good one
    history = whole_history(model_dir, before)
    now = datetime.now(UTC).isoformat()
    previous = None if before is None else before.previous if before.version == version else before.version
    digest = sha256_of(version_dir(model_dir, version) / MANIFEST)
    current = Current(version=version, manifest_sha256=digest, previous=previous, time=now)
    replace_file(model_dir / CURRENT, lambda file: file.write(encode_json(current)), durable=True)
    move = Move(what=what, version=version, previous=previous, when=now, why=why)
    lines = b"".join(msgspec.json.encode(asdict(m), order="deterministic") + b"\n" for m in (*history, move))
    # Replaced whole: a line half appended would be no line.
    replace_file(model_dir / HISTORY, lambda file: file.write(lines), durable=True)
    return current


def whole_history(model_dir: Path, live: Current | None) -> tuple[Move, ...]:
    """The history, with the last line put in where the process that moved `CURRENT` was stopped before it wrote it."""
    history = read_history(model_dir)
    if live is None or (history and history[-1].version == live.version):
        return history
    why = "found live without a line here: the process that moved CURRENT was stopped right after it"
    return (*history, Move(what="promote", version=live.version, previous=live.previous, when=live.time, why=why))
