"""Which kind of folder somebody gave: stores of runs and deploy roots are easily taken for one another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fitgate._command_line import typed
from fitgate.registry._layout import CURRENT, MANIFEST, version_numbers
from fitgate.store._run_file import RUN_FILE

__all__ = ["Folder", "is_model", "no_model", "no_version", "what_it_is"]


def is_model(folder: Path) -> bool:
    """Whether a folder is a model's: it has versions, or had some."""
    return bool(version_numbers(folder)) or (folder / CURRENT).exists()


@dataclass(frozen=True)
class Folder:
    """What a folder is, and, in words, that and the command for it."""

    kind: Literal["run", "version", "model", "store", "deploy root"]
    told: str


def what_it_is(folder: Path) -> Folder | None:
    """What a folder of ours is; None for any other.

    Example:
        >>> what_it_is(Path("no/such/folder")) is None
        True
    """
    if not folder.is_dir():
        return None
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found: Folder | None = None
    if (folder / RUN_FILE).is_file():
        command = typed("show", folder.absolute().name, "--root", folder.parent)
        found = Folder("run", f"{folder} is one run's folder: {command}")
    elif (folder / MANIFEST).is_file():
        found = Folder("version", f"{folder} is one version of a model: {typed('verify', folder.parent)}")
    elif is_model(folder):
        found = Folder("model", f"{folder} is a model's folder: {typed('verify', folder)}, or {typed('models', folder.parent)}")
    elif any((path / RUN_FILE).is_file() for path in inside):
        found = Folder("store", f"{folder} is a store of runs: {typed('runs', folder)}")
    elif held := [path for path in inside if is_model(path)]:
        names, commands = ", ".join(path.name for path in held), f"{typed('models', folder)}, or {typed('verify', held[0])}"
        found = Folder("deploy root", f"{folder} is a deploy root, which holds {names}: {commands}")
    return found


def no_model(folder: Path) -> str:
    """Why a folder that has no versions can't be a model's, for a message."""
    if not folder.is_dir():
        return (
            f"{folder} is no folder; expected a model's folder: GateCallback makes DIRPATH/MODEL_NAME when a model passes its thresholds, "
            "and `fitgate models DIRPATH` lists those there are"
        )
    found = what_it_is(folder)
    if found is not None:
        return found.told
    expected = "a model's folder, DIRPATH/MODEL_NAME, into which GateCallback publishes a model that passes its thresholds"
    return f"{folder} holds no versions; expected {expected}"


def no_version(folder: Path, version: object) -> str:
    """Why something is none of a model's versions, and which there are, for a message."""
    numbers = version_numbers(folder)
    if not numbers:
        return no_model(folder)
    what = "" if isinstance(version, int) else "; a version is a whole number"
    return f"{folder} has no version {version!r}{what}; it has {', '.join(map(str, numbers))}"
