"""Staging: a folder beside the versions, locked while its publisher lives.

The lock is the operating system's: a killed publisher's is free at once, so that the next start can tell its leftovers
from another publisher's work, by whatever process or host.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fitgate._files import fsync_folder
from fitgate.errors import RegistryError
from fitgate.registry._layout import LOCK, STAGING

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["Staging", "locked", "new_staging", "remove_stale"]

_PATIENCE_S = 120.0
_HALF_WRITTEN = ".*.tmp"  # what `replace_file` has not renamed yet


class Staging:
    """A staged folder and the lock that says its publisher lives."""

    def __init__(self, folder: Path, lock: BaseFileLock) -> None:
        self.folder = folder
        self._lock = lock

    def release(self) -> None:
        """The folder has become a version; give the lock up."""
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def drop(self) -> None:
        """Nothing will come of it: remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()


@contextmanager
def locked(model_dir: Path) -> Iterator[None]:
    """Hold a model's lock: for moving `CURRENT`, and for making and cleaning stagings.

    Raises:
        RegistryError: another process has held it for two minutes.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - see _lock_of

    try:
        with FileLock(model_dir / LOCK, timeout=_PATIENCE_S):
            yield
    except Timeout as error:
        message = f"another process has held {model_dir / LOCK} for {_PATIENCE_S:.0f} s; is one hanging while it publishes?"
        raise RegistryError(message) from error


def new_staging(model_dir: Path, run_id: str) -> Staging:
    """An empty folder on the file system of the versions. Leftovers of publishers that live no more are removed."""
    missing = [folder for folder in (model_dir, *model_dir.parents) if not folder.exists()]
    model_dir.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        with suppress(PermissionError):  # one may write a name into a folder without being allowed to list it
            fsync_folder(folder.parent)
    remove_stale(model_dir)
    with locked(model_dir):
        folder = model_dir / f"{STAGING}{run_id}-{uuid.uuid4().hex[:8]}"
        lock = _lock_of(folder)
        lock.acquire()
        folder.mkdir()
    return Staging(folder, lock)


def remove_stale(model_dir: Path) -> None:
    """Remove the stagings that killed publishers left, and files half written; a living publisher's staging stays."""
    if not any(model_dir.glob(f"{STAGING}*")) and not any(model_dir.glob(_HALF_WRITTEN)):
        return
    from filelock import Timeout  # noqa: PLC0415 - see _lock_of

    with locked(model_dir):
        # Only who holds the lock writes beside the versions, and now that is us.
        for half in model_dir.glob(_HALF_WRITTEN):
            half.unlink(missing_ok=True)
        for folder in {path.with_name(path.name.removesuffix(".lock")) for path in model_dir.glob(f"{STAGING}*")}:
            lock = _lock_of(folder)
            try:
                lock.acquire()
            except Timeout:
                continue
            Staging(folder, lock).drop()


def _lock_of(folder: Path) -> BaseFileLock:
    # Loaded only to publish: some of its versions add an audit hook to the process, which costs each later call of `id`
    # half a microsecond, and a training step makes hundreds.
    from filelock import FileLock  # noqa: PLC0415

    return FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0)
