"""Format "checkpoint": a Lightning checkpoint with weights and hyperparameters, nothing else.

It always loads with `weights_only=True`: hyperparameters that would not are converted, or left out and named.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fitgate.store._hparams import plain_hparams

__all__ = ["FILE", "load", "save", "shipped_checkpoint"]

FILE = "model.ckpt"
_KEPT = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "hparams_name", "datamodule_hparams_name")
_HPARAMS = ("hyper_parameters", "datamodule_hyper_parameters")


def shipped_checkpoint(source: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What ships of a training checkpoint, and the hyperparameters that were converted or left out."""
    shipped = {key: source[key] for key in _KEPT if key in source}
    changed = []
    for key in _HPARAMS:
        if key in source:
            shipped[key] = {}
            for name, value in dict(source[key]).items():
                if _loads_safely(value):
                    shipped[key][name] = value
                    continue
                changed.append(str(name))
                if isinstance(value, Path) or getattr(value, "shape", None) == ():
                    shipped[key][name] = plain_hparams({"value": value})["value"]
    return shipped, tuple(changed)


def save(checkpoint: Mapping[str, Any], folder: Path) -> Path:
    """Write model.ckpt."""
    import torch  # noqa: PLC0415 - the core loads torch only to export

    torch.save(dict(checkpoint), folder / FILE)
    return folder / FILE


def load(folder: Path) -> dict[str, Any]:
    """The state dict of an exported file, by name."""
    import torch  # noqa: PLC0415

    state: dict[str, Any] = torch.load(folder / FILE, map_location="cpu", weights_only=True)["state_dict"]
    return state


def _loads_safely(value: object) -> bool:
    import pickle  # noqa: PLC0415 - only its error is used

    import torch  # noqa: PLC0415

    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError, RuntimeError):
        return False
    return True
