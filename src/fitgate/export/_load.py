"""Reading a checkpoint: fully where this fit wrote it, without unpickling code where it came by path."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from fitgate.errors import CheckpointError
from fitgate.export._messages import short

__all__ = ["LoadedCheckpoint", "UnsafeCheckpointError", "load_checkpoint"]


class UnsafeCheckpointError(CheckpointError):
    """The checkpoint holds more than `weights_only=True` admits; `holds` names it."""

    def __init__(self, message: str, holds: str) -> None:
        super().__init__(message)
        self.holds = holds

    def __reduce__(self) -> tuple[type[UnsafeCheckpointError], tuple[str, str]]:
        return type(self), (str(self), self.holds)


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint's content, tensors on the CPU, and the SHA-256 of its file."""

    content: dict[str, Any]
    sha256: str


def load_checkpoint(path: str, *, trusted: bool) -> LoadedCheckpoint | None:
    """Read a checkpoint.

    Args:
        path: a local path or any fsspec URL.
        trusted: whether unpickling may run its code. Hyperparameters often hold paths, functions and classes.

    Returns:
        None when there is no such file.

    Raises:
        UnsafeCheckpointError: it holds more than `weights_only=True` admits.
        CheckpointError: it is a sharded folder, or can't be read.
    """
    import fsspec  # noqa: PLC0415 - only an export reads checkpoints
    import torch  # noqa: PLC0415

    files, name = fsspec.core.url_to_fs(path)
    if files.isdir(name):
        message = f"GateCallback can't export the sharded checkpoint folder {path}; save a single file (for FSDP: state_dict_type='full')"
        raise CheckpointError(message)
    try:
        with files.open(name, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=not trusted)
    except FileNotFoundError:
        return None
    except Exception as error:
        message = f"the checkpoint {path} can't be read: {_what(error)}"
        if not trusted and "weights_only" in str(error).lower().replace(" ", "_"):
            message = (
                f"the checkpoint {path} was given by path, so it is loaded with weights_only=True, and it holds more than that admits "
                f"({_what(error)}). Let the ModelCheckpoint that wrote it choose it (checkpoint='best' or the instance), or save it with "
                "plain hyperparameters"
            )
            raise UnsafeCheckpointError(message, _what(error)) from error
        raise CheckpointError(message) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        message = f"{path} is no Lightning checkpoint: it holds no state_dict"
        raise CheckpointError(message)
    return LoadedCheckpoint(content, sha256)


def _what(error: Exception) -> str:
    """Which global a checkpoint asks for, where that is what it is refused for."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return found[1] if found else short(error)
