"""How much an accuracy is off by chance alone, where the number of its samples can be told."""

from __future__ import annotations

import math

import numpy as np

from fitgate.diagnosis._evidence import Floats

__all__ = ["chance_error", "samples_behind"]

_MOST_SAMPLES = 1000
_LEAST_DISTINCT = 4
_ONE_SIDED_95 = 1.645
_FLOAT32 = 2e-6
"""How far an accuracy that was computed in float32 may lie from its fraction."""


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


def chance_error(values: Floats) -> float:
    """How far an accuracy may lie under its true value by chance: one-sided 95 % of a proportion's error.

    Returns:
        0 where the samples can't be counted.

    Example:
        >>> round(chance_error(np.array([0.7, 0.725, 0.95, 0.925])), 2)
        0.09
    """
    count = samples_behind(values)
    if count is None or count < 2:  # noqa: PLR2004 - all values are 0 or 1
        return 0.0
    mean = float(np.clip(values[-3:].mean(), 0.0, 1.0))
    return _ONE_SIDED_95 * math.sqrt(mean * (1 - mean) / count)
