"""Verifying: every file of a version against its manifest, by size and SHA-256."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fitgate._command_line import typed
from fitgate._files import sha256_of
from fitgate.errors import RegistryError
from fitgate.registry._current import read_current, read_history
from fitgate.registry._folders import no_model
from fitgate.registry._layout import CONFIG, CURRENT, HISTORY, MANIFEST, version_dir, version_numbers
from fitgate.registry._manifest import FileEntry, read_manifest
from fitgate.registry._reading import digest_of
from fitgate.registry._triton import is_in_step

__all__ = ["Problem", "Verification", "check_version", "verify", "verify_version", "what_is_missing"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is not as it was published.

    Attributes:
        version: the version it is in; None for a file beside the versions.
        path: the file, relative to the model's folder.
        what: in words.
    """

    version: int | None
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found.

    Attributes:
        model: the model's name.
        versions: all versions, in order.
        files: how many files were read and compared.
        problems: what is off; empty when nothing is.
    """

    model: str
    versions: tuple[int, ...]
    files: int
    problems: tuple[Problem, ...]


def verify(model_dir: Path) -> Verification:
    """Read every file of every version and compare it with what was published.

    Finds a changed byte, an added file, a removed one, in the manifests too, a `CURRENT` that is gone or names what is not there, a
    history that is gone or can't be read, and versions that it knows of and that are gone.

    Raises:
        RegistryError: there is no such model.
    """
    numbers = version_numbers(model_dir)
    gone = _check_history(model_dir, numbers)
    if not numbers and not gone and not (model_dir / CURRENT).exists():
        message = no_model(model_dir)
        raise RegistryError(message)
    problems: list[Problem] = []
    files = 0
    for number in numbers:
        found = check_version(version_dir(model_dir, number))
        problems += [Problem(version=number, path=f"{number}/{path}", what=what) for path, what in found]
        files += sum(1 for p in version_dir(model_dir, number).rglob("*") if not p.is_dir())
    problems += [*_check_current(model_dir, numbers), *gone, *_check_missing(model_dir)]
    return Verification(model=model_dir.name, versions=numbers, files=files, problems=tuple(problems))


def verify_version(folder: Path) -> None:
    """Make sure of one version, or of one that is staged.

    Raises:
        RegistryError: a file is not what the manifest says; the message names it.
    """
    found = check_version(folder)
    if found:
        listed = "; ".join(f"{path}: {what}" for path, what in found)
        message = f"{folder} is not what was published: {listed}"
        raise RegistryError(message)


def check_version(folder: Path) -> list[tuple[str, str]]:
    """What is off in one version, as (path, what) pairs."""
    if folder.is_symlink():
        return [(".", "is a link, where the folder itself was published")]
    try:
        manifest, _ = read_manifest(folder)
    except RegistryError as error:
        return [(MANIFEST, str(error))]
    listed = {entry.path for entry in manifest.files}
    found = []
    for entry in manifest.files:
        complaint = _check_file(folder / entry.path, entry)
        if complaint:
            found.append((entry.path, complaint))
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_dir():
            if name not in listed and name != MANIFEST:
                found.append((name, "is not in the manifest: it was added later"))
        elif not any(other.startswith(f"{name}/") for other in listed):
            found.append((name, "is a folder that the manifest knows nothing of"))
    return found


def what_is_missing(model_dir: Path) -> dict[str, str]:
    """By name, what is said of `CURRENT` and history.jsonl where versions are there and one of them was removed.

    The first publication makes the history, then names the version, then writes `CURRENT`, then the first line: killed in between it
    leaves versions and no `CURRENT`, and that is all of it.

    Raises:
        RegistryError: one of them is damaged.
    """
    history, current = read_history(model_dir), read_current(model_dir)
    if not history and not (model_dir / HISTORY).exists():
        begins = f"`{_promotion(model_dir, current.version if current is not None else None)}` begins a new one"
        return {HISTORY: f"is missing: how the versions went live is not known any more; {begins}"}
    if history and current is None:
        last = history[-1].version
        return {CURRENT: f"is missing: by {HISTORY} version {last} went live; `{_promotion(model_dir, last)}` writes it anew"}
    return {}


def _promotion(model_dir: Path, version: int | None) -> str:
    """A command that works: with the version where that is there and whole."""
    if version is None or version not in version_numbers(model_dir) or check_version(version_dir(model_dir, version)):
        return typed("promote", model_dir, "VERSION")
    return typed("promote", model_dir, version)


def _check_file(path: Path, entry: FileEntry) -> str | None:
    if path.is_symlink():
        return "is a link, where the file itself was published"
    try:
        size = path.stat().st_size
        if not path.is_file():
            return "is no file"
        if size != entry.size:
            return f"has {size:,} bytes where {entry.size:,} were published"
        return None if sha256_of(path) == entry.sha256 else "has other bytes than were published (SHA-256 differs)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can't be read: {error.strerror or error}"


def _check_history(model_dir: Path, numbers: tuple[int, ...]) -> list[Problem]:
    try:
        known = {move.version for move in read_history(model_dir)}
    except RegistryError as error:
        return [Problem(version=None, path=HISTORY, what=str(error))]
    what = "is gone: it was live once, by history.jsonl"
    return [Problem(version=number, path=str(number), what=what) for number in sorted(known.difference(numbers))]


def _check_missing(model_dir: Path) -> list[Problem]:
    try:
        missing = what_is_missing(model_dir)
    except RegistryError:
        return []  # there, and told already
    return [Problem(version=None, path=name, what=what) for name, what in missing.items()]


def _check_current(model_dir: Path, numbers: tuple[int, ...]) -> list[Problem]:
    try:
        current = read_current(model_dir)
    except RegistryError as error:
        return [Problem(version=None, path=CURRENT, what=str(error))]
    if current is None:
        return []
    if current.version not in numbers:
        return [Problem(version=None, path=CURRENT, what=f"names version {current.version}, which is not there")]
    problems = []
    digest = digest_of(version_dir(model_dir, current.version) / MANIFEST)  # one that can't be read is the version's own problem
    if digest is not None and digest != current.manifest_sha256:
        what = f"was published with another manifest than the one of version {current.version}"
        problems.append(Problem(version=None, path=CURRENT, what=what))
    if not is_in_step(model_dir, current.version):
        problems.append(Problem(version=None, path=CONFIG, what=f"is not the one of version {current.version}, which is live"))
    return problems
