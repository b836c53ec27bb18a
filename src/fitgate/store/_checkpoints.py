"""Which checkpoints a run has written: kept in run.json, so that a later attempt knows its own from anybody else's."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from fitgate._files import Int64

__all__ = ["WrittenCheckpoint", "is_same_file", "located", "mark_of", "noted", "settled", "written_at"]

_KEPT = 64


@dataclass(frozen=True, kw_only=True)
class WrittenCheckpoint:
    """A checkpoint that a fit of the run wrote.

    Attributes:
        path: where, without symbolic links; or a URL.
        global_step: optimizer steps that its weights had seen.
        attempt: the attempt that wrote it.
        mark: what the file was like once written: size and time of change, or what a remote file system says. None while a
            background writer may still be at it.
    """

    path: str
    global_step: Int64
    attempt: Int64
    mark: str | None = None


def located(path: str) -> str:
    """A path as it is kept: absolute and without symbolic links, such as a `last.ckpt` that is one; a URL as it is."""
    return path if "://" in path else os.path.realpath(path)


def mark_of(path: str) -> str | None:
    """What tells this file from one that is written in its place; None where there is none."""
    try:
        if "://" not in path:
            found = os.stat(path)
            return f"{found.st_size}:{found.st_mtime_ns}"
        import fsspec  # noqa: PLC0415 - only checkpoints at a URL need it

        files, name = fsspec.core.url_to_fs(path)
        return str(files.ukey(name))
    except Exception:  # noqa: BLE001 - whatever a file system raises: without a mark the file is not known, which is safe
        return None


def noted(
    known: Iterable[WrittenCheckpoint], new: WrittenCheckpoint, *, wanted: Collection[str] = (), keep: int = _KEPT
) -> tuple[WrittenCheckpoint, ...]:
    """The list with one more, newest last: the wanted paths, and of the rest the newest.

    Example:
        >>> written = [WrittenCheckpoint(path=f"/{n}.ckpt", global_step=n, attempt=0) for n in range(3)]
        >>> [w.path for w in noted(written, written[1], wanted=["/0.ckpt"], keep=1)]
        ['/0.ckpt', '/1.ckpt']
    """
    listed = [*(w for w in known if w.path != new.path), new]
    recent = listed[-keep:]
    return tuple(w for w in listed if w in recent or w.path in wanted)


def settled(known: Iterable[WrittenCheckpoint], attempt: int) -> tuple[WrittenCheckpoint, ...]:
    """The list once background writers are done: what this attempt wrote has its mark now."""
    return tuple(replace(w, mark=mark_of(w.path)) if w.mark is None and w.attempt == attempt else w for w in known)


def written_at(known: Sequence[WrittenCheckpoint], path: str) -> WrittenCheckpoint | None:
    """The entry of the file at a path; None where the run has written none there, or another lies there now."""
    where = located(path)
    return next((w for w in known if w.path == where and is_same_file(w)), None)


def is_same_file(written: WrittenCheckpoint) -> bool:
    """Whether what lies there now is what was written."""
    return written.mark is not None and written.mark == mark_of(written.path)
