"""Noise, set aside: means over windows, trends, and how a number is written."""

from __future__ import annotations

import numpy as np

from fitgate.diagnosis._evidence import Floats

__all__ = ["best_so_far", "number", "percent", "scatter", "smooth", "window_error", "window_means"]


def smooth(values: Floats, width: int) -> Floats:
    """The centred running mean; at the ends over what there is. Shape (n,) in, (n,) out.

    Example:
        >>> smooth(np.array([0.0, 3.0, 0.0, 3.0]), 3).tolist()
        [1.5, 1.0, 2.0, 1.5]
    """
    half = max(width, 1) // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    start, stop = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return np.asarray((total[stop] - total[start]) / (stop - start))


def scatter(values: Floats) -> float:
    """The standard deviation of the noise, from second differences: neither a trend nor a gentle bend counts as noise.

    Source: for independent noise the second difference has six times its variance (von Neumann et al., 1941).

    Example:
        >>> scatter(np.array([1.0, 2.0, 3.0, 4.0]))
        0.0
    """
    if len(values) < 3:  # noqa: PLR2004 - what a second difference needs
        return 0.0
    return float(np.sqrt((np.diff(values, 2) ** 2).mean() / 6))


def window_means(values: Floats, windows: int) -> Floats:
    """The means of `windows` parts of equal length, in order. Shape (n,) in, (windows,) out; n at least `windows`.

    Example:
        >>> window_means(np.array([1.0, 3.0, 5.0, 7.0]), 2).tolist()
        [2.0, 6.0]
    """
    return np.array([part.mean() for part in np.array_split(values, windows)])


def window_error(values: Floats, windows: int) -> float:
    """The standard error of the difference of two windows' means, from what the values scatter about their window's.

    Example:
        >>> window_error(np.array([1.0, 3.0, 1.0, 3.0]), 2)
        1.4142135623730951
    """
    spread = float(np.median([part.std(ddof=1) for part in np.array_split(values, windows)]))
    return spread * float(np.sqrt(2 * windows / len(values)))


def best_so_far(values: Floats, *, better_high: bool) -> Floats:
    """The best value up to each point. Shape (n,) in, (n,) out."""
    return np.maximum.accumulate(values) if better_high else np.minimum.accumulate(values)


def number(value: float) -> str:
    """A number as people read it: four digits that say something.

    Example:
        >>> number(0.123456), number(1234567.0), number(5)
        ('0.1235', '1.235e+06', '5')
    """
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share in percent.

    Example:
        >>> percent(0.1234)
        '12.3 %'
    """
    return f"{100 * share:.3g} %"
