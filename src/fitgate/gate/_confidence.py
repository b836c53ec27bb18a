"""One-sided confidence bounds: what a finite validation set lets one say of a metric.

A proportion has Wilson's score bound (E. B. Wilson, 1927, "Probable inference, the law of succession, and
statistical inference", JASA 22); a mean has a bootstrap over the batches of the validation pass
(B. Efron, 1987, "Better bootstrap confidence intervals", JASA 82: the BCa interval).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

__all__ = ["KINDS", "Bound", "Kind", "Samples", "confidence_bound", "samples_needed"]

Kind = Literal["proportion", "mean"]
KINDS: tuple[Kind, ...] = get_args(Kind)
RESAMPLES = 2_000
"""Bootstrap draws: the bound at 95 % then rests on 100 draws beyond it."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What stands behind one value: the validation pass that it was computed from.

    Attributes:
        n: samples seen, each once; None when they weren't counted.
        batch_values: the metric's value of each batch, where it was seen per batch.
        batch_sizes: samples of each batch, in the same order.
    """

    n: int | None = None
    batch_values: Sequence[float] = ()
    batch_sizes: Sequence[float] = ()


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
    """The one-sided bound of a metric: Wilson's for a proportion, a bootstrap's for a mean.

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
    bound = _wilson_bound if kind == "proportion" else _mean_bound
    return bound(value, samples, confidence, lower=lower)


def samples_needed(kind: Kind, value: float, bound: Bound, required: float, confidence: float) -> int | None:
    """How many samples would have been enough for the bound of the same value to reach `required`; None: no number would.

    Exact for a proportion; for a mean an estimate, the bound's distance shrinking with the square root of n.
    """
    if kind == "proportion":
        return _wilson_samples_needed(value, required, confidence)
    return _mean_samples_needed(value, bound, required)


def _wilson_bound(value: float, samples: Samples | None, confidence: float, *, lower: bool) -> Bound:
    """Wilson's one-sided bound of a proportion.

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


def _mean_bound(value: float, samples: Samples | None, confidence: float, *, lower: bool) -> Bound:
    """The one-sided BCa bootstrap bound of a mean, from the values of the pass's batches weighted by batch size.

    The batches are drawn with a fixed seed: the same files give the same bound.

    Args:
        value: the recorded mean; the bound is that of the batches, moved by what separates their mean from it
            (rounding; with several processes, the other ranks' batches).
        samples: holds the batches.
        confidence: such as 0.95.
        lower: the bound below the value (for `>=`), else the one above it.
    """
    import numpy as np  # noqa: PLC0415 - only confident thresholds need it
    from scipy.stats import bootstrap  # noqa: PLC0415 - takes a second to load, and few ask for it

    values = np.asarray(samples.batch_values if samples else (), dtype=np.float64)
    sizes = np.asarray(samples.batch_sizes if samples else (), dtype=np.float64)
    n = int(sizes.sum()) if len(sizes) else None
    if not len(values):
        return Bound(problem="nothing was seen per batch, and a mean's bound comes from the spread between batches")
    if len(values) < 2 or np.ptp(values) == 0:  # noqa: PLR2004 - one batch has no spread
        seen = "only one batch was seen" if len(values) == 1 else f"all {len(values)} batches gave the same value"
        return Bound(n=n, problem=f"{seen}: there is no spread to estimate a bound from")
    if not np.isfinite(values).all():
        return Bound(n=n, problem="some batches gave NaN or infinite values")

    def mean(v: np.ndarray, s: np.ndarray, axis: int = -1) -> np.ndarray:
        weighted: np.ndarray = (v * s).sum(axis=axis) / s.sum(axis=axis)
        return weighted

    result = bootstrap(
        (values, sizes),
        mean,
        paired=True,
        confidence_level=confidence,
        alternative="greater" if lower else "less",
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // len(values)),  # 16 MB at a time
        method="BCa",
        rng=np.random.default_rng(0),
    )
    bound = float(result.confidence_interval.low if lower else result.confidence_interval.high)
    return Bound(value=bound + value - float(mean(values, sizes)), n=n)


def _mean_samples_needed(value: float, bound: Bound, required: float) -> int | None:
    """About how many samples would bring a mean's bound to `required`, its width shrinking with √n; None when none would."""
    if bound.value is None or bound.n is None or value == required:
        return None
    return math.ceil(bound.n * ((value - bound.value) / (value - required)) ** 2)
