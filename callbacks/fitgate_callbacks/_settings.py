"""What a GateCallback was given, checked where it is given."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fitgate._roots import local_root
from fitgate.export import check_artifact_thresholds, check_formats, needs_example
from fitgate.gate import Threshold, check_allow, parse_thresholds
from fitgate.store._values import check_text
from fitgate_callbacks._lightning import ModelCheckpoint

__all__ = ["GateSettings", "gate_settings"]

_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """How a fit is judged, and where what passes goes.

    Attributes:
        thresholds: at least one.
        timed: those, as text, that the exported model is timed for.
        model_dir: the model's folder.
        which: the checkpoint that ships, as for `choose_checkpoint`.
        formats: what is written.
        allow: eligibility rules that are set aside.
    """

    thresholds: tuple[Threshold, ...]
    timed: tuple[str, ...]
    model_dir: Path
    which: str | ModelCheckpoint
    formats: tuple[str, ...]
    allow: tuple[str, ...]

    @property
    def wants_example(self) -> tuple[str, ...]:
        """What takes an example input, in words."""
        return (*(f"the format {name!r}" for name in needs_example(self.formats)), *map(repr, self.timed))


def gate_settings(
    thresholds: Iterable[str | Threshold],
    *,
    dirpath: str | os.PathLike[str],
    model_name: str,
    checkpoint: str | os.PathLike[str] | ModelCheckpoint,
    formats: Sequence[str],
    allow: Sequence[str],
) -> GateSettings:
    """Check a GateCallback's arguments; see there for what they are, and for what is raised."""
    parsed = parse_thresholds(thresholds)
    if not _MODEL_NAME.fullmatch(check_text("GateCallback: model_name", model_name)):
        message = f"GateCallback: model_name must be letters, digits, '_', '.' or '-', got {model_name!r}"
        raise ValueError(message)
    which = os.fspath(checkpoint) if isinstance(checkpoint, str | os.PathLike) else checkpoint
    if not isinstance(which, str) and not hasattr(which, "best_model_path"):
        message = f"GateCallback: checkpoint must be 'best', 'last', a path or a ModelCheckpoint, got {checkpoint!r}"
        raise TypeError(message)
    return GateSettings(
        thresholds=parsed,
        timed=check_artifact_thresholds(parsed),
        model_dir=local_root("GateCallback: dirpath", dirpath) / model_name,
        which=which,
        formats=check_formats(formats),
        allow=check_allow(allow),
    )
