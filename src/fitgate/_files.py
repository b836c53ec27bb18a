"""Whole files or none: atomic replacement, digests and JSON, for a local path or any fsspec URL."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

import msgspec

from fitgate.errors import StoreError

__all__ = [
    "JSON_OBJECT",
    "Instant",
    "Int64",
    "decode_json",
    "encodable",
    "encode_json",
    "fsync_file",
    "fsync_folder",
    "parse_json",
    "replace_bytes",
    "replace_file",
    "sha256_of",
    "write_all",
]

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number that is read from a file: a larger one counts nothing, and tables have no place for it."""
_NO_SUCH_FSYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)
"""What file systems answer that know no `fsync` of a folder, such as some shares that are mounted from elsewhere."""
_DEEPEST = 100
_NESTED = f"its values are nested more than {_DEEPEST} deep"
_NO_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[^"\[\]{}]+')

T = TypeVar("T")
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A date that is read from a file: one without a time zone means no certain instant, and compares with none."""


JSON_OBJECT = msgspec.json.Decoder(dict[str, Any])


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

    def fill(handle: int) -> None:
        with open(handle, "wb", closefd=False) as file:
            write(file)

    _replace(path, fill, durable=durable)


def replace_bytes(path: Path, data: bytes, *, durable: bool = False) -> None:
    """The same for bytes that are there already.

    They go to the system with no buffer of Python's in between: a process that is forked in the middle
    has nothing of this file to flush when it ends.
    """
    _replace(path, lambda handle: write_all(handle, data), durable=durable)


def write_all(handle: int, data: bytes) -> None:
    """Write all of it: a disk that fills up takes a part first, and says so only at the next call."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _replace(path: Path, fill: Callable[[int], object], *, durable: bool) -> None:
    temporary = path.parent / f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        error.filename = str(path)  # nobody has asked for the other
        raise
    try:
        try:
            fill(handle)
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what to tell
            os.unlink(temporary)
        raise
    if durable:
        fsync_folder(path.parent)


def fsync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, on a file system that can say so of a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SUCH_FSYNC:
            raise
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode_json(value: Any) -> bytes:  # noqa: ANN401 - whatever msgspec encodes
    """Indented JSON that ends in a newline. NaN and infinities become null: JSON has no such numbers.

    Half a character, as in the name of a file that is no UTF-8, becomes its escape: the rest is still to be told.
    """
    try:
        data = msgspec.json.encode(value, order="deterministic")
    except UnicodeEncodeError:
        data = msgspec.json.encode(_encodable_texts(msgspec.to_builtins(value)), order="deterministic")
    return msgspec.json.format(data, indent=2) + b"\n"


def encodable(text: str) -> str:
    r"""The text as UTF-8 can hold it: half a character as its escape.

    Example:
        >>> print(encodable("caf\xe9 \udcff"))
        café \udcff
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _encodable_texts(value: Any) -> Any:  # noqa: ANN401 - what msgspec made of a value
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_encodable_texts(key): _encodable_texts(each) for key, each in value.items()}
    return [_encodable_texts(each) for each in value] if isinstance(value, list | tuple) else value


def decode_json(data: bytes, decoder: msgspec.json.Decoder[T], *, source: str) -> T:
    """Decode JSON and check it against a dataclass.

    Args:
        data: the file's bytes.
        decoder: of the dataclass that the JSON must fit, made when its module is imported: msgspec gathers what it must know of a
            dataclass with no lock, and two threads at it at once end the process.
        source: the file's name, for the message.

    Raises:
        StoreError: the bytes are no JSON, or the JSON doesn't fit.
    """
    try:
        return parse_json(data, decoder)
    except msgspec.DecodeError as error:
        message = f"{source} can't be read: {error}"
        raise StoreError(message) from error


def parse_json(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The same for callers with an error of their own.

    Raises:
        msgspec.DecodeError: whatever is wrong with the bytes: no JSON, another shape, no UTF-8, nested beyond all sense.

    Example:
        >>> parse_json(b"[" * 101 + b"]" * 101, msgspec.json.Decoder(list))
        Traceback (most recent call last):
        msgspec.DecodeError: its values are nested more than 100 deep
    """
    try:
        value = decoder.decode(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from error
    except RecursionError as error:
        raise msgspec.DecodeError(_NESTED) from error
    if _depth(data) > _DEEPEST:  # what is read is also walked through, shown and written again, each with a limit of its own
        raise msgspec.DecodeError(_NESTED)
    return value


def _depth(data: bytes) -> int:
    """How deep the values of valid JSON are nested."""
    if data.count(b"[") + data.count(b"{") <= _DEEPEST:
        return 0
    brackets = _NO_BRACKET.sub(b"", data)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)
