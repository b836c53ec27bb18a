"""The verdict: a pure function of thresholds and numbers."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence

from fitgate.gate._check import check
from fitgate.gate._confidence import Samples
from fitgate.gate._decision import Decision, Judged
from fitgate.gate._threshold import ARTIFACT, Threshold, parse_thresholds

__all__ = ["evaluate", "nothing_stands"]

_NOTHING_STANDS = (
    "nothing stands to judge by: every threshold on a recorded metric is waived or only warns; "
    'add an absolute one, such as "val_acc >= 0.8"'
)


def evaluate(
    thresholds: Iterable[str | Threshold],
    metrics: Mapping[str, float | None],
    *,
    champion: Mapping[str, float] | None = None,
    samples: Mapping[str, Samples] | None = None,
    ineligible: Sequence[str] = (),
    judged: Judged | None = None,
    allowed: Sequence[str] = (),
    missing: Mapping[str, str] | None = None,
) -> Decision:
    """Judge metrics by thresholds.

    A metric that is missing (or None), NaN or infinite fails its threshold. A threshold relative to the
    champion is waived while there is none; at least one absolute threshold on a recorded metric must
    then stand, since bounds on the exported files say nothing of how good the model is.

    Args:
        thresholds: conditions, as text or `Threshold`; at least one.
        metrics: the values to judge, by name.
        champion: the live version's values; None when nothing is live.
        samples: what stands behind the values, by name, for thresholds that ask for confidence.
        ineligible: reasons why the numbers must not be trusted at all; any one makes the verdict `improve`.
        judged: which weights the values belong to; carried through.
        allowed: eligibility rules that were set aside; carried through.
        missing: why a metric has no value, by name, where that is known.

    Returns:
        The decision, with a check for each threshold.

    Raises:
        ThresholdError: (a `ValueError`) there is no threshold, or one can't be read.
        TypeError, ValueError: `metrics` is no mapping, or the value of a metric that is judged is no number, or several; the message names the metric.

    Example:
        >>> decision = evaluate(["accuracy > 0.8", "loss < 0.3"], {"accuracy": 0.85, "loss": 0.35})
        >>> decision.verdict
        'improve'
        >>> decision.reasons
        ('loss < 0.3: got 0.35, misses by 0.05',)
    """
    parsed = parse_thresholds(thresholds)
    if not isinstance(metrics, Mapping):
        message = f'metrics must be a mapping of names to values, such as {{"val_acc": 0.85}}, got {type(metrics).__name__}: {reprlib.repr(metrics)}'
        raise TypeError(message)
    values = {name: value for name, value in metrics.items() if value is not None}
    checks = tuple(check(t, values, champion=champion, samples=samples or {}, missing=missing or {}) for t in parsed)
    reasons = [*ineligible, *(c.reason for c in checks if c.blocks)]
    relative = {t.metric for t in parsed if t.is_relative}
    if nothing_stands((c.threshold for c in checks if not c.waived), champion=champion is not None, relative=bool(relative)):
        reasons.append(_NOTHING_STANDS)
    return Decision(
        verdict="improve" if reasons else "deploy",
        checks=checks,
        reasons=tuple(reasons),
        metrics=values,
        judged=judged or Judged(),
        allowed=tuple(allowed),
        champion=None if champion is None else {name: champion[name] for name in sorted(relative & champion.keys())},
    )


def nothing_stands(thresholds: Iterable[Threshold], *, champion: bool, relative: bool) -> bool:
    """Whether nothing says how good the model is: at the first deployment, bounds on the exported files alone don't.

    Args:
        thresholds: those that are not waived.
        champion: whether something is live.
        relative: whether any threshold, waived or not, is relative to it.

    Example:
        >>> size = Threshold("artifact.size_mb", "<=", 20)
        >>> nothing_stands([size], champion=False, relative=True), nothing_stands([size], champion=False, relative=False)
        (True, False)
        >>> nothing_stands([Threshold("val_acc", ">=", 0.8, warn=True)], champion=True, relative=False)
        True
    """
    standing = [threshold for threshold in thresholds if not threshold.warn]
    return not standing or (relative and not champion and all(threshold.metric.startswith(ARTIFACT) for threshold in standing))
