"""Which code an export comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

__all__ = ["git_state"]


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """The commit that a folder is at, and whether it has uncommitted changes; None outside git.

    Args:
        folder: None for the working folder: a training is started from the code it runs.
    """

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=30).stdout.strip()  # noqa: S603

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
