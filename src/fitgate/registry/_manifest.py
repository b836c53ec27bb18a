"""manifest.json: which files a version has, what they are and where they come from.

What is read back is checked against this schema, and its paths must stay inside the version's folder. The
manifest carries a digest of itself, so that a version can be verified wherever it is copied to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from fitgate._command_line import typed
from fitgate._files import JSON_OBJECT, Instant, encode_json, parse_json
from fitgate.errors import RegistryError
from fitgate.registry._layout import MANIFEST
from fitgate.registry._reading import read_regular
from fitgate.store._run_file import ValidationSet

__all__ = ["FORMAT", "FileEntry", "Manifest", "Signature", "TensorSpec", "encode_manifest", "read_manifest"]

FORMAT = 1
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_FILES = 10_000
_LARGEST_FILE = 2**50


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a version.

    Attributes:
        path: relative to the version's folder, with forward slashes.
        sha256: 64 hexadecimal digits.
        size: bytes.
    """

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a model: its dtype as torch and numpy name it, its shape with -1 for the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a model takes and gives, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What this version of fitgate reads of a manifest.json; further keys may be there."""

    format: int
    created: Instant
    files: tuple[FileEntry, ...]
    metrics: dict[str, float | None] = field(default_factory=dict)
    checks: tuple[dict[str, Any], ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    signature: Signature | None = None
    versions: dict[str, str] = field(default_factory=dict)
    validation: ValidationSet | None = None
    proof: dict[str, Any] = field(default_factory=dict)


_DECODER = msgspec.json.Decoder(Manifest)


def encode_manifest(content: Mapping[str, Any]) -> bytes:
    """The bytes of manifest.json: `content`, and under `digest` the SHA-256 of it written without that key."""
    # Once through JSON, so that what is read back later gives the same bytes.
    plain = msgspec.json.decode(encode_json(content))
    bare = {key: value for key, value in plain.items() if key != "digest"}
    return encode_json({**bare, "digest": hashlib.sha256(encode_json(bare)).hexdigest()})


def read_manifest(version_folder: Path, *, sha256: str | None = None) -> tuple[Manifest, dict[str, Any]]:
    """Read and check a version's manifest.

    Args:
        version_folder: where it is.
        sha256: what `CURRENT` says that its digest is; None for a version that is not live.

    Returns:
        The manifest, and its whole JSON content with the keys that this version of fitgate does not know.

    Raises:
        RegistryError: it is missing, damaged, of another format, or names a file outside its folder.
    """
    path = version_folder / MANIFEST
    data = read_regular(path)
    if data is None:
        message = f"{path} can't be read: there is no such file"
        raise RegistryError(message)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        folder = version_folder.parent
        message = (
            f"version {version_folder.name} of {folder} has another manifest than the one that went live; see: {typed('verify', folder)}"
        )
        raise RegistryError(message)
    try:
        content = parse_json(data, JSON_OBJECT)
        found = content.get("format")
        if isinstance(found, int) and found != FORMAT:
            message = f"{path} is of format {found}; this version of fitgate reads format {FORMAT}"
            raise RegistryError(message)
        manifest = parse_json(data, _DECODER)
    except msgspec.DecodeError as error:
        message = f"{path} can't be read: {error}"
        raise RegistryError(message) from error
    _check_files(manifest, path)
    # Any changed byte shows: the content by the digest, the writing of it by comparison with our own.
    if encode_manifest(content) != data:
        message = f"{path} was changed since it was written: its content doesn't give its own digest"
        raise RegistryError(message)
    return manifest, content


def _check_files(manifest: Manifest, path: Path) -> None:
    complaint = None
    if not manifest.files or len(manifest.files) > _MOST_FILES:
        complaint = f"it lists {len(manifest.files)} files"
    seen = set()
    for entry in manifest.files:
        if not is_inside(entry.path):
            complaint = f"the path {entry.path!r} is not one inside the version's folder"
        elif entry.path in seen or entry.path == MANIFEST:
            complaint = f"the path {entry.path!r} can't be listed, or not twice"
        elif not _SHA256.fullmatch(entry.sha256):
            complaint = f"{entry.sha256!r} is no SHA-256"
        elif not 0 <= entry.size <= _LARGEST_FILE:
            complaint = f"{entry.path!r} can't have {entry.size} bytes"
        seen.add(entry.path)
    if complaint:
        message = f"{path} can't be trusted: {complaint}"
        raise RegistryError(message)


def is_inside(name: str) -> bool:
    r"""Whether a path from a manifest stays inside the version's folder, on any system.

    Example:
        >>> is_inside("model.onnx"), is_inside("../x"), is_inside("/etc/passwd"), is_inside("a/../../x"), is_inside("C:\\x")
        (True, False, False, False, False)
    """
    if not name or "\\" in name or ":" in name or any(ord(c) < ord(" ") for c in name):
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and path.as_posix() == name and not {"..", "."} & set(path.parts)
