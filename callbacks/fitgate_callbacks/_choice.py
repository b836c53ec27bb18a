"""Is the checkpoint that the gate would take the one that its thresholds mean? Asked before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fitgate.gate import LIGHTNING_SUFFIX, Threshold, nearest_names
from fitgate_callbacks._lightning import ChosenCheckpoint, Trainer

__all__ = ["direction_complaint", "missing_complaint"]

_MODES = {True: "max", False: "min"}
_EXTREMES = {"max": "highest", "min": "lowest"}
_WORDS = ("best", "last")


def direction_complaint(chosen: ChosenCheckpoint, thresholds: Iterable[Threshold]) -> str | None:
    """Why the best checkpoint would be the worst by the thresholds on the very metric that chooses it; None where it would not.

    Thresholds in both directions on that metric say nothing of which way is better, and neither does one that only warns.

    Args:
        chosen: the best of a ModelCheckpoint; `monitor` and `mode` are None where there is none.
        thresholds: the gate's.
    """
    if chosen.monitor is None or chosen.mode is None:
        return None
    on_it = [threshold for threshold in thresholds if not threshold.warn and _plain(threshold.metric) == _plain(chosen.monitor)]
    wanted = {_MODES[threshold.better_high] for threshold in on_it}
    if not on_it or chosen.mode in wanted:
        return None
    (mode,) = wanted
    return (
        f"ModelCheckpoint(monitor={chosen.monitor!r}, mode={chosen.mode!r}) keeps the {_EXTREMES[chosen.mode]} {chosen.monitor}, and "
        f"{str(on_it[0])!r} asks for a {'high' if mode == 'max' else 'low'} one, so that the worst epoch would be judged and shipped; "
        f"give ModelCheckpoint(monitor={chosen.monitor!r}, mode={mode!r})"
    )


def missing_complaint(trainer: Trainer, path: str) -> str | None:
    """Why a checkpoint given by path can't be there at the end of fit; None where it is there, or this fit may write it.

    The fit may write a file with a suffix, such as `.ckpt`, in a folder that is there or that a ModelCheckpoint saves in.
    """
    if "://" in path or os.path.exists(path):
        return None
    file = Path(path)
    near = nearest_names(path, _WORDS)
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    if not file.suffix and file.name == path:
        return f"checkpoint must be 'best', 'last', a path or a ModelCheckpoint, and {path!r} is none of them: there is no such file{meant}"
    if file.parent.is_dir():
        return None
    folders = [Path(callback.dirpath) for callback in _keepers(trainer) if callback.dirpath]
    unknown = any(not callback.dirpath for callback in _keepers(trainer))  # Lightning chooses it after this is asked
    if unknown or any(file.absolute().is_relative_to(folder.absolute()) for folder in folders):
        return None
    saves = f"; ModelCheckpoint saves in {' and '.join(map(str, folders))}" if folders else ""
    return f"checkpoint={path!r} can't be judged: there is no such file, and nothing says that this fit writes into {file.parent}{saves}"


def _keepers(trainer: Trainer) -> list[Any]:
    return [callback for callback in trainer.checkpoint_callbacks if hasattr(callback, "dirpath")]


def _plain(name: str) -> str:
    """A name as the module logged it."""
    return LIGHTNING_SUFFIX.sub("", name)
