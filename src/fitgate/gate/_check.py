"""One threshold, met by one value: passed or not, by how much, and why in a sentence."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping

from fitgate.gate._confidence import Bound, Samples, confidence_bound, samples_needed
from fitgate.gate._decision import Check
from fitgate.gate._grammar import Champion
from fitgate.gate._rounding import settled
from fitgate.gate._threshold import Threshold
from fitgate.store._values import to_float

__all__ = ["check", "nearest_names"]


def check(
    threshold: Threshold,
    metrics: Mapping[str, float],
    *,
    champion: Mapping[str, float] | None,
    samples: Mapping[str, Samples],
    missing: Mapping[str, str],
) -> Check:
    """Hold a threshold against the judged metrics; see `evaluate` for the arguments."""
    value = metrics.get(threshold.metric)
    if value is None:
        return _missed(threshold, f"not recorded for the judged weights{_why_missing(threshold.metric, metrics, missing)}")
    value = to_float(threshold.metric, value)
    if not math.isfinite(value):
        return _missed(threshold, f"the value is {value}, which passes nothing", value=value)
    required = _required(threshold, champion)
    if required is None and champion is None:
        reason = f"{threshold}: waived, there is no champion yet"
        return Check(threshold=threshold, value=value, required=None, passed=True, margin=None, reason=reason, waived=True)
    if required is None:
        return _missed(threshold, f"the champion has no finite {threshold.metric!r} to compare with", value=value)
    if threshold.confidence is None:
        return _compare(threshold, value, required)
    return _compare_bound(threshold, value, required, samples.get(threshold.metric))


def nearest_names(name: str, names: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """The names most like `name`, best first, for a message.

    Example:
        >>> nearest_names("val_ac", ["loss", "val_acc", "val_loss"])
        ('val_acc',)
    """
    return tuple(difflib.get_close_matches(name, list(names), n=most, cutoff=0.6))


def _why_missing(name: str, metrics: Mapping[str, float], missing: Mapping[str, str]) -> str:
    if name in missing:
        return f": {missing[name]}"
    near = nearest_names(name, metrics)
    return f"; did you mean {' or '.join(near)}?" if near else f"; recorded there: {', '.join(sorted(metrics)) or 'nothing'}"


def _compare(threshold: Threshold, value: float, required: float) -> Check:
    margin = _margin(threshold, value, required)
    passed = threshold.holds(value, required)
    reason = f"{threshold}: got {_apart(value, required)}, {_by(margin, passed=passed)}"
    return Check(threshold=threshold, value=value, required=required, passed=passed, margin=margin, reason=reason)


def _compare_bound(threshold: Threshold, value: float, required: float, samples: Samples | None) -> Check:
    """The bound must hold, not only the value."""
    confidence, kind = threshold.confidence, threshold.bound_kind
    assert confidence is not None
    assert kind is not None
    bound = confidence_bound(kind, value, samples, confidence, lower=threshold.better_high)
    if bound.value is None:
        return _missed(
            threshold, f"got {value:.6g}, with no confidence bound: {bound.problem}", value=value, required=required, bound=bound
        )
    margin = _margin(threshold, bound.value, required)
    passed = threshold.holds(bound.value, required)
    side = "lower" if threshold.better_high else "upper"
    what = f"got {value:.6g}, whose {side} bound from {bound.n} samples is {bound.value:.6g}: {_by(margin, passed=passed)}"
    enough = None
    if threshold.holds(value, required):
        enough = samples_needed(kind, settled(value, required), bound, required, confidence)
        if enough is not None and not passed:
            what += f"; about {enough} samples would be enough for this value"
    elif not passed:
        what += "; the value itself misses, so more samples would not help"
    return Check(
        threshold=threshold,
        value=value,
        required=required,
        passed=passed,
        margin=margin,
        reason=f"{threshold}: {what}",
        bound=bound.value,
        n=bound.n,
        n_needed=enough,
    )


def _margin(threshold: Threshold, value: float, required: float) -> float:
    value = settled(value, required)
    return value - required if threshold.better_high else required - value


def _apart(value: float, required: float) -> str:
    """A value in as many digits as tell it from its bound, where it isn't on it."""
    short = f"{value:.6g}"
    return short if short != f"{required:.6g}" or settled(value, required) == required else f"{value:.9g}"


def _by(margin: float, *, passed: bool) -> str:
    if passed:
        return f"passes by {margin:.4g}"
    return f"misses by {abs(margin):.4g}" if margin else "misses: it must be beyond the bound, not on it"


def _missed(
    threshold: Threshold, why: str, *, value: float | None = None, required: float | None = None, bound: Bound | None = None
) -> Check:
    if required is None and not isinstance(threshold.value, Champion):
        required = threshold.value
    reason = f"{threshold}: {why}"
    n = bound.n if bound is not None else None
    return Check(threshold=threshold, value=value, required=required, passed=False, margin=None, reason=reason, n=n)


def _required(threshold: Threshold, champion: Mapping[str, float] | None) -> float | None:
    if not isinstance(threshold.value, Champion):
        return threshold.value
    given = None if champion is None else champion.get(threshold.metric)
    value = math.nan if given is None else to_float(threshold.metric, given)
    return threshold.value.bound(value) if math.isfinite(value) else None
