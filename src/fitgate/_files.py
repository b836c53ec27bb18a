"""Whole files or none: atomic replacement, digests and JSON, for a local path or any fsspec URL."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from fitgate.errors import StoreError

__all__ = ["decode_json", "encode_json", "fsync_file", "fsync_folder", "replace_file", "sha256_of"]

T = TypeVar("T")


def replace_file(path: Path, write: Callable[[IO[bytes]], object], *, durable: bool = False) -> None:
    """Write a file whole under a temporary name, then rename it over `path`.

    A reader sees the old file or the new one, never a part. The temporary name starts with a dot
    and ends in `.tmp`, so that no glob for the real files meets it.

    Args:
        path: the file to make or to replace; its folder must be there.
        write: called once with the open binary file.
        durable: also wait until file and rename are on the disk (`fsync`), for what must outlive
            a power cut and not only a killed process.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        # mkstemp makes the file private; what people share a store for is reading it.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def fsync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode_json(value: Any) -> bytes:  # noqa: ANN401 - whatever msgspec encodes
    """Indented JSON that ends in a newline. NaN and infinities become null: JSON has no such numbers."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2) + b"\n"


def decode_json(data: bytes, kind: type[T], *, source: str) -> T:
    """Decode JSON and check it against a dataclass.

    Args:
        data: the file's bytes.
        kind: the dataclass that the JSON must fit.
        source: the file's name, for the message.

    Raises:
        StoreError: the bytes are no JSON, or the JSON doesn't fit.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{source} can't be read: {error}"
        raise StoreError(message) from error


def _read_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# The umask can only be read by setting it, which is a race between threads: once, at import.
_UMASK = _read_umask()


def _umask() -> int:
    return _UMASK
