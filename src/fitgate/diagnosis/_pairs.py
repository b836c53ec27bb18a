"""Curves that belong together: a validation curve and the training curve of the same quantity."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fitgate.diagnosis._evidence import Curve, Evidence, Floats
from fitgate.diagnosis._names import ACCURACY, LOSS, better_high_by_name, is_learning_rate, on_validation_data, quantity_of, split_name
from fitgate.diagnosis._smooth import scatter
from fitgate.diagnosis._units import may_be_share

__all__ = [
    "Pair",
    "better_high",
    "headline",
    "misses",
    "pair_of",
    "pairs",
    "still_falling",
    "still_learning",
    "train_curve",
    "train_loss",
    "windowed_train",
]

STILL = 0.2
LEAST_TREND = 5
LEAST_FALL = 0.02


@dataclass(frozen=True, eq=False, kw_only=True)
class Pair:
    """One quantity on validation data and, where it was recorded, in training.

    Attributes:
        quantity: such as `"loss"` or `"acc"`.
        better_high: whether a greater value is a better one.
        validation: one point a validation.
        train: the training curve, at whatever steps it was recorded.
    """

    quantity: str
    better_high: bool
    validation: Curve
    train: Curve | None


def better_high(evidence: Evidence, name: str) -> bool:
    """Whether greater is better: from the metric's own threshold, else the checkpoint's monitor, else its name."""
    for goal in (*evidence.goals, *evidence.watched):
        if goal.metric == name:
            return goal.better_high
    mode = evidence.modes.get(name)
    return better_high_by_name(name) if mode is None else mode


def pairs(evidence: Evidence) -> tuple[Pair, ...]:
    """Every validation curve with its partner; those that a threshold asks for first, then the loss.

    Of a forked metric (`val_loss_step`, `val_loss_epoch`) the epoch's values stand. Non-finite points are left out.
    """
    found = []
    epoch_values: dict[str, set[str]] = {}
    for stage, name in evidence.curves:
        base, fork = split_name(name)
        epoch_values.setdefault(stage, set()).update([base] if fork == "epoch" else [])
    for (stage, name), curve in evidence.curves.items():
        if stage == "test" or not on_validation_data(name, stage) or is_learning_rate(name):
            continue
        if split_name(name)[1] == "step" and split_name(name)[0] in epoch_values[stage]:
            continue
        found.append(pair_of(evidence, curve))
    asked = [goal.metric for goal in evidence.goals]

    def rank(pair: Pair) -> tuple[int, bool, str]:
        name = pair.validation.name
        return (asked.index(name) if name in asked else len(asked), pair.quantity != LOSS, name)

    return tuple(sorted(found, key=rank))


def headline(evidence: Evidence) -> Pair | None:
    """The one curve that says how the run went: a threshold's, else the checkpoint monitor's, else the validation loss."""
    found = [pair for pair in pairs(evidence) if len(pair.validation)]
    asked = {goal.metric for goal in evidence.goals}
    wanted = [p for p in found if p.validation.name in asked] or [p for p in found if p.validation.name in evidence.modes]
    return next(iter(wanted or [p for p in found if p.quantity == LOSS]), None)


def pair_of(evidence: Evidence, curve: Curve) -> Pair:
    """A validation curve with its partner. An accuracy that is no share is a count: no rule knows what is much of it."""
    quantity = quantity_of(curve.name)
    validation, train = _one_point_a_step(curve.finite), train_curve(evidence, quantity)
    if quantity == ACCURACY and not may_be_share(validation):
        quantity, train = curve.name, None
    if quantity == ACCURACY and train is not None and not may_be_share(train):
        train = None
    return Pair(quantity=quantity, better_high=better_high(evidence, curve.name), validation=validation, train=train)


def still_falling(evidence: Evidence) -> bool:
    """Whether the loss, on either data, made a fifth of its whole progress in the last quarter of the run.

    An accuracy may rest while its loss still falls: then it is too early to say where it ends.
    """
    curves = [p.validation.value for p in pairs(evidence) if p.quantity == LOSS] + [
        c.value for c in [train_loss(evidence)] if c is not None
    ]
    for values in curves:
        if len(values) < 4:  # noqa: PLR2004 - as many quarters
            continue
        quarters = [float(part.mean()) for part in np.array_split(values, 4)]
        whole = quarters[0] - quarters[-1]
        error = scatter(values) * float(np.sqrt(2 * 4 / len(values)))
        if whole > 3 * error and quarters[-2] - quarters[-1] >= STILL * whole:
            return True
    return False


def still_learning(evidence: Evidence) -> bool:
    """Whether the loss on validation data, or in training where there is none, still falls in the last third of the run.

    A weaker sign than `still_falling`: a trend of more than twice its standard error, by 2 % of the loss or more.
    """
    validation = [p.validation.value for p in pairs(evidence) if p.quantity == LOSS]
    curves = validation or [c.value for c in [train_loss(evidence)] if c is not None]
    return any(_falls(values[-max(len(values) // 3, LEAST_TREND) :]) for values in curves if len(values) >= LEAST_TREND)


def _falls(values: Floats) -> bool:
    at = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float(at @ values) / float(at @ at)
    left = values - values.mean() - slope * at
    error = float(np.sqrt((left @ left) / (len(values) - 2) / (at @ at)))
    return slope < -2 * error and -slope * len(values) >= LEAST_FALL * abs(float(values.mean()))


def misses(evidence: Evidence) -> bool:
    """Whether some threshold is missed by the judged weights, or at the end where nothing is judged."""
    for pair in pairs(evidence):
        goal = next((g for g in evidence.goals if g.metric == pair.validation.name and g.required is not None), None)
        if goal is None or not len(pair.validation):
            continue
        at = np.flatnonzero(pair.validation.global_step == (-1 if evidence.judged_step is None else evidence.judged_step))
        if not goal.met_by(float(pair.validation.value[at[-1] if len(at) else -1])):
            return True
    return False


def train_curve(evidence: Evidence, quantity: str) -> Curve | None:
    """The training curve of a quantity: of several (`loss` and `train_loss`), the one with most points."""
    found = [
        curve.finite
        for (stage, name), curve in sorted(evidence.curves.items())
        if stage == "train" and quantity_of(name) == quantity and not on_validation_data(name, stage) and not is_learning_rate(name)
    ]
    return max(found, key=len, default=None)


def train_loss(evidence: Evidence) -> Curve | None:
    """The training loss, its finite points."""
    return train_curve(evidence, LOSS)


def windowed_train(pair: Pair) -> Floats:
    """The training curve's mean between each validation and the one before. Shape (validations,); NaN where there is none.

    So both have one value a validation. The training mean lags: its weights are on average half a window older, and
    in train mode, with dropout on. Both make training look worse than it is, so a gap is understated.
    """
    ends = pair.validation.global_step
    means = np.full(len(ends), np.nan)
    if pair.train is None or not len(pair.train):
        return means
    total = np.concatenate([[0.0], np.cumsum(pair.train.value)])
    stops = np.searchsorted(pair.train.global_step, ends, side="right")
    starts = np.concatenate([[0], stops[:-1]]).astype(np.int64)
    some = stops > starts
    means[some] = (total[stops[some]] - total[starts[some]]) / (stops[some] - starts[some])
    return means


def _one_point_a_step(curve: Curve) -> Curve:
    """Where several values stand at one `global_step`, their mean: those of `val_loss_step`, one a batch."""
    if len(curve) < 2 or np.all(np.diff(curve.global_step) > 0):  # noqa: PLR2004 - one point has no neighbour
        return curve
    steps, first, inverse = np.unique(curve.global_step, return_index=True, return_inverse=True)
    means = np.bincount(inverse, weights=curve.value) / np.bincount(inverse)
    return replace(
        curve,
        step=curve.step[first],
        global_step=steps,
        epoch=curve.epoch[first],
        value=means.astype(np.float64),
    )
