"""Where things lie in a model's folder: `deploy/<model>/` with `CURRENT`, `history.jsonl` and the versions."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["CONFIG", "CURRENT", "HISTORY", "LARGEST_VERSION", "LOCK", "MANIFEST", "STAGING", "version_dir", "version_numbers"]

MANIFEST = "manifest.json"
CURRENT = "CURRENT"
HISTORY = "history.jsonl"
CONFIG = "config.pbtxt"
LOCK = ".lock"
STAGING = ".staging-"

# "01" and "٣" are digits to Python, and no version of ours.
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
LARGEST_VERSION = 999_999_999


def version_dir(model_dir: Path, version: int) -> Path:
    """The folder of one version."""
    return model_dir / str(version)


def version_numbers(model_dir: Path) -> tuple[int, ...]:
    """The versions of a model, in order; empty where there is no such folder."""
    if not model_dir.is_dir():
        return ()
    return tuple(sorted(int(path.name) for path in model_dir.iterdir() if _NUMBER.fullmatch(path.name) and path.is_dir()))
