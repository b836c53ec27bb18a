"""The verdict: a pure function of thresholds and numbers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence

from fitgate.gate._decision import Check, Decision, Judged
from fitgate.gate._threshold import Champion, Threshold, parse_thresholds

__all__ = ["evaluate", "nearest_names"]


def evaluate(
    thresholds: Iterable[str | Threshold],
    metrics: Mapping[str, float],
    *,
    champion: Mapping[str, float] | None = None,
    ineligible: Sequence[str] = (),
    judged: Judged | None = None,
    allowed: Sequence[str] = (),
) -> Decision:
    """Judge metrics by thresholds.

    A metric that is missing, NaN or infinite fails its threshold. A threshold relative to the
    champion is waived while there is none; at least one absolute threshold must then stand.

    Args:
        thresholds: conditions, as text or `Threshold`; at least one.
        metrics: the values to judge, by name.
        champion: the live version's values; None when nothing is live.
        ineligible: reasons why the numbers must not be trusted at all; any one makes the verdict `improve`.
        judged: which weights the values belong to; carried through.
        allowed: eligibility rules that were set aside; carried through.

    Returns:
        The decision, with a check for each threshold.

    Raises:
        ThresholdError: (a `ValueError`) there is no threshold, or one can't be read.

    Example:
        >>> decision = evaluate(["accuracy > 0.8", "loss < 0.3"], {"accuracy": 0.85, "loss": 0.35})
        >>> decision.verdict
        'improve'
        >>> decision.reasons
        ('loss < 0.3: got 0.35, misses by 0.05',)
    """
    checks = tuple(_check(t, metrics, champion) for t in parse_thresholds(thresholds))
    reasons = [*ineligible, *(c.reason for c in checks if c.blocks)]
    if not any(not c.waived and not c.threshold.warn for c in checks):
        reasons.append('nothing stands to judge by: every threshold is waived or only warns; add an absolute one, such as "val_acc >= 0.8"')
    return Decision(
        verdict="improve" if reasons else "deploy",
        checks=checks,
        reasons=tuple(reasons),
        metrics=dict(metrics),
        judged=judged or Judged(),
        allowed=tuple(allowed),
    )


def nearest_names(name: str, names: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """The names most like `name`, best first, for a message.

    Example:
        >>> nearest_names("val_ac", ["loss", "val_acc", "val_loss"])
        ('val_acc',)
    """
    return tuple(difflib.get_close_matches(name, list(names), n=most, cutoff=0.6))


def _check(threshold: Threshold, metrics: Mapping[str, float], champion: Mapping[str, float] | None) -> Check:
    value = metrics.get(threshold.metric)
    required = _required(threshold, champion)
    if required is None:
        why = "there is no champion yet" if champion is None else f"the champion has no finite {threshold.metric!r}"
        reason = f"{threshold}: waived, {why}"
        # A champion without the metric is an odd champion: that blocks. No champion at all is the first deployment.
        waived = champion is None
        return Check(threshold=threshold, value=value, required=None, passed=waived, margin=None, reason=reason, waived=waived)
    if value is None:
        near = nearest_names(threshold.metric, metrics)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; recorded there: {', '.join(sorted(metrics)) or 'nothing'}"
        return _missed(threshold, None, required, None, f"{threshold}: not recorded for the judged weights{hint}")
    value = float(value)
    if not math.isfinite(value):
        return _missed(threshold, value, required, None, f"{threshold}: the value is {value}, which passes nothing")
    margin = value - required if threshold.better_high else required - value
    if not threshold.holds(value, required):
        by = f"misses by {abs(margin):.4g}" if margin else "misses: it must be beyond the bound, not on it"
        return _missed(threshold, value, required, margin, f"{threshold}: got {value:.6g}, {by}")
    reason = f"{threshold}: got {value:.6g}, passes by {margin:.4g}"
    return Check(threshold=threshold, value=value, required=required, passed=True, margin=margin, reason=reason)


def _missed(threshold: Threshold, value: float | None, required: float, margin: float | None, reason: str) -> Check:
    return Check(threshold=threshold, value=value, required=required, passed=False, margin=margin, reason=reason)


def _required(threshold: Threshold, champion: Mapping[str, float] | None) -> float | None:
    if not isinstance(threshold.value, Champion):
        return threshold.value
    value = None if champion is None else champion.get(threshold.metric)
    return threshold.value.bound(value) if value is not None and math.isfinite(value) else None
