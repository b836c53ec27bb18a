"""Accuracies that were recorded in percent, as fractions: every rule sees one unit, and speaks in the recorded one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fitgate.diagnosis._evidence import Curve, Evidence, Floats, Goal
from fitgate.diagnosis._names import ACCURACY, quantity_of
from fitgate.gate import settled

__all__ = ["in_fractions", "in_unit_of", "may_be_share"]

PERCENT = 100.0
_BEYOND = 1.5
"""What ends over this is no fraction, nor one that somebody smoothed or weighted. Under it, only a threshold can tell."""
_ROUNDING = 1e-3
"""A mean of float32 values may lie so far beyond what it is a mean of."""


def in_fractions(evidence: Evidence) -> Evidence:
    """The same evidence with every accuracy as a fraction; its curves know by what to multiply to have the recorded unit again.

    An accuracy is in percent where it, or a threshold on it, goes well beyond 1 and it stays within 100. Values that are
    the float32 nearest to a threshold's number become that number, as the gate takes them.

    Example:
        >>> at = np.arange(3)
        >>> curve = Curve(stage="validate", name="val_acc", step=at, global_step=at, epoch=at, value=np.array([40.0, 80.0, 90.0]))
        >>> goal = Goal(metric="val_acc", better_high=True, required=85.0, text="val_acc >= 85")
        >>> scaled = in_fractions(Evidence(curves={("validate", "val_acc"): curve}, goals=(goal,)))
        >>> scaled.curves["validate", "val_acc"].value.tolist(), scaled.goals[0].required, scaled.goals[0].text
        ([0.4, 0.8, 0.9], 0.85, 'val_acc >= 85')
    """
    curves = {key: _scaled(_settled(curve, evidence.goals), evidence.goals) for key, curve in evidence.curves.items()}
    percent = {curve.name for curve in curves.values() if curve.unit != 1}
    goals = tuple(
        replace(goal, required=goal.required / PERCENT) if goal.required is not None and goal.metric in percent else goal
        for goal in evidence.goals
    )
    return replace(evidence, curves=curves, goals=goals)


def may_be_share(curve: Curve) -> bool:
    """Whether the values can be shares of all samples, as fractions or in percent; a count of right answers beyond 100 can't.

    Args:
        curve: with finite values, as recorded or from `in_fractions`.
    """
    return _within(curve.value, PERCENT)


def in_unit_of(other: Curve, curve: Curve) -> Curve:
    """A curve in the unit that another one was recorded in, to be drawn beside it.

    Args:
        other: whose unit is wanted.
        curve: of the same quantity; both as they were recorded.
    """
    theirs, ours = (_scaled(each, ()).unit for each in (other, curve))
    return curve if theirs == ours else replace(curve, value=curve.value * (theirs / ours))


def _scaled(curve: Curve, goals: Iterable[Goal]) -> Curve:
    if curve.unit != 1 or quantity_of(curve.name) != ACCURACY:
        return curve
    values = curve.value[np.isfinite(curve.value)]
    asked = any(goal.required is not None and goal.required > _BEYOND for goal in goals if goal.metric == curve.name)
    if not len(values) or not _within(values, PERCENT) or (_within(values, _BEYOND) and not asked):
        return curve
    return replace(curve, value=curve.value / PERCENT, unit=PERCENT)


def _within(values: Floats, most: float) -> bool:
    return bool(values.min(initial=0.0) >= -_ROUNDING and values.max(initial=0.0) <= most * (1 + _ROUNDING))


def _settled(curve: Curve, goals: Iterable[Goal]) -> Curve:
    value = curve.value
    for bound in [goal.required for goal in goals if goal.metric == curve.name and goal.required is not None]:
        near = np.flatnonzero(value == np.float64(np.float32(bound)))
        if len(near) and settled(float(value[near[0]]), bound) == bound:
            value = value.copy()
            value[near] = bound
    return curve if value is curve.value else replace(curve, value=value)
