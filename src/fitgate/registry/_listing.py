"""What is deployed: every model under a root, its versions, and which one is live."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fitgate.errors import RegistryError
from fitgate.registry._current import read_current
from fitgate.registry._folders import is_model
from fitgate.registry._layout import CURRENT, version_dir, version_numbers
from fitgate.registry._manifest import Manifest, read_manifest
from fitgate.registry._verify import what_is_missing
from fitgate.store._run_file import ValidationSet

__all__ = ["LiveValues", "Model", "ModelVersion", "champion", "live_content", "model", "models"]


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version, as its manifest tells of it.

    Attributes:
        number: 1, 2, 3, …
        live: whether `CURRENT` names it.
        created: when it was exported; None when its manifest can't be read.
        run_id: the run it comes from.
        metrics: what was recorded for its weights, and of its files.
        gated: those values that thresholds were held against.
        files: the names of its files.
        size: bytes of all of them.
        problem: why its manifest can't be read; None when it can.
    """

    number: int
    live: bool
    created: datetime | None = None
    run_id: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    gated: Mapping[str, float | None] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    size: int = 0
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's folder: its name, its versions in order, the number of the live one, what is wrong with `CURRENT`."""

    name: str
    path: str
    live: int | None
    versions: tuple[ModelVersion, ...]
    problem: str | None = None


def models(deploy_root: str | os.PathLike[str] = "deploy") -> tuple[Model, ...]:
    """Every model under a deploy root, by name. Nothing is verified, which is `verify`'s work, save for a version that is told to be made live.

    Raises:
        RegistryError: there is no such folder.
    """
    root = Path(deploy_root)
    if not root.is_dir():
        message = (
            f"no models are deployed in {str(root)!r}: there is no such folder; GateCallback makes it when a model passes its thresholds, "
            "or point to the folder given as its dirpath (in the terminal with --root)"
        )
        raise RegistryError(message)
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and is_model(p))
    return tuple(model(folder) for folder in folders)


def model(model_dir: Path) -> Model:
    """One model's versions."""
    problem = None
    try:
        current = read_current(model_dir)
        if current is None and (missing := what_is_missing(model_dir)):
            problem = "; ".join(f"{name} {what}" for name, what in missing.items())
    except RegistryError as error:
        current, problem = None, str(error)
    live = current.version if current else None
    numbers = version_numbers(model_dir)
    if live is not None and live not in numbers:
        problem = f"{CURRENT} names version {live}, which is not there"
    versions = tuple(_version(model_dir, number, live=number == live) for number in numbers)
    return Model(name=model_dir.name, path=str(model_dir), live=live, versions=versions, problem=problem)


def live_content(model_dir: Path) -> dict[str, Any] | None:
    """The live version's manifest.json, checked, with the keys that this version of fitgate does not know, and with `version`.

    None when none is live.

    Raises:
        RegistryError: `CURRENT` or the manifest can't be read, or it is not the manifest that went live.
    """
    found = _live(model_dir)
    return None if found is None else found[1]


def _live(model_dir: Path) -> tuple[Manifest, dict[str, Any]] | None:
    current = read_current(model_dir)
    if current is None:
        return None
    manifest, content = read_manifest(version_dir(model_dir, current.version), sha256=current.manifest_sha256)
    return manifest, {**content, "version": current.version}


@dataclass(frozen=True)
class LiveValues:
    """What a challenger is held against: the live version's values, the data they come from, and which version it is."""

    metrics: dict[str, float]
    validation: ValidationSet | None
    version: int
    run_id: str | None


def champion(model_dir: Path) -> LiveValues | None:
    """The live version's values, for thresholds relative to it; None when none is live.

    Raises:
        RegistryError: `CURRENT` or the manifest can't be read.
    """
    found = _live(model_dir)
    if found is None:
        return None
    manifest, content = found
    run_id = manifest.source.get("run_id")
    return LiveValues(
        metrics={name: value for name, value in manifest.metrics.items() if value is not None},
        validation=manifest.validation,
        version=content["version"],
        run_id=run_id if isinstance(run_id, str) else None,
    )


def _version(model_dir: Path, number: int, *, live: bool) -> ModelVersion:
    try:
        manifest, _ = read_manifest(version_dir(model_dir, number))
    except RegistryError as error:
        return ModelVersion(number=number, live=live, problem=str(error))
    run_id = manifest.source.get("run_id")
    return ModelVersion(
        number=number,
        live=live,
        created=manifest.created,
        run_id=run_id if isinstance(run_id, str) else None,
        metrics=manifest.metrics,
        gated=_gated(manifest),
        files=tuple(entry.path for entry in manifest.files),
        size=sum(entry.size for entry in manifest.files),
    )


def _gated(manifest: Manifest) -> dict[str, float | None]:
    names = [check.get("metric") for check in manifest.checks]
    return {name: manifest.metrics[name] for name in names if isinstance(name, str) and name in manifest.metrics}
