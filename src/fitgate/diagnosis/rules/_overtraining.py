"""Validations that brought nothing."""

from __future__ import annotations

import math

from fitgate.diagnosis._evidence import Evidence
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._names import ACCURACY
from fitgate.diagnosis._noise import samples_of
from fitgate.diagnosis._pairs import headline
from fitgate.diagnosis._smooth import number

__all__ = ["RULE"]

GAIN = 0.01
PATIENCE = 10
LEAST_VALIDATIONS = PATIENCE + 2


def look(evidence: Evidence) -> Outcome:
    """Count the validations since the last one that counted as a gain.

    Default and source: no gain of 0.01 for 10 validations (SageMaker Debugger, Overtraining). Of an accuracy that is one
    point in a hundred; of anything else, whose unit is unknown, 1 % of the best value so far.
    Least evidence: 12 validations; of an accuracy on 100 samples, of which one is such a gain.
    """
    pair = headline(evidence)
    if pair is None or len(pair.validation) < LEAST_VALIDATIONS:
        return NOT_ENOUGH
    curve = pair.validation
    if pair.quantity == ACCURACY and (samples_of(curve) or math.inf) * GAIN < 1:
        return NOT_ENOUGH
    sign = 1.0 if pair.better_high else -1.0
    best, since = float(curve.value[0]), 0
    for index, value in enumerate(curve.value.tolist()):
        if sign * (value - best) >= (GAIN if pair.quantity == ACCURACY else GAIN * abs(best)) and index:
            best, since = value, index
    idle = len(curve) - 1 - since
    if idle < PATIENCE:
        return []
    mode = "max" if pair.better_high else "min"
    last_gain, end = int(curve.global_step[since]), int(curve.global_step[-1])
    return [
        Finding(
            rule=RULE.name,
            severity="hint",
            steps=(last_gain, end),
            evidence={
                "metric": curve.name,
                "stage": curve.stage,
                "last_gain_step": last_gain,
                "value_there": curve.shown(best),
                "validations_since": idle,
                "least_gain": curve.shown(GAIN),
                "share_of_run": (end - last_gain) / (end or 1),
            },
            summary=f"{curve.name} has gained nothing worth counting since step {last_gain}, where it was {number(curve.shown(best))}: {idle} validations.",
            try_=(
                f"Stop earlier: EarlyStopping({curve.name!r}, mode={mode!r}, patience={PATIENCE})",
                "Let the learning rate fall when it stalls: ReduceLROnPlateau",
            ),
        )
    ]


RULE = Rule(name="overtraining", look=look)
