"""Whether two groups of runs differ by more than their seeds do.

The interval is the wider of two, so that it holds for few seeds too: the bootstrap's percentile interval of
the difference of means, expanded for small samples (T. Hesterberg, 2015, "What Teachers Should Know About the
Bootstrap", The American Statistician 69), and Student's, with the bootstrap's standard error and Welch's
degrees of freedom. Among several groups the confidence is shared over all pairs (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from fitgate.compare._model import Difference, Group, MetricChoice
from fitgate.compare._words import counted

__all__ = ["CONFIDENCE", "LEAST_SEEDS", "differences", "interval"]

CONFIDENCE = 0.95
LEAST_SEEDS = 3
"""Two seeds have a spread, but one that says next to nothing."""
RESAMPLES = 10_000
_ALL_PAIRS_UP_TO = 5


def differences(groups: Sequence[Group], metric: MetricChoice) -> tuple[Difference, ...]:
    """Hold groups against each other: all pairs of up to five, of more the best one against each other one.

    Args:
        groups: best mean first.
        metric: which way is better.
    """
    means = [None if _problem(g) else _resampled_means(np.array(g.values), seed) for seed, g in enumerate(groups)]
    # Every pair that might have been looked at counts, those with the best one included that are not shown.
    alpha = (1 - CONFIDENCE) / max(math.comb(sum(m is not None for m in means), 2), 1)
    firsts = range(len(groups)) if len(groups) <= _ALL_PAIRS_UP_TO else range(1)
    return tuple(
        _difference((groups[i], means[i]), (groups[j], means[j]), alpha, metric) for i in firsts for j in range(i + 1, len(groups))
    )


def interval(first: Sequence[float], second: Sequence[float], alpha: float = 1 - CONFIDENCE) -> tuple[float, float]:
    """The interval of the difference of two means.

    Args:
        first: one value a seed, at least two; not all of both groups equal.
        second: those of the other group.
        alpha: one less the confidence.

    Example:
        >>> low, high = interval([0.90, 0.91, 0.92, 0.91], [0.85, 0.87, 0.86, 0.86])
        >>> round(low, 2), round(high, 2)
        (0.04, 0.06)
    """
    one, two = np.array(first, dtype=np.float64), np.array(second, dtype=np.float64)
    return _interval(one, two, _resampled_means(one, 0), _resampled_means(two, 1), alpha)


def _difference(
    first: tuple[Group, npt.NDArray[np.float64] | None],
    second: tuple[Group, npt.NDArray[np.float64] | None],
    alpha: float,
    metric: MetricChoice,
) -> Difference:
    (one, means_one), (two, means_two) = first, second
    difference = None if one.mean is None or two.mean is None else one.mean - two.mean
    low = high = None
    better = None
    reason = _problem(one) or _problem(two)
    if reason is None and not one.sd and not two.sd:
        reason = "all seeds of either group gave the same value: the seed changes nothing, so its noise was not measured"
    if reason is None and means_one is not None and means_two is not None:
        low, high = _interval(np.array(one.values), np.array(two.values), means_one, means_two, alpha)
        if low <= 0 <= high:
            reason = f"the interval of the difference holds 0 ({low:+.4g} to {high:+.4g})"
        else:
            better = one.letter if (low > 0) == (metric.mode == "max") else two.letter
            reason = f"the difference lies between {low:+.4g} and {high:+.4g}"
    return Difference(
        first=one.letter,
        second=two.letter,
        difference=difference,
        low=low,
        high=high,
        confidence=CONFIDENCE,
        better=better,
        reason=reason or "",
    )


def _problem(group: Group) -> str | None:
    if group.diverged:
        return f"{counted(len(group.diverged), 'run')} of {group.letter} never gave a finite value, so its mean would flatter it"
    if len(group.values) < LEAST_SEEDS:
        return f"{group.letter} has {counted(len(group.values), 'finished seed')}; at least {LEAST_SEEDS} are needed"
    return None


def _resampled_means(values: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """Means of draws with replacement from values spread out by √(n/(n-1)), which a plain bootstrap's are too narrow by. Shape (RESAMPLES,).

    Drawn with a fixed seed, another one for each group: the same files give the same interval.
    """
    n = len(values)
    spread = values.mean() + (values - values.mean()) * math.sqrt(n / (n - 1))
    means: npt.NDArray[np.float64] = spread[np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))].mean(axis=1)
    return means


def _interval(
    one: npt.NDArray[np.float64],
    two: npt.NDArray[np.float64],
    means_one: npt.NDArray[np.float64],
    means_two: npt.NDArray[np.float64],
    alpha: float,
) -> tuple[float, float]:
    from scipy.special import stdtrit  # noqa: PLC0415 - only groups of seeds need it, and it takes a while to load

    parts = [values.var(ddof=1) / len(values) for values in (one, two)]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(v) - 1) for part, v in zip(parts, (one, two), strict=True))
    resampled = means_one - means_two
    quantile = float(stdtrit(freedom, 1 - alpha / 2))
    # The share of a normal distribution beyond Student's quantile: what the percentiles are taken at.
    tail = NormalDist().cdf(-quantile)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    middle, reach = float(one.mean() - two.mean()), quantile * float(resampled.std())
    return min(float(low), middle - reach), max(float(high), middle + reach)
