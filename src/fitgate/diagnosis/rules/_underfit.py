"""Training itself does not reach what is asked, and validation is close beside it."""

from __future__ import annotations

import numpy as np

from fitgate.diagnosis._evidence import Evidence, Floats, Goal
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule, Severity
from fitgate.diagnosis._hparams import train_mode_note, train_mode_reasons
from fitgate.diagnosis._longer import LONGER_OR_RATE
from fitgate.diagnosis._names import ACCURACY
from fitgate.diagnosis._pairs import Pair, pairs, still_falling, windowed_train
from fitgate.diagnosis._smooth import number

__all__ = ["RULE"]

LEAST_VALIDATIONS = 4
LAST = 3
CLOSE_ACCURACY = 0.05
CLOSE_SHARE = 0.10


def look(evidence: Evidence) -> Outcome:
    """Compare the last validations, and training beside them, with the threshold.

    Default and source: both under what is asked and close together (CS231n, notes 3): an accuracy within .05, anything
    else within 10 % of its training value. Low needs a measure: it is the threshold. A metric whose pace would reach it
    in a run half as long again is not underfit yet, nor is one whose loss still falls.
    Least evidence: a threshold, on a metric with 4 validations that training has too.
    With dropout or augmentation on, training looks worse than it is, and the finding is a hint.
    """
    metrics = {goal.metric: goal for goal in evidence.goals if goal.required is not None}
    able = [(metrics[p.validation.name], p) for p in pairs(evidence) if p.validation.name in metrics and _enough(p)]
    if not able:
        return NOT_ENOUGH
    if still_falling(evidence):
        return []
    for goal, pair in able:
        finding = _finding(evidence, goal, pair)
        if finding:
            return [finding]
    return []


def _enough(pair: Pair) -> bool:
    return pair.train is not None and len(pair.train) > 0 and len(pair.validation) >= LEAST_VALIDATIONS


def _on_its_way(goal: Goal, values: Floats) -> bool:
    """Whether the pace of the second half would reach the threshold in a run half as long again."""
    half = values[len(values) // 2 :]
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 1 else 0.0
    return goal.met_by(float(half.mean()) + slope * (len(half) + len(values)) / 2)


def _finding(evidence: Evidence, goal: Goal, pair: Pair) -> Finding | None:
    validation, train = float(pair.validation.value[-LAST:].mean()), float(windowed_train(pair)[-LAST:].mean())
    close = abs(train - validation) <= (CLOSE_ACCURACY if pair.quantity == ACCURACY else CLOSE_SHARE * abs(train))
    ever = any(goal.met_by(v) for v in pair.validation.value.tolist())
    if goal.met_by(train) or goal.met_by(validation) or ever or not close or _on_its_way(goal, pair.validation.value):
        return None
    severity: Severity = "hint" if train_mode_reasons(evidence.hparams) else "problem"
    assert pair.train is not None
    assert goal.required is not None
    shown = pair.validation.shown
    return Finding(
        rule=RULE.name,
        severity=severity,
        steps=(int(pair.validation.global_step[-LAST]), int(pair.validation.global_step[-1])),
        evidence={
            "metric": pair.validation.name,
            "stage": pair.validation.stage,
            "train_metric": pair.train.name,
            "required": shown(goal.required),
            "train_end": shown(train),
            "validation_end": shown(validation),
            "gap": shown(abs(train - validation)),
            "note": train_mode_note(evidence.hparams),
        },
        summary=f"The model does not reach {goal.text} on its own training data: {number(shown(train))} there, {number(shown(validation))} in validation (means of the last {LAST} validations, and of training before each).",
        try_=("A larger model, or less regularisation", LONGER_OR_RATE),
    )


RULE = Rule(name="underfit", look=look)
