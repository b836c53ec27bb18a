"""Training goes on getting better while validation does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fitgate.diagnosis._evidence import Evidence, Floats
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._hparams import train_mode_note
from fitgate.diagnosis._names import ACCURACY, LOSS
from fitgate.diagnosis._noise import chance_error
from fitgate.diagnosis._pairs import Pair, misses, pairs, windowed_train
from fitgate.diagnosis._smooth import number, percent, scatter, smooth

__all__ = ["RULE"]

PATIENCE = 3
LEAST_VALIDATIONS = 6
LOSS_GAP = 0.1
LOSS_RISE = 0.1
ACCURACY_GAP = 0.10
ACCURACY_GAP_WHEN_GOOD = 0.07
GOOD = 0.9


@dataclass(frozen=True)
class _Seen:
    steps: tuple[int, int]
    sentence: str
    numbers: dict[str, Any]


def look(evidence: Evidence) -> Outcome:
    """Compare validation with training after the validation's best point.

    Defaults and sources: validation loss rises while training loss falls (Deep Learning Tuning Playbook), smoothed over 3,
    for at least 3 validations, by a tenth and by more than its noise; gap (validation - training) / training above 0.1
    (SageMaker Debugger, Overfit). Accuracy gap of .10, or .07 where training accuracy is above .9 (AUTOTRAINER), beyond what so few
    validation samples do by chance. A loss that rises while every threshold holds and the accuracies stay
    together costs nothing yet, and is a hint.
    Least evidence: 6 validations of a loss or an accuracy that training has too.
    """
    able = [p for p in pairs(evidence) if p.quantity in (LOSS, ACCURACY) and p.train is not None and len(p.validation) >= LEAST_VALIDATIONS]
    if not able:
        return NOT_ENOUGH
    rise = next((seen for p in able if p.quantity == LOSS and (seen := _loss(p))), None)
    gap = next((seen for p in able if p.quantity == ACCURACY and (seen := _accuracy(p))), None)
    first = rise or gap
    if first is None:
        return []
    costs = gap is not None or misses(evidence) or not (evidence.goals or any(p.quantity == ACCURACY for p in able))
    return [
        Finding(
            rule=RULE.name,
            severity="problem" if costs else "hint",
            steps=first.steps,
            evidence={
                **first.numbers,
                **(gap.numbers if rise and gap else {}),
                **(rise.numbers if rise else {}),
                "note": train_mode_note(evidence.hparams),
            },
            summary=" ".join(seen.sentence for seen in (rise, gap) if seen),
            try_=(
                "Regularise more: weight decay, dropout or augmentation",
                "More training data, a smaller model, or stop at the best step",
            ),
        )
    ]


def _loss(pair: Pair) -> _Seen | None:
    validation, train = _smoothed(pair)
    best = int(np.argmin(validation))
    later = len(validation) - 1 - best
    if later < PATIENCE:
        return None
    # The median of as many validations as the patience asks for: one bad one at the end is no rise.
    lowest, end, end_train = float(validation[best]), float(np.median(pair.validation.value[-PATIENCE:])), float(train[-1])
    rise = (end - lowest) / (abs(lowest) or 1.0)
    gap = (end - end_train) / (abs(end_train) or 1e-12)
    if rise <= LOSS_RISE or end - lowest <= 2 * scatter(pair.validation.value) or end_train >= train[best] or gap <= LOSS_GAP:
        return None
    name, first = pair.validation.name, int(pair.validation.global_step[best])
    return _Seen(
        (first, int(pair.validation.global_step[-1])),
        f"{name} rose by {percent(rise)} after step {first} while the training loss fell on, to {number(end_train)}.",
        {
            "metric": name,
            "stage": pair.validation.stage,
            "train_metric": pair.train.name if pair.train else None,
            "best_step": first,
            "validations_since": later,
            "validation_best": lowest,
            "validation_end": end,
            "train_end": end_train,
            "rise": rise,
            "gap": gap,
        },
    )


def _accuracy(pair: Pair) -> _Seen | None:
    validation, train = _smoothed(pair)
    gap = train - validation
    limit = np.where(train > GOOD, ACCURACY_GAP_WHEN_GOOD, ACCURACY_GAP) + chance_error(pair.validation)
    over = gap >= limit
    if not over[-PATIENCE:].all():
        return None
    since = 0 if over.all() else len(over) - int(np.argmin(over[::-1]))
    name, steps, shown = pair.validation.name, pair.validation.global_step, pair.validation.shown
    return _Seen(
        (int(steps[since]), int(steps[-1])),
        f"Training accuracy ends {number(shown(float(gap[-1])))} above {name}: {number(shown(float(train[-1])))} against {number(shown(float(validation[-1])))}.",
        {
            "metric": name,
            "stage": pair.validation.stage,
            "train_metric": pair.train.name if pair.train else None,
            "accuracy_metric": name,
            "accuracy_train": shown(float(train[-1])),
            "accuracy_validation": shown(float(validation[-1])),
            "accuracy_gap": shown(float(gap[-1])),
            "accuracy_gap_limit": shown(float(limit[-1])),
        },
    )


def _smoothed(pair: Pair) -> tuple[Floats, Floats]:
    """Validation and training beside it, each over 3 validations."""
    train = windowed_train(pair)
    known = np.isfinite(train)
    # A validation before the first training step has no training values beside it.
    filled = np.interp(np.arange(len(train)), np.flatnonzero(known), train[known]) if known.any() else train
    return smooth(pair.validation.value, 3), smooth(filled, 3)


RULE = Rule(name="overfit", look=look, explains=("ran_too_long", "overtraining"))
