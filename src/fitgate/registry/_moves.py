"""Moving `CURRENT` by hand: promote a version, or go back to the one before."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from fitgate._command_line import typed
from fitgate._files import sha256_of
from fitgate.errors import RegistryError
from fitgate.registry._current import Current, live_before, point_to, read_current, read_history, set_aside_damaged, whole_history
from fitgate.registry._folders import no_model, no_version
from fitgate.registry._layout import MANIFEST, version_dir, version_numbers
from fitgate.registry._publish import ChampionMovedError, next_number
from fitgate.registry._staging import locked, remove_stale
from fitgate.registry._triton import is_in_step, write_config
from fitgate.registry._verify import check_version, verify_version

__all__ = ["promote", "rollback", "tidy"]


_log = logging.getLogger("fitgate")


def tidy(model_dir: Path) -> None:
    """Clean up after processes that were killed while they published: their stagings, and a config.pbtxt behind `CURRENT`.

    A living publisher's staging stays. A `CURRENT` that can't be read is left to who asks for it.

    Raises:
        RegistryError: nothing could be published here, since the history is damaged or no number is left.
    """
    next_number(model_dir)
    remove_stale(model_dir)
    try:
        current = read_current(model_dir)
        if current is not None and not is_in_step(model_dir, current.version):
            with locked(model_dir):
                write_config(model_dir, current.version)
    except RegistryError as error:
        _log.warning("fitgate: %s", error)


def promote(
    model_dir: str | os.PathLike[str], version: int, *, why: str = "promoted by hand", only_if: Callable[[], str | None] | None = None
) -> Current:
    """Make a version the live one, once every file of it is verified. A damaged history is set aside, and a new one begins.

    Of the version that is live already nothing changes.

    Args:
        model_dir: the model's folder, such as `deploy/digits`.
        version: one that is there.
        why: for history.jsonl.
        only_if: see `publish`.

    Returns:
        What `CURRENT` says now.

    Raises:
        ChampionMovedError: `only_if` says so; nothing is changed then.
        RegistryError: there is no such version, or one of its files is not what was published.
    """
    folder = Path(model_dir)
    if version not in version_numbers(folder):
        raise RegistryError(no_version(folder, version))
    with locked(folder):
        refusal = only_if() if only_if is not None else None
        if refusal is not None:
            raise ChampionMovedError(refusal)
        verify_version(version_dir(folder, version))
        live = _whole_and_live(folder, version)
        if live is not None:
            write_config(folder, version)
            return live
        set_aside_damaged(folder)
        current = point_to(folder, version, what="promote", why=why)
        write_config(folder, version)
    return current


def rollback(model_dir: str | os.PathLike[str], *, why: str = "rolled back by hand") -> Current:
    """Make the version live that was so before the live one was promoted, once every file of it is verified.

    Called again it goes back one further: each rollback undoes the latest promote that no rollback has undone. History is kept: a rollback is one line more in it.

    Returns:
        What `CURRENT` says now.

    Raises:
        RegistryError: no promote but the first is left to undo, or the version is not what was published.
    """
    folder = Path(model_dir)
    if read_current(folder) is None:
        message = f"{folder} has no live version to go back from" if version_numbers(folder) else no_model(folder)
        raise RegistryError(message)
    with locked(folder):
        history = whole_history(folder, read_current(folder))
        target = live_before(history)
        if target is None:
            raise RegistryError(_nothing_to_undo(folder, history[-1].version))
        is_there = version_dir(folder, target).is_dir()
        found = check_version(version_dir(folder, target)) if is_there else []
        if found or not is_there:
            whole = [n for n in version_numbers(folder) if not check_version(version_dir(folder, n))]
            instead = f"; whole are {', '.join(map(str, whole))}: {typed('promote', folder, whole[-1])}" if whole else ""
            listed = "; ".join(f"{path}: {what}" for path, what in found)
            what = f"is not what was published: {listed}" if is_there else "is not there any more"
            message = f"version {target}, live before this one, {what}{instead}"
            raise RegistryError(message)
        current = point_to(folder, target, what="rollback", why=why)
        write_config(folder, target)
    return current


def _nothing_to_undo(model_dir: Path, live: int) -> str:
    others = [str(number) for number in version_numbers(model_dir) if number != live]
    instead = f"; {typed('promote', model_dir, 'VERSION')} makes another one live: {', '.join(others)}" if others else ""
    return (
        f"{model_dir} has nothing to go back to: each rollback undoes the latest promote that still counts, and only the first is left, "
        f"that of version {live}{instead}"
    )


def _whole_and_live(model_dir: Path, version: int) -> Current | None:
    """What `CURRENT` says, where it names this version as it is and the history knows of it; None where either has to be written."""
    try:
        current, history = read_current(model_dir), read_history(model_dir)
    except RegistryError:
        return None
    if current is None or current.version != version or not history or history[-1].version != version:
        return None
    return current if sha256_of(version_dir(model_dir, version) / MANIFEST) == current.manifest_sha256 else None
