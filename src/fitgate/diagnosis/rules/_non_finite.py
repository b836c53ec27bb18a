"""A NaN or an infinity in a loss, or in a metric that a threshold asks for."""

from __future__ import annotations

from collections.abc import Iterable

from fitgate.diagnosis._evidence import Curve, Evidence
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._names import is_loss_like
from fitgate.diagnosis._smooth import number

__all__ = ["RULE", "non_finite"]

BEFORE = 5
"""How many values before the first bad one are shown."""
GROWTH = 2.0
"""The values before it grew to this many times their first: it was coming."""


def look(evidence: Evidence) -> Outcome:
    """Find the first value that is no number, and what led to it.

    Default and source: any NaN or infinity counts (SageMaker Debugger, ExplodingTensor).
    Least evidence: one value of a loss.
    """
    asked = {goal.metric for goal in evidence.goals}
    watched = [c for c in evidence.curves.values() if is_loss_like(c.name) or c.name in asked]
    if not any(len(c) for c in watched):
        return NOT_ENOUGH
    bad = non_finite(watched)
    return [_finding(bad[0], also=sorted({c.name for c in bad} - {bad[0].name}))] if bad else []


def non_finite(curves: Iterable[Curve]) -> list[Curve]:
    """Those with a value that is no number, by the step of the first; training goes first, since a validation can only show what it did."""
    return sorted((c for c in curves if len(c.bad)), key=lambda c: (int(c.global_step[c.bad[0]]), c.stage != "train", c.name))


def _finding(curve: Curve, also: list[str]) -> Finding:
    index = int(curve.bad[0])
    step = int(curve.global_step[index])
    before = curve.value[max(0, index - BEFORE) : index]
    grew = len(before) > 1 and abs(before[-1]) >= GROWTH * abs(before[0])
    led = f" after {', '.join(number(v) for v in before)}" if len(before) else ", its first value"
    return Finding(
        rule=RULE.name,
        severity="problem",
        steps=(step, int(curve.global_step[-1])),
        evidence={
            "metric": curve.name,
            "stage": curve.stage,
            "first_step": step,
            "value": str(curve.value[index]),
            "values_before": before.tolist(),
            "steps_before": curve.global_step[max(0, index - BEFORE) : index].tolist(),
            "count": len(curve.bad),
            "of": len(curve),
            "also": also,
        },
        summary=f"{curve.name} is {curve.value[index]} at step {step}{led}; {len(curve.bad)} of its {len(curve)} values "
        f"{'is' if len(curve.bad) == 1 else 'are'} NaN or infinite.",
        try_=(
            "Lower the learning rate, or warm it up"
            if grew or not len(before)
            else "Look at the batch of that step: an empty target, a log or division of 0",
            "Clip gradients: Trainer(gradient_clip_val=1.0)",
        ),
    )


RULE = Rule(
    name="non_finite",
    look=look,
    explains=(
        "loss_not_falling", "learning_rate", "underfit", "slow_convergence", "spike",
        "out_of_reach", "within_reach", "stopped_too_early", "ran_too_long", "overtraining",
    ),
)  # fmt: skip
