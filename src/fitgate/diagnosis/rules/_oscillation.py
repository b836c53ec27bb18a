"""An accuracy that goes up and down instead of up."""

from __future__ import annotations

import numpy as np

from fitgate.diagnosis._evidence import Evidence, Floats
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._names import ACCURACY
from fitgate.diagnosis._noise import FEW, chance_fall, samples_of
from fitgate.diagnosis._pairs import pairs
from fitgate.diagnosis._smooth import number

__all__ = ["RULE"]

FALL = 0.05
SHARE = 0.25
LEAST_VALIDATIONS = 8
LEAST_FALLS = 3
LEAST_SAMPLES = 5
"""A fall by fewer validation samples may be chance: of five coins all fall alike once in sixteen times."""


def look(evidence: Evidence) -> Outcome:
    """Count the epochs over which the validation accuracy falls from a peak to the next trough.

    Default and source: falls of .05 or more, over a quarter of the epochs and three times at least (AUTOTRAINER, which looks at
    the training accuracy; validation shows the same without the average over an epoch). A fall of fewer than five
    samples counts for nothing, where their number is known, nor does one that so many may show by chance.
    Least evidence: 8 validations of an accuracy, and falls deeper than that where there are many.
    """
    pair = next((p for p in pairs(evidence) if p.quantity == ACCURACY and len(p.validation) >= LEAST_VALIDATIONS), None)
    if pair is None:
        return NOT_ENOUGH
    curve = pair.validation
    samples = samples_of(curve)
    least = max(FALL, LEAST_SAMPLES / samples, chance_fall(curve)) if samples else FALL
    falls, share = _deep(curve.value, least)
    if len(falls) < LEAST_FALLS or share < SHARE:
        # What so few samples do by chance may hide it, or be all there is.
        few = samples is not None and samples <= FEW
        return NOT_ENOUGH if few or len(_deep(curve.value, FALL)[0]) >= LEAST_FALLS else []
    depths = [float(curve.value[start] - curve.value[stop]) for start, stop in falls]
    steps = (int(curve.global_step[falls[0][0]]), int(curve.global_step[falls[-1][1]]))
    return [
        Finding(
            rule=RULE.name,
            severity="problem",
            steps=steps,
            evidence={
                "metric": curve.name,
                "stage": curve.stage,
                "falls": len(falls),
                "of_validations": len(curve),
                "share": share,
                "deepest": curve.shown(max(depths)),
                "typical": curve.shown(float(np.median(depths))),
                "least_fall": curve.shown(least),
                "samples": samples,
            },
            summary=f"{curve.name} fell by {number(curve.shown(least))} or more {len(falls)} times in {len(curve)} validations, by {number(curve.shown(max(depths)))} at worst.",
            try_=("Lower the learning rate, or let it decay", "A larger batch, or less momentum"),
        )
    ]


def _deep(values: Floats, least: float) -> tuple[list[tuple[int, int]], float]:
    """Falls of `least` or more, and their share of the epochs."""
    found = [(start, stop) for start, stop in _falls(values) if values[start] - values[stop] >= least]
    return found, sum(stop - start for start, stop in found) / (len(values) - 1)


def _falls(values: Floats) -> list[tuple[int, int]]:
    """Every stretch over which the values only fall: first and last index."""
    found, start = [], 0
    for index in range(1, len(values) + 1):
        if index == len(values) or values[index] > values[index - 1]:
            if index - 1 > start and values[start] > values[index - 1]:
                found.append((start, index - 1))
            start = index
    return found


RULE = Rule(name="oscillation", look=look, explains=("noise", "overtraining"))
