"""An accuracy that creeps."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fitgate.diagnosis._evidence import Curve, Evidence, Floats
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._names import ACCURACY
from fitgate.diagnosis._noise import samples_of
from fitgate.diagnosis._pairs import pairs, windowed_train
from fitgate.diagnosis._smooth import number

__all__ = ["RULE"]

GAIN = 0.01
LEAST_EPOCHS = 5
GOOD_ENOUGH = 0.7


def look(evidence: Evidence) -> Outcome:
    """Take the greatest gain of accuracy from one epoch to the next, in validation and in training.

    Default and source: both below .01, while the accuracy is still low (AUTOTRAINER): under its threshold, or under .7
    where there is none. A model that begins well, from trained weights, gains little and is not slow.
    Least evidence: 5 epochs of a validation accuracy; without one of training, on 100 samples, of which one is such a gain.
    """
    pair = next((p for p in pairs(evidence) if p.quantity == ACCURACY), None)
    if pair is None:
        return NOT_ENOUGH
    last = _last_of_each_epoch(pair.validation)
    validation, train = pair.validation.value[last], windowed_train(pair)[last]
    train = train[np.isfinite(train)]
    seen = len(train) > 1 or (samples_of(pair.validation) or math.inf) * GAIN >= 1
    if len(validation) < LEAST_EPOCHS or not seen:
        return NOT_ENOUGH
    goal = next((g for g in evidence.goals if g.metric == pair.validation.name and g.required is not None), None)
    best = float(validation.max())
    good = goal.met_by(best) if goal else best >= GOOD_ENOUGH
    gains = [g for g in (_greatest_gain(validation), _greatest_gain(train)) if g is not None]
    if good or max(gains) >= GAIN:
        return []
    shown = pair.validation.shown
    return [
        Finding(
            rule=RULE.name,
            severity="problem" if goal else "hint",
            steps=(int(pair.validation.global_step[0]), int(pair.validation.global_step[-1])),
            evidence={
                "metric": pair.validation.name,
                "stage": pair.validation.stage,
                "greatest_gain": shown(max(gains)),
                "least_gain": shown(GAIN),
                "epochs": len(validation),
                "best": shown(best),
                "required": shown(goal.required) if goal and goal.required is not None else None,
            },
            summary=f"{pair.validation.name} never gained {number(shown(GAIN))} in an epoch: {number(shown(max(gains)))} at most in {len(validation)} epochs, to {number(shown(best))}.",
            try_=("Raise the learning rate threefold", "Normalise the inputs, or use an adaptive optimizer such as Adam"),
        )
    ]


def _greatest_gain(values: Floats) -> float | None:
    return float(np.diff(values).max()) if len(values) > 1 else None


def _last_of_each_epoch(curve: Curve) -> npt.NDArray[np.intp]:
    """Indices; by hand, where every point is of epoch 0, each value stands for an epoch."""
    if len(np.unique(curve.epoch)) < 2:  # noqa: PLR2004 - one epoch, or none recorded
        return np.arange(len(curve))
    return np.flatnonzero(np.append(np.diff(curve.epoch) != 0, True))


RULE = Rule(name="slow_convergence", look=look, explains=("overtraining", "stopped_too_early"))
