"""A training loss that does not fall."""

from __future__ import annotations

import math

import numpy as np

from fitgate.diagnosis._evidence import Evidence, Floats
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._pairs import misses, train_loss
from fitgate.diagnosis._smooth import number, percent, window_error, window_means

__all__ = ["RULE"]

DROP = 0.001
"""A fall of less than 0.1 % is none."""
WINDOWS = 10
LEAST_POINTS = 20
RISE = 0.05
"""A rise of more than 5 % is more than no fall: the steps are too long."""
ERRORS = 3
"""The lowest of nine means lies a little lower by chance alone: a fall shows beyond three standard errors."""
NOISE_AT_MOST = 0.005
"""Where the windows' means are less certain than .5 %, a real fall could hide in them."""
NEAR_CHANCE = 0.05
WELL_UNDER_CHANCE = 0.5
"""A loss under half of what guessing costs has been learnt, in this run or before it."""
BEGINNING = 3
EXPLODED = 1.5
"""Every later window lies so many times above the lowest of the first three: the loss left for good."""
DEVIATIONS = 4.0
"""And that lowest lies so many standard deviations of the logarithm under all that follows: of small batches a loss near 0 is far
under its mean now and then."""


def look(evidence: Evidence) -> Outcome:
    """Compare the mean loss of the run's first tenth with the lowest of the later tenths.

    Default and source: a drop below 0.1 % (SageMaker Debugger, LossNotDecreasing), and within three standard errors
    of the difference, since a mean over noisy batches goes down a little by chance.
    A rise counts beyond three standard errors too. A loss that shot up within the first tenth and stayed high is compared with the
    lowest of its first three values.
    Weights that were trained before may rest: where every threshold is met, or the loss lies under half of ln(classes), it is a hint.
    Least evidence: 20 values of the training loss, and windows whose means are certain to .5 %.
    """
    curve = train_loss(evidence)
    if curve is None or len(curve) < LEAST_POINTS:
        return NOT_ENOUGH
    means = window_means(curve.value, WINDOWS)
    first, lowest, last = float(means[0]), float(means[1:].min()), float(means[-1])
    drop = first - lowest
    scale = abs(first) or 1.0
    error = window_error(curve.value, WINDOWS)
    begin = float(curve.value[:BEGINNING].min())
    if begin > 0 and lowest > EXPLODED * begin and _far_under(begin, curve.value[len(curve) // WINDOWS :]):
        # It shot up within the first window, whose mean then is no measure.
        first, drop, scale, error = begin, begin - lowest, begin, 0.0
    if drop > max(DROP * scale, ERRORS * error):
        return []
    if drop > DROP * scale and error > NOISE_AT_MOST * scale:
        return NOT_ENOUGH
    rise = (last - first) / scale
    chance = math.log(evidence.classes) if evidence.classes else None
    rising = rise > RISE and last - first > ERRORS * error
    guessing = chance is not None and abs(lowest - chance) <= NEAR_CHANCE * chance
    missed = misses(evidence)
    if not (rising or guessing or missed) and error > DROP * scale:
        return NOT_ENOUGH
    learnt = chance is not None and first < WELL_UNDER_CHANCE * chance
    fine = not rising and (learnt or (bool(evidence.goals) and not missed))
    how = f"rose by {percent(rise)}" if rising else f"fell by {percent(max(drop, 0.0) / scale)} at most"
    why = ", as good as guessing" if guessing and not rising else ""
    return [
        Finding(
            rule=RULE.name,
            severity="hint" if fine else "problem",
            steps=(int(curve.global_step[0]), int(curve.global_step[-1])),
            evidence={
                "metric": curve.name,
                "stage": curve.stage,
                "first_window": first,
                "lowest_window": lowest,
                "last_window": last,
                "drop": drop / scale,
                "least_drop": DROP,
                "rising": rising,
                "chance": chance,
                "points": len(curve),
            },
            summary=f"{curve.name} {how}: it began at {number(first)} and ended at {number(last)}{why}.",
            try_=("Lower the learning rate tenfold", "Check the sign of the loss and that targets belong to their inputs")
            if rising
            else ("Nothing, if the weights were trained before: the loss is low already",)
            if fine
            else ("Raise the learning rate tenfold, unless it is high already", "Overfit a single batch first: Trainer(overfit_batches=1)"),
        )
    ]


def _far_under(value: float, later: Floats) -> bool:
    if later.min(initial=np.inf) <= 0:
        return value < float(later.min())
    logs = np.log(later)
    return bool(math.log(value) < logs.mean() - DEVIATIONS * logs.std())


RULE = Rule(
    name="loss_not_falling",
    look=look,
    explains=(
        "underfit", "slow_convergence", "out_of_reach", "within_reach", "stopped_too_early", "ran_too_long", "overtraining", "noise",
    ),
)  # fmt: skip
