"""Training goes on getting better while validation does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from fitgate.diagnosis._evidence import Evidence
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._hparams import train_mode_note
from fitgate.diagnosis._names import ACCURACY, LOSS
from fitgate.diagnosis._pairs import Pair, pairs, windowed_train
from fitgate.diagnosis._smooth import number, percent, smooth

__all__ = ["RULE"]

PATIENCE = 3
LEAST_VALIDATIONS = 6
LOSS_GAP = 0.1
LOSS_RISE = 0.05
"""A rise of the smoothed validation loss by less than 5 % of its best is within what seeds do."""
ACCURACY_GAP = 0.10
ACCURACY_GAP_WHEN_GOOD = 0.07
GOOD = 0.9


def look(evidence: Evidence) -> Outcome:
    """Compare validation with training after the validation's best point.

    Defaults and sources: validation loss rises while training loss falls (Deep Learning Tuning Playbook), smoothed over 3,
    for at least 3 validations; gap (validation - training) / training above 0.1 (SageMaker Debugger, Overfit); accuracy
    gap of .10, or .07 where training accuracy is above .9 (AUTOTRAINER).
    Least evidence: 6 validations of a loss or an accuracy that training has too.
    """
    able = [p for p in pairs(evidence) if p.quantity in (LOSS, ACCURACY) and p.train is not None and len(p.validation) >= LEAST_VALIDATIONS]
    seen = [(p, _loss(p) if p.quantity == LOSS else _accuracy(p)) for p in able]
    if not able:
        return NOT_ENOUGH
    found = [(p, numbers) for p, numbers in seen if numbers]
    if not found:
        return []
    # One finding: the loss shows where it began, the accuracy what it costs.
    found.sort(key=lambda item: item[0].quantity != LOSS)
    pair, numbers = found[0]
    note = train_mode_note(evidence.hparams)
    costs = "".join(f" {n['sentence']}" for p, n in found[1:2] if p.quantity != pair.quantity)
    return [
        Finding(
            rule=RULE.name,
            severity="problem",
            steps=numbers["steps"],
            evidence={
                **numbers["evidence"],
                **{k: v for _, n in found[1:] for k, v in n["evidence"].items() if k.startswith("accuracy")},
                "note": note,
            },
            summary=f"{numbers['sentence']}{costs}",
            try_=(
                "Regularise more: weight decay, dropout or augmentation",
                "More training data, a smaller model, or stop at the best step",
            ),
        )
    ]


def _loss(pair: Pair) -> dict[str, Any] | None:
    validation, train = _smoothed(pair)
    best = int(np.argmin(validation))
    later = len(validation) - 1 - best
    if later < PATIENCE:
        return None
    end_validation, end_train = float(validation[-1]), float(train[-1])
    rise = (end_validation - validation[best]) / (abs(validation[best]) or 1.0)
    gap = (end_validation - end_train) / (abs(end_train) or 1e-12)
    if not (rise > LOSS_RISE and end_train < train[best] and gap > LOSS_GAP):
        return None
    steps = (int(pair.validation.global_step[best]), int(pair.validation.global_step[-1]))
    name = pair.validation.name
    return {
        "steps": steps,
        "sentence": f"{name} rose by {percent(rise)} after step {steps[0]} while the training loss fell on, to {number(end_train)}.",
        "evidence": {
            "metric": name,
            "stage": pair.validation.stage,
            "train_metric": pair.train.name if pair.train else None,
            "best_step": steps[0],
            "validations_since": later,
            "validation_best": float(validation[best]),
            "validation_end": end_validation,
            "train_end": end_train,
            "rise": float(rise),
            "gap": float(gap),
        },
    }


def _accuracy(pair: Pair) -> dict[str, Any] | None:
    validation, train = _smoothed(pair)
    gap = train - validation
    limit = np.where(train > GOOD, ACCURACY_GAP_WHEN_GOOD, ACCURACY_GAP)
    over = gap >= limit
    if not over[-PATIENCE:].all():
        return None
    since = len(over) - int(np.argmin(over[::-1])) if not over.all() else 0
    steps = (int(pair.validation.global_step[since]), int(pair.validation.global_step[-1]))
    return {
        "steps": steps,
        "sentence": f"Training accuracy ends {number(float(gap[-1]))} above {pair.validation.name}: {number(float(train[-1]))} against {number(float(validation[-1]))}.",
        "evidence": {
            "metric": pair.validation.name,
            "stage": pair.validation.stage,
            "train_metric": pair.train.name if pair.train else None,
            "accuracy_metric": pair.validation.name,
            "accuracy_train": float(train[-1]),
            "accuracy_validation": float(validation[-1]),
            "accuracy_gap": float(gap[-1]),
            "accuracy_gap_limit": float(limit[-1]),
        },
    }


def _smoothed(pair: Pair) -> tuple[Any, Any]:
    train = windowed_train(pair)
    known = np.isfinite(train)
    # A validation before the first training step has no training values beside it.
    filled = np.interp(np.arange(len(train)), np.flatnonzero(known), train[known]) if known.any() else train
    return smooth(pair.validation.value, 3), smooth(filled, 3)


RULE = Rule(name="overfit", look=look)
