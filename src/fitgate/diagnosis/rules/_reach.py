"""Whether more steps of the same would reach a threshold, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitgate.diagnosis._evidence import Evidence, Floats, Goal
from fitgate.diagnosis._finding import GO_ON, NOT_ENOUGH, Finding, NotEnough, Outcome, Rule
from fitgate.diagnosis._names import ACCURACY
from fitgate.diagnosis._noise import samples_of
from fitgate.diagnosis._pairs import Pair, pairs, still_falling, still_learning
from fitgate.diagnosis._saturation import Saturation, fit_saturation
from fitgate.diagnosis._smooth import number, smooth

__all__ = ["OUT_OF_REACH", "WITHIN_REACH"]

LEAST_VALIDATIONS = 10
LEAST_FITTED = 8
WELL_UNDER = 0.002
"""The level must lie under the threshold by .002 of an accuracy, and by one validation sample, or .2 % of anything else: a fit knows no better."""
STILL_BEST = 3
"""A metric that has fallen since its best point does not level off; its best must lie in what smoothing blurs of the end."""


@dataclass(frozen=True)
class _Missed:
    goal: Goal
    pair: Pair
    fit: Saturation


def out_of_reach(evidence: Evidence) -> Outcome:
    """The fitted curve levels off short of the threshold: ten times as many steps would not do, by the whole interval.

    Default and source: ours. Shapes `a - b·x^-c` and `a - b·exp(-c·x)`, fitted from where half of the gain was made; the interval is the 5th to the 95th percentile of a
    bootstrap over both. It speaks of more steps at the same settings; where the learning rate decays to nothing, so does the gain.
    A run whose loss still falls is not judged.
    Least evidence: a threshold never met on a metric with 10 validations, and a fit that leaves over little more than noise.
    """
    missed = _missed(evidence)
    if isinstance(missed, NotEnough):
        return missed
    if still_falling(evidence) or still_learning(evidence):
        return []
    for one in missed:
        fit, goal = one.fit, one.goal
        if _falls_short(one):
            name, shown = one.pair.validation.name, one.pair.validation.shown
            summary = f"{name} levels off at {number(shown(fit.level))} ({number(shown(fit.level_low))} to {number(shown(fit.level_high))}), short of {number(shown(goal.required or 0.0))}: even ten times as many steps would not do."
            return [
                _finding(
                    OUT_OF_REACH.name,
                    one,
                    summary,
                    ("Change the model or the data, not the length", "Another learning rate or schedule"),
                    problem=True,
                )
            ]
    return []


def within_reach(evidence: Evidence) -> Outcome:
    """The fitted curve crosses the threshold soon; says when, with an interval.

    Default and source: as `out_of_reach`. Soon is within ten times the run's length, at the late end of the interval.
    Least evidence: as `out_of_reach`.
    """
    missed = _missed(evidence)
    if isinstance(missed, NotEnough):
        return missed
    for one in missed:
        fit, steps = one.fit, one.pair.validation.global_step
        if _falls_short(one) or fit.crossing is None or fit.crossing_low is None or fit.crossing_high is None:
            continue
        when, low, high = (max(round(v), int(steps[-1])) for v in (fit.crossing, fit.crossing_low, fit.crossing_high))
        first, middle, last = (_epoch(one.pair, v) for v in (low, when, high))
        epochs = "" if middle is None else f", in epoch {middle} ({first} to {last}, counted from 0)"
        summary = f"{one.pair.validation.name} is on its way: {one.goal.text} is expected at step {when} ({low} to {high}){epochs}."
        try_ = (f"Train on: max_epochs times {when / int(steps[-1]):.2g}" if evidence.ended else GO_ON,)
        return [_finding(WITHIN_REACH.name, one, summary, try_, problem=False)]
    return []


def _falls_short(one: _Missed) -> bool:
    fit, required = one.fit, one.goal.required or 0.0
    one_sample = 1 / samples if (samples := samples_of(one.pair.validation)) else 0.0
    least = max(WELL_UNDER, one_sample) if one.pair.quantity == ACCURACY else WELL_UNDER * abs(required)
    return (required - fit.level_high if one.goal.better_high else fit.level_low - required) > least


def _missed(evidence: Evidence) -> list[_Missed] | NotEnough:
    required = {goal.metric: goal for goal in evidence.goals if goal.required is not None}
    able = [
        (required[p.validation.name], p)
        for p in pairs(evidence)
        if p.validation.name in required and len(p.validation) >= LEAST_VALIDATIONS
    ]
    open_ = [(goal, pair) for goal, pair in able if not any(goal.met_by(v) for v in pair.validation.value.tolist())]
    if not able:
        return NOT_ENOUGH
    found = []
    for goal, pair in open_:
        if not _still_best(pair):
            continue
        steps, values = _later(pair)
        fit = fit_saturation(steps, values, better_high=pair.better_high, required=float(goal.required or 0.0))
        if fit is not None:
            found.append(_Missed(goal, pair, fit))
    return NOT_ENOUGH if open_ and not found else found


def _later(pair: Pair) -> tuple[Floats, Floats]:
    """Steps and values from where half of the gain was made: many curves begin with a bend the other way."""
    values = pair.validation.value
    smoothed = smooth(values, 3) * (1.0 if pair.better_high else -1.0)
    half = int(np.argmax(smoothed >= (smoothed[0] + smoothed.max()) / 2))
    start = min(half, len(values) - LEAST_FITTED)
    return np.maximum(pair.validation.global_step[start:].astype(np.float64), 1.0), values[start:]


def _still_best(pair: Pair) -> bool:
    smoothed = smooth(pair.validation.value, 5)
    best = smoothed.max() if pair.better_high else smoothed.min()
    spread = float(np.abs(np.diff(pair.validation.value)).mean())
    return abs(float(smoothed[-STILL_BEST:].mean()) - float(best)) <= spread


def _epoch(pair: Pair, step: float | None) -> int | None:
    """The epoch, counted from 0, whose training takes that step, at as many steps an epoch as so far; None in a run of one epoch."""
    epochs, steps = int(pair.validation.epoch[-1]) + 1, int(pair.validation.global_step[-1])
    if step is None or epochs == 1:
        return None
    return (max(round(step), steps) - 1) * epochs // steps


def _finding(rule: str, one: _Missed, summary: str, try_: tuple[str, ...], *, problem: bool) -> Finding:
    curve, fit = one.pair.validation, one.fit
    return Finding(
        rule=rule,
        severity="problem" if problem else "hint",
        steps=(int(curve.global_step[0]), int(curve.global_step[-1])),
        evidence={
            "metric": curve.name,
            "stage": curve.stage,
            "required": curve.shown(one.goal.required or 0.0),
            "level": curve.shown(fit.level),
            "level_low": curve.shown(fit.level_low),
            "level_high": curve.shown(fit.level_high),
            "left_over": curve.shown(fit.left_over),
            "crossing_step": fit.crossing,
            "crossing_step_low": fit.crossing_low,
            "crossing_step_high": fit.crossing_high,
            "crossing_epoch": _epoch(one.pair, fit.crossing),
            "crossing_epoch_low": _epoch(one.pair, fit.crossing_low),
            "crossing_epoch_high": _epoch(one.pair, fit.crossing_high),
            "last_step": int(curve.global_step[-1]),
        },
        summary=summary,
        try_=try_,
    )


OUT_OF_REACH = Rule(name="out_of_reach", look=out_of_reach, explains=("stopped_too_early",))
WITHIN_REACH = Rule(name="within_reach", look=within_reach, explains=("stopped_too_early",))
