"""Staging, manifest and publication: a version appears whole, and `CURRENT` moves last."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fitgate._files import encode_json, fsync_folder, replace_file, sha256_of
from fitgate.errors import ExportError

__all__ = ["git_state", "new_staging", "publish", "write_manifest"]

MANIFEST = "manifest.json"
CURRENT = "CURRENT"
_STAGING = ".staging-"


def new_staging(model_dir: Path, run_id: str) -> Path:
    """An empty folder on the file system of the versions. Leftovers of this run's earlier tries are removed."""
    model_dir.mkdir(parents=True, exist_ok=True)
    for old in model_dir.glob(f"{_STAGING}{run_id}-*"):
        shutil.rmtree(old)
    staging = model_dir / f"{_STAGING}{run_id}-{os.getpid()}"
    staging.mkdir()
    return staging


def write_manifest(staging: Path, content: Mapping[str, Any]) -> None:
    """Write manifest.json: every other file with digest and size, then `content`. All is on the disk on return."""
    files = []
    for path in sorted(p for p in staging.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files.append({"path": path.relative_to(staging).as_posix(), "sha256": sha256_of(path), "size": path.stat().st_size})
    manifest = {"format": 1, "created": datetime.now(UTC), "files": files, **content}
    replace_file(staging / MANIFEST, lambda file: file.write(encode_json(manifest)), durable=True)


def publish(staging: Path, model_dir: Path, *, why: str) -> int:
    """Give a staged version the next number, then point `CURRENT` to it.

    Two publishers at once both get a number: renaming onto a version folder fails, since none is empty.

    Returns:
        The version.

    Raises:
        ExportError: a staged file is not what its manifest says.
    """
    manifest = json.loads((staging / MANIFEST).read_bytes())
    for entry in manifest["files"]:
        if sha256_of(staging / entry["path"]) != entry["sha256"]:
            message = f"{staging / entry['path']} changed between verification and publication; nothing was published"
            raise ExportError(message)
    version = 1 + max((int(p.name) for p in model_dir.iterdir() if p.name.isdecimal()), default=0)
    while True:
        try:
            staging.rename(model_dir / str(version))
        except OSError:
            if not (model_dir / str(version)).exists():
                raise
            version += 1
        else:
            break
    fsync_folder(model_dir)
    _point_to(model_dir, version, why)
    return version


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """The commit that the working folder is at, and whether it has uncommitted changes; None outside git."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=30).stdout.strip()  # noqa: S603

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _point_to(model_dir: Path, version: int, why: str) -> None:
    path = model_dir / CURRENT
    previous = json.loads(path.read_bytes())["version"] if path.exists() else None
    now = datetime.now(UTC).isoformat()
    current = {"version": version, "manifest_sha256": sha256_of(model_dir / str(version) / MANIFEST), "previous": previous, "time": now}
    replace_file(path, lambda file: file.write(encode_json(current)), durable=True)
    with (model_dir / "history.jsonl").open("a") as history:
        history.write(json.dumps({"what": "promote", "version": version, "previous": previous, "when": now, "why": why}) + "\n")
