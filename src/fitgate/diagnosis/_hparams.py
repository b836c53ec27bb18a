"""What the hyperparameters say that bears on a finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["numbers_in", "train_mode_note", "train_mode_reasons"]

_ONLY_IN_TRAINING = ("dropout", "drop_rate", "drop_path", "mixup", "cutmix", "label_smoothing", "augment", "noise")


def numbers_in(hparams: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every hyperparameter that is a number, with its dotted name.

    Example:
        >>> list(numbers_in({"lr": 0.1, "opt": {"momentum": 0.9, "name": "sgd"}, "nesterov": True}))
        [('lr', 0.1), ('opt.momentum', 0.9)]
    """
    for key, value in hparams.items():
        if isinstance(value, Mapping):
            yield from numbers_in(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value


def train_mode_reasons(hparams: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Hyperparameters that make training values look worse than the model is: what acts in train mode only.

    Example:
        >>> train_mode_reasons({"dropout": 0.5, "net": {"drop_path": 0.0}, "lr": 0.1})
        ['dropout=0.5']
    """
    found = []
    for key, value in hparams.items():
        if isinstance(value, Mapping):
            found += train_mode_reasons(value, f"{prefix}{key}.")
        elif value and any(word in key.lower() for word in _ONLY_IN_TRAINING):
            found.append(f"{prefix}{key}={value}")
    return found


def train_mode_note(hparams: Mapping[str, Any]) -> str:
    """How far training values can be compared with validation's; goes into every gap rule's evidence."""
    reasons = train_mode_reasons(hparams)
    if reasons:
        return f"training values are taken with {', '.join(reasons)} on, so the model is better on its training data than they show"
    return "training values are means over the steps since the last validation, in train mode: with dropout they look worse than they are"
