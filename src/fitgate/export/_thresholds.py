"""Decisions about an export: thresholds on its files, judged once all others have passed, and on whom it replaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fitgate.errors import ThresholdError
from fitgate.export._measure import ARTIFACT_METRICS, TIMED_METRICS
from fitgate.gate import Check, Decision, Threshold, evaluate, nearest_names

__all__ = ["check_artifact_thresholds", "only_artifact_left", "with_artifact", "without_artifact"]

_PREFIX = "artifact."


def check_artifact_thresholds(thresholds: Iterable[Threshold]) -> tuple[str, ...]:
    """Check the names of thresholds on exported files.

    Returns:
        Those that take an example input, to time the model with.

    Raises:
        ThresholdError: (a `ValueError`) one of them is not measured, or asks for confidence.
    """
    timed = []
    for threshold in thresholds:
        if not threshold.metric.startswith(_PREFIX):
            continue
        if threshold.metric not in ARTIFACT_METRICS:
            near = nearest_names(threshold.metric, ARTIFACT_METRICS, most=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            measured = ", ".join(ARTIFACT_METRICS)
            message = f"can't judge {str(threshold)!r}: {threshold.metric!r} is not measured of an export; measured are {measured}{meant}"
            raise ThresholdError(message)
        if threshold.confidence is not None:
            message = f"can't judge {str(threshold)!r}: an export is measured, not sampled; leave confidence out"
            raise ThresholdError(message)
        if threshold.metric in TIMED_METRICS:
            timed.append(str(threshold))
    return tuple(timed)


def only_artifact_left(decision: Decision) -> bool:
    """Whether nothing but what only an export can tell stands between this decision and `deploy`."""
    waiting = {check.reason for check in decision.checks if check.blocks and _is_of_artifact(check)}
    return all(reason in waiting for reason in decision.reasons)


def without_artifact(decision: Decision) -> Decision:
    """The decision of a run that is not exported: its thresholds on the files were not measured, which is no reason of its own.

    Example:
        >>> decision = without_artifact(evaluate(["acc > 0.8", "artifact.size_mb <= 20"], {"acc": 0.7}))
        >>> decision.reasons, decision.checks[1].reason
        (('acc > 0.8: got 0.7, misses by 0.1',), 'artifact.size_mb <= 20: not measured, since nothing was exported')
    """
    waiting = {check.reason for check in decision.checks if check.blocks and _is_of_artifact(check)}
    checks = tuple(
        replace(check, reason=f"{check.threshold}: not measured, since nothing was exported") if _is_of_artifact(check) else check
        for check in decision.checks
    )
    return replace(decision, checks=checks, reasons=tuple(reason for reason in decision.reasons if reason not in waiting))


def with_artifact(
    decision: Decision, metrics: Mapping[str, float], *, champion: Mapping[str, float] | None = None, differs: Sequence[str] = ()
) -> Decision:
    """The decision once the export is measured and proven.

    Args:
        decision: of all thresholds, before the export.
        metrics: the export's `artifact.*` values.
        champion: the live version's values.
        differs: what is not proven; any one makes the verdict `improve`.

    Example:
        >>> before = evaluate(["acc > 0.8", "artifact.size_mb <= 20"], {"acc": 0.9})
        >>> before.verdict, with_artifact(before, {"artifact.size_mb": 3.5}).verdict
        ('improve', 'deploy')
    """
    waiting = [check.threshold for check in decision.checks if _is_of_artifact(check)]
    # Judged together: where all are waived and no other stands beside them, the reason for that comes out too.
    again = evaluate(waiting, metrics, champion=champion) if waiting else None
    measured = iter(again.checks if again else ())
    checks = tuple(next(measured) if _is_of_artifact(check) else check for check in decision.checks)
    stale = {check.reason for check in decision.checks if check.blocks}
    reasons = [*differs, *(r for r in decision.reasons if r not in stale), *(c.reason for c in checks if c.blocks)]
    if again and not any(not c.waived and not c.threshold.warn for c in checks):
        reasons += [r for r in again.reasons if r not in reasons]
    return replace(
        decision,
        verdict="improve" if reasons else "deploy",
        checks=checks,
        reasons=tuple(reasons),
        metrics={**decision.metrics, **metrics},
    )


def _is_of_artifact(check: Check) -> bool:
    return check.threshold.metric.startswith(_PREFIX)
