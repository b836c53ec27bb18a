"""One-sided confidence bounds: what a finite validation set lets one say of a metric.

A proportion has Wilson's score bound (E. B. Wilson, 1927, "Probable inference, the law of succession, and
statistical inference", JASA 22); of a mean see `_mean_bound.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

from fitgate.gate._mean_bound import mean_bound, why_no_bound

__all__ = ["KINDS", "Bound", "Kind", "Samples", "confidence_bound", "samples_needed"]

Kind = Literal["proportion", "mean"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What stands behind one value: the validation pass that it was computed from.

    Attributes:
        n: samples seen, each once; None when they weren't counted.
        batch_values: the metric's value of each batch, where it was seen per batch.
        batch_sizes: samples of each batch, in the same order.
        problem: why no bound can rest on this value, whatever else is known; None where nothing speaks against it.
    """

    n: int | None = None
    batch_values: Sequence[float] = ()
    batch_sizes: Sequence[float] = ()
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A one-sided confidence bound, or why there is none.

    Attributes:
        value: the bound, in the metric's unit; None when it can't be had.
        n: samples it rests on; None when unknown.
        problem: why there is no bound; None when there is one.
    """

    value: float | None = None
    n: int | None = None
    problem: str | None = None


def confidence_bound(kind: Kind, value: float, samples: Samples | None, confidence: float, *, lower: bool) -> Bound:
    """The one-sided bound of a metric: Wilson's for a proportion; for a mean the worse of Student's t and a bootstrap's.

    Args:
        kind: `"proportion"` or `"mean"`.
        value: the metric, finite.
        samples: what stands behind it; None when nothing was recorded.
        confidence: such as 0.95.
        lower: the bound below the value (for `>=`), else the one above it.

    Returns:
        The bound, or one that says why there is none.

    Example:
        >>> bound = confidence_bound("proportion", 0.85, Samples(n=200), 0.95, lower=True)
        >>> round(bound.value, 4)
        0.8038
    """
    if samples is not None and samples.problem is not None:
        return Bound(n=samples.n, problem=samples.problem)
    if kind == "proportion":
        return _wilson_bound(value, samples, confidence, lower=lower)
    values, sizes = (samples.batch_values, samples.batch_sizes) if samples is not None else ((), ())
    n = int(sum(sizes)) if len(sizes) else None
    problem = why_no_bound(values)
    return Bound(n=n, problem=problem) if problem else Bound(value=mean_bound(value, values, sizes, confidence, lower=lower), n=n)


def samples_needed(kind: Kind, value: float, bound: Bound, required: float, confidence: float) -> int | None:
    """How many samples would have been enough for the bound of the same value to reach `required`; None: no number would.

    Exact for a proportion; for a mean an estimate, the bound's distance shrinking with the square root of n.
    """
    if kind == "proportion":
        return _wilson_samples_needed(value, required, confidence)
    return _mean_samples_needed(value, bound, required)


def _wilson_bound(value: float, samples: Samples | None, confidence: float, *, lower: bool) -> Bound:
    """Wilson's one-sided bound of a proportion.

    It is the score test of a true proportion turned round, and rests on the normal approximation: the share of models that
    pass though their true accuracy lies at the threshold is 1 - confidence on average over n, and not at each n. At 95 %
    confidence it is, exactly, by the binomial distribution, 5.7 % for n=200 and 0.9, 6.9 % for n=20 and 0.8; docs/judging.md has
    a table, and a test holds it. (L. D. Brown, T. T. Cai and A. DasGupta, 2001, "Interval estimation for a binomial proportion",
    Statistical Science 16, show why no such bound is even.)

    Args:
        value: the observed proportion, 0 to 1.
        samples: holds n.
        confidence: such as 0.95.
        lower: the bound below the value (for `>=`), else the one above it.

    Example:
        >>> _wilson_bound(0.85, Samples(n=200), 0.95, lower=True)
        Bound(value=0.8038124010604941, n=200, problem=None)
    """
    n = samples.n if samples is not None else None
    if n is None or n < 1:
        return Bound(problem="the number of validation samples behind it was not recorded")
    if not 0 <= value <= 1:
        return Bound(n=n, problem=f"a proportion lies between 0 and 1, and {value:.6g} does not")
    z = NormalDist().inv_cdf(confidence)
    centre = value + z * z / (2 * n)
    spread = z * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return Bound(value=(centre + (-spread if lower else spread)) / (1 + z * z / n), n=n)


def _wilson_samples_needed(value: float, required: float, confidence: float) -> int | None:
    """The least n at which Wilson's bound of the same proportion would reach `required`; None when none would.

    The score bound is the test of a true proportion `required`, turned round: it lies at `required` when
    (value - required)² = z² · required · (1 - required) / n.

    Example:
        >>> _wilson_samples_needed(0.85, 0.80, 0.95)
        174
    """
    gap = value - required
    if gap == 0 or not 0 < required < 1:
        return None
    z = NormalDist().inv_cdf(confidence)
    return math.ceil(z * z * required * (1 - required) / (gap * gap))


def _mean_samples_needed(value: float, bound: Bound, required: float) -> int | None:
    """About how many samples would bring a mean's bound to `required`, its width shrinking with √n; None when none would."""
    if bound.value is None or bound.n is None or value == required:
        return None
    return math.ceil(bound.n * ((value - bound.value) / (value - required)) ** 2)
