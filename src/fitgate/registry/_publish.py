"""Publishing: a version appears whole, under the next number, and `CURRENT` moves last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fitgate._files import fsync_file, fsync_folder, replace_file, sha256_of
from fitgate.errors import RegistryError
from fitgate.registry._current import begin_history, point_to, read_current, read_history
from fitgate.registry._layout import LARGEST_VERSION, MANIFEST, version_dir, version_numbers
from fitgate.registry._manifest import FORMAT, encode_manifest
from fitgate.registry._staging import Staging, locked
from fitgate.registry._triton import write_config
from fitgate.registry._verify import verify_version

__all__ = ["ChampionMovedError", "next_number", "publish", "write_manifest"]


class ChampionMovedError(RegistryError):
    """Another version is live than the one that this one was judged against."""


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write manifest.json: every other file with digest and size, then `content`. All is on the disk on return."""
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        fsync_file(path)
        files.append({"path": path.relative_to(folder).as_posix(), "sha256": sha256_of(path), "size": path.stat().st_size})
    for inner in (p for p in folder.rglob("*") if p.is_dir()):
        fsync_folder(inner)
    data = encode_manifest({"format": FORMAT, "created": datetime.now(UTC), "files": files, **content})
    replace_file(folder / MANIFEST, lambda file: file.write(data), durable=True)


def publish(staging: Staging, model_dir: Path, *, why: str, only_if: Callable[[], str | None] | None = None) -> int:
    """Give a sealed version the next number, then point `CURRENT` to it.

    Two publishers at once both get a number: renaming onto a version folder fails, since none is empty; also where locks
    do not reach, as on some network file systems.

    Args:
        staging: a folder with its manifest, on the file system of `model_dir`.
        model_dir: the model's folder.
        why: for history.jsonl, in words.
        only_if: called once nobody else can move `CURRENT`; says why nothing is to be published after all, or None.

    Returns:
        The version.

    Raises:
        ChampionMovedError: `only_if` says so; nothing is published then, and the staging is left.
        RegistryError: a staged file is not what its manifest says, the history is damaged, or no number is left; nothing is
            published then.
    """
    verify_version(staging.folder)
    with locked(model_dir):
        refusal = only_if() if only_if is not None else None
        if refusal is not None:
            raise ChampionMovedError(refusal)
        version = next_number(model_dir)
        begin_history(model_dir)
        while True:
            try:
                staging.folder.rename(version_dir(model_dir, version))
            except OSError:
                if not version_dir(model_dir, version).exists():
                    raise
                version += 1
            else:
                break
        fsync_folder(model_dir)
        point_to(model_dir, version, what="promote", why=why)
        write_config(model_dir, version)
    staging.release()
    return version


def next_number(model_dir: Path) -> int:
    """One more than any number that was ever given, a removed version's included.

    Raises:
        RegistryError: the history is damaged, or no number is left.
    """
    given = [*version_numbers(model_dir), *(move.version for move in read_history(model_dir))]
    with suppress(RegistryError):  # a damaged CURRENT is written anew
        current = read_current(model_dir)
        given += [current.version] if current else []
    number = 1 + max(given, default=0)
    if number > LARGEST_VERSION:
        message = f"{model_dir} has no number left for another version: {LARGEST_VERSION:,} is the largest, and it was given"
        raise RegistryError(message)
    return number
