"""A margin no wider than what one validation differs from the next."""

from __future__ import annotations

import math

import numpy as np

from fitgate.diagnosis._evidence import Evidence, Goal
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._names import ACCURACY
from fitgate.diagnosis._noise import FEW, samples_of
from fitgate.diagnosis._pairs import Pair, pairs
from fitgate.diagnosis._smooth import number, scatter

__all__ = ["RULE"]

LAST = 8
LEAST_VALIDATIONS = 10


def look(evidence: Evidence) -> Outcome:
    """Compare the spread of the last validations with the distance from the threshold.

    Default and source: the spread is as large as the margin (Deep Learning Tuning Playbook, on variance between
    steps of one run). The spread is the standard deviation of the noise in the last 8 validations, or in the run's second half, without their trend.
    Least evidence: a threshold on a metric with 10 validations; of an accuracy more than 20 samples.
    """
    required = {goal.metric: goal for goal in evidence.goals if goal.required is not None}
    able = [
        (required[p.validation.name], p)
        for p in pairs(evidence)
        if p.validation.name in required and len(p.validation) >= LEAST_VALIDATIONS and not _few(p)
    ]
    if not able:
        return NOT_ENOUGH
    return [f for goal, pair in able if (f := _finding(evidence, goal, pair))][:1]


def _few(pair: Pair) -> bool:
    return pair.quantity == ACCURACY and (samples_of(pair.validation) or math.inf) <= FEW


def _finding(evidence: Evidence, goal: Goal, pair: Pair) -> Finding | None:
    curve = pair.validation
    last = curve.value[-min(LAST, len(curve) // 2) :]
    at = np.flatnonzero(curve.global_step == (-1 if evidence.judged_step is None else evidence.judged_step))
    value = float(curve.value[at[-1]] if len(at) else curve.value[-1])
    assert goal.required is not None
    margin, spread = abs(value - goal.required), scatter(last)
    if spread < margin or spread == 0:
        return None
    side = "passes" if goal.met_by(value) else "misses"
    return Finding(
        rule=RULE.name,
        severity="hint",
        steps=(int(curve.global_step[-len(last)]), int(curve.global_step[-1])),
        evidence={
            "metric": curve.name,
            "stage": curve.stage,
            "spread": curve.shown(spread),
            "margin": curve.shown(margin),
            "value": curve.shown(value),
            "required": curve.shown(goal.required),
            "validations": len(last),
        },
        summary=f"{curve.name} {side} by {number(curve.shown(margin))} and moves by {number(curve.shown(spread))} from one validation to the next: either side may be luck.",
        try_=("Validate on more samples", "Average the weights of the last epochs, or let the learning rate decay to 0"),
    )


RULE = Rule(name="noise", look=look)
