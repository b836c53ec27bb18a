"""The one-sided confidence bound of a mean over a validation pass, from the values of its batches.

It is the worse of two bounds. Student's t knows how little a few batches tell of their own spread, but takes them for
symmetric; losses are skewed, and there it is wrong up to three times as often as it says. The bootstrap-t (B. Efron and
R. Tibshirani, 1993, "An introduction to the bootstrap", chapter 12.5; P. Hall, 1988, "Theoretical comparison of bootstrap
confidence intervals", Annals of Statistics 16) takes the skewness from the batches themselves; its level is
narrowed from 1 - confidence to n / (n + 10) of that for n batches, since from few of them it sees too little of the tail. Both in simulation: with
batches as skewed as single exponential losses, a model on the wrong side of its threshold passes at 95 % confidence at
most about 5 % of the time from `LEAST_BATCHES` on. With fewer no bound kept its word, so there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["LEAST_BATCHES", "mean_bound", "why_no_bound"]

LEAST_BATCHES = 10
"""Below, skewed batches pass too often: 6 % with 8 of them, 9 % with 5."""
_NARROWED_BY = 10
_DRAWS = range(2_000, 10_001)
"""The least and the most bootstrap draws: with 10,000 the level is off by 0.2 % at most, one time in three."""
_DRAWN_VALUES = 5_000_000
"""Draws times batches, as long as that leaves enough draws: half a second."""
_AT_A_TIME = 1_000_000
"""Values drawn at once: 16 MB, twice."""


def why_no_bound(values: Sequence[float]) -> str | None:
    """Why these batches give no bound; None when they do.

    Example:
        >>> why_no_bound([0.4])
        'too few batches: 1 was seen, and a bound that keeps its word takes at least 10'
    """
    if not len(values):
        return "nothing was seen per batch, and a mean's bound comes from the spread between batches"
    if not all(map(math.isfinite, values)):
        return "some batches gave NaN or infinite values"
    if len(values) < LEAST_BATCHES:
        seen = "1 was seen" if len(values) == 1 else f"{len(values)} were seen"
        return f"too few batches: {seen}, and a bound that keeps its word takes at least {LEAST_BATCHES}"
    if min(values) == max(values):
        return f"all {len(values)} batches gave the same value: there is no spread to estimate a bound from"
    return None


def mean_bound(value: float, batch_values: Sequence[float], batch_sizes: Sequence[float], confidence: float, *, lower: bool) -> float:
    """The bound; the batches are drawn with a fixed seed, so that the same files give the same one.

    Args:
        value: the recorded mean; the bound is that of the batches, moved by what separates their mean from it
            (rounding; with several processes, samples that a distributed sampler repeats).
        batch_values: of each batch, such that `why_no_bound` has nothing to say.
        batch_sizes: the batches' weights in the mean.
        confidence: such as 0.95.
        lower: the bound below the value (for `>=`), else the one above it.
    """
    import numpy as np  # noqa: PLC0415 - only confident thresholds need it
    from scipy.special import stdtrit  # noqa: PLC0415 - likewise

    sign = -1.0 if lower else 1.0  # the upper bound of what is turned round is the lower one
    values, weights = sign * np.asarray(batch_values, dtype=np.float64), np.asarray(batch_sizes, dtype=np.float64)
    n = len(values)
    (mean,), (error,) = _means(values[None], weights[None])
    level = (1 - confidence) * n / (n + _NARROWED_BY)
    ts = np.sort(_studentised(values, weights, mean, error))
    beyond = max(-ts[math.ceil(level * len(ts)) - 1], stdtrit(n - 1, confidence))
    return value + sign * float(error) * float(beyond)


def _means(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weighted means of the last axis, and their standard errors (those of a ratio of two sums)."""
    import numpy as np  # noqa: PLC0415 - as above

    n, whole = values.shape[-1], weights.sum(axis=-1)
    means = (weights * values).sum(axis=-1) / whole
    errors = np.sqrt(n / (n - 1) * ((weights * (values - means[..., None])) ** 2).sum(axis=-1)) / whole
    return means, errors


def _studentised(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], mean: np.float64, error: np.float64
) -> npt.NDArray[np.float64]:
    """How far the means of resamples lie from the mean, in standard errors of their own; of one without spread, infinitely far."""
    import numpy as np  # noqa: PLC0415 - as above

    n, rng = len(values), np.random.default_rng(0)
    draws = min(max(_DRAWN_VALUES // n, _DRAWS[0]), _DRAWS[-1])
    found = []
    for start in range(0, draws, rows := max(1, _AT_A_TIME // n)):
        drawn = rng.integers(0, n, (min(rows, draws - start), n))
        means, errors = _means(values[drawn], weights[drawn])
        spread = errors > 1e-9 * error
        found.append(np.where(spread, (means - mean) / np.where(spread, errors, 1.0), np.copysign(np.inf, means - mean)))
    return np.concatenate(found)
