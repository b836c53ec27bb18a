"""The folders that are written to: on this machine, and known to be writable before anything is trained."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

__all__ = ["local_root", "probe"]

# `Path` makes one slash of two. One letter is a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def local_root(argument: str, path: object) -> Path:
    """A folder that somebody gave to be written to.

    Args:
        argument: whose argument it is and its name, for the message.
        path: what came.

    Raises:
        TypeError: it is no path.
        ValueError: it is a URL, or empty.
    """
    if not isinstance(path, str | os.PathLike):
        message = f"{argument} must be a folder's path, got {type(path).__name__}: {path!r}"
        raise TypeError(message)
    text = os.fspath(path)
    if not text:
        message = f"{argument} must be a folder's path, got an empty text; the current folder is '.'"
        raise ValueError(message)
    if _URL.match(text):
        message = f"{argument} must be a local folder, and {text!r} is a URL; give a folder, such as a mounted one, and copy it afterwards"
        raise ValueError(message)
    return Path(text)


def probe(what: str, folder: Path) -> None:
    """Try to write where a folder is, or will be made. Nothing is left behind, and no folder is made that another process could see go.

    Args:
        what: whose folder it is, for the message.
        folder: where.

    Raises:
        OSError: that can't be written; the message says what.
    """
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), Path())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0")
    except OSError as error:
        message = f"{what} can't be written: {there}: {error.strerror or error}"
        raise OSError(error.errno, message) from error
