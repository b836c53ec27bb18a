"""A first loss that says that the weights, or the targets, do not start where they should."""

from __future__ import annotations

import math

from fitgate.diagnosis._evidence import Evidence
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._pairs import train_loss
from fitgate.diagnosis._smooth import number

__all__ = ["RULE"]

FAR = 1.5


def look(evidence: Evidence) -> Outcome:
    """Compare the very first training loss with that of a guess among all classes.

    Default and source: -ln(1/C) is expected of a mean cross-entropy at the start (CS231n, notes 3, which gives no number
    for "far"); more than 1.5 times as much is far: a default initialisation stays under 1.2 times. A lower start is no
    finding, since trained weights begin there.
    Least evidence: the class count, and the training loss of the first step.
    """
    curve = train_loss(evidence)
    if evidence.classes is None or curve is None or not len(curve) or curve.global_step[0] > 1:
        return NOT_ENOUGH
    first, expected = float(curve.value[0]), math.log(evidence.classes)
    if first <= FAR * expected:
        return []
    return [
        Finding(
            rule=RULE.name,
            severity="hint",
            steps=(int(curve.global_step[0]), int(curve.global_step[0])),
            evidence={
                "metric": curve.name,
                "stage": curve.stage,
                "first": first,
                "expected": expected,
                "classes": evidence.classes,
                "times": first / expected,
            },
            summary=f"{curve.name} begins at {number(first)}; a mean cross-entropy over {evidence.classes} classes begins near {number(expected)}.",
            try_=("Scale the inputs to mean 0 and deviation 1", "Initialise the last layer smaller, or check that the loss is a mean"),
        )
    ]


RULE = Rule(name="bad_start", look=look)
