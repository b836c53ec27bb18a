"""Reading the registry's own files, whatever lies in their place: a link, a pipe, something far too large."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from fitgate.errors import RegistryError

__all__ = ["digest_of", "read_regular"]

# CURRENT, history.jsonl and manifests hold some names and numbers. What is larger than this is none of ours.
_LARGEST = 64 * 2**20


def read_regular(path: Path) -> bytes | None:
    """The bytes of a regular file; None where there is none.

    Opened so that a pipe does not wait for a writer, and that a link is not followed: what it leads to was not published.

    Raises:
        RegistryError: it is something else, too large, or can't be read.
    """
    if path.is_symlink():
        message = f"{path} is a link, where the file itself was written"
        raise RegistryError(message)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                message = f"{path} is no regular file"
                raise RegistryError(message)
            if found.st_size > _LARGEST:
                message = f"{path} has {found.st_size:,} bytes, which it never has"
                raise RegistryError(message)
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"{path} can't be read: {error.strerror or error}"
        raise RegistryError(message) from error


def digest_of(path: Path) -> str | None:
    """The SHA-256 of such a file, as 64 hexadecimal digits; None where there is none that can be read."""
    try:
        data = read_regular(path)
    except RegistryError:
        return None
    return None if data is None else hashlib.sha256(data).hexdigest()
