"""How much an accuracy is off by chance alone, where the number of its samples is known or can be told."""

from __future__ import annotations

import math

import numpy as np

from fitgate.diagnosis._evidence import Curve, Floats

__all__ = ["FEW", "chance_error", "chance_fall", "samples_behind", "samples_of"]

FEW = 20
"""At so few samples one of them moves an accuracy by .05: what goes up and down then says nothing."""

_MOST_SAMPLES = 1000
_LEAST_DISTINCT = 4
_ONE_SIDED_95 = 1.645
_ONE_SIDED_99 = 2.326
_FLOAT32 = 2e-6
"""How far an accuracy that was computed in float32 may lie from its fraction."""


def samples_of(curve: Curve) -> int | None:
    """How many samples stand behind each value of an accuracy: as recorded, else as its values tell; None where neither does."""
    return curve.samples or samples_behind(curve.value)  # a data set may say that it has none, and give some


def samples_behind(values: Floats) -> int | None:
    """How many samples an accuracy was counted on, where every value is a whole number of them.

    Returns:
        None for more than 1,000, where float32 can't tell and chance is small, and for fewer than four distinct
            values, which are a whole number of almost anything.

    Example:
        >>> samples_behind(np.array([0.7, 0.725, 0.95, 0.925]))
        40
    """
    values = values[-_MOST_SAMPLES:]
    if len(np.unique(values)) < _LEAST_DISTINCT:
        return None
    for count in range(1, _MOST_SAMPLES + 1):
        scaled = values * count
        if np.all(np.abs(scaled - np.round(scaled)) <= _FLOAT32 * count):
            return count
    return None


def chance_error(curve: Curve) -> float:
    """How far an accuracy may lie under its true value by chance: one-sided 95 % of a proportion's error.

    Returns:
        0 where the samples can't be counted.

    Example:
        >>> at = np.arange(4)
        >>> values = np.array([0.7, 0.725, 0.95, 0.925])
        >>> curve = Curve(stage="validate", name="val_acc", step=at, global_step=at, epoch=at, value=values)
        >>> round(chance_error(curve), 2)
        0.09
    """
    count = samples_of(curve)
    if count is None or (count < 2 and curve.samples is None):  # noqa: PLR2004 - all values are 0 or 1
        return 0.0
    mean = float(np.clip(curve.value[-3:].mean(), 0.0, 1.0))
    return _ONE_SIDED_95 * math.sqrt(mean * (1 - mean) / count)


def chance_fall(curve: Curve) -> float:
    """How far an accuracy may fall from one validation to another by chance: one-sided 99 % of a difference of two proportions.

    The samples of one validation are those of the next, most often, and then the difference is less: this errs towards chance.

    Returns:
        0 where the samples can't be counted.

    Example:
        >>> at = np.arange(2)
        >>> curve = Curve(stage="validate", name="val_acc", step=at, global_step=at, epoch=at, value=np.array([0.8, 0.8]), samples=200)
        >>> round(chance_fall(curve), 3)
        0.093
    """
    count = samples_of(curve)
    if count is None:
        return 0.0
    mean = float(np.clip(curve.value[len(curve) // 2 :].mean(), 0.0, 1.0))
    return _ONE_SIDED_99 * math.sqrt(2 * mean * (1 - mean) / count)
