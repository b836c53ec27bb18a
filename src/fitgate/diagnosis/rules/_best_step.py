"""Where in the run its best step lies: at the end, or right at the beginning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitgate.diagnosis._evidence import Evidence
from fitgate.diagnosis._finding import GO_ON, NOT_ENOUGH, Finding, NotEnough, Outcome, Rule
from fitgate.diagnosis._names import ACCURACY
from fitgate.diagnosis._noise import samples_of
from fitgate.diagnosis._pairs import Pair, headline
from fitgate.diagnosis._smooth import number, scatter

__all__ = ["RAN_TOO_LONG", "STOPPED_TOO_EARLY"]

LEAST_VALIDATIONS = 8
LAST_SHARE = 0.75
FIRST_SHARE = 0.10
LEAST_GAIN = 0.01
"""A gain of less than 1 % of the whole gain is no reason to go on."""
LEAST_SAMPLES = 1.5
"""What one sample more or less makes of an accuracy is neither gain nor loss."""


@dataclass(frozen=True)
class _Best:
    pair: Pair
    step: int
    share: float
    value: float
    gain: float
    whole: float
    fell: float
    noise: float
    least: float


def too_early(evidence: Evidence) -> Outcome:
    """The best step lies in the last 25 % of the run, and it was a real gain over all before.

    Default and source: the last 25 % (Deep Learning Tuning Playbook); real is 1 % of the whole gain.
    Least evidence: 8 validations; of an accuracy a gain of more than one sample.
    """
    best = _best(evidence)
    if isinstance(best, NotEnough):
        return best
    if best.share < LAST_SHARE or best.gain < LEAST_GAIN * best.whole or best.whole <= 0:
        return []
    if best.gain < best.least:
        return NOT_ENOUGH
    summary = f"{best.pair.validation.name} was best at step {best.step}, {best.share:.0%} of the way: it was still getting better, by {number(best.pair.validation.shown(best.gain))} in the last quarter."
    longer = "Train longer: raise max_epochs by half" if evidence.ended else GO_ON
    try_ = (longer, "Or reach the same sooner, with a higher learning rate")
    return [_finding(STOPPED_TOO_EARLY.name, best, summary, try_)]


def too_long(evidence: Evidence) -> Outcome:
    """The best step lies in the first 10 % of the run, and what came after was worse by more than noise.

    Default and source: the first 10 % (Deep Learning Tuning Playbook).
    Least evidence: 8 validations; of an accuracy a loss of more than one sample.
    """
    best = _best(evidence)
    if isinstance(best, NotEnough):
        return best
    if best.share > FIRST_SHARE or best.fell <= 2 * best.noise:
        return []
    if best.fell < best.least:
        return NOT_ENOUGH
    summary = f"{best.pair.validation.name} was best at step {best.step}, {best.share:.0%} of the way; nothing after that helped."
    try_ = ("Lower the learning rate, or let it decay", "Stop earlier: EarlyStopping on this metric")
    return [_finding(RAN_TOO_LONG.name, best, summary, try_)]


def _best(evidence: Evidence) -> _Best | NotEnough:
    pair = headline(evidence)
    if pair is None or len(pair.validation) < LEAST_VALIDATIONS:
        return NOT_ENOUGH
    values = pair.validation.value if pair.better_high else -pair.validation.value
    steps = pair.validation.global_step
    index = int(np.argmax(values))
    length = int(steps[-1]) or 1
    before = values[steps < LAST_SHARE * length]
    if not len(before):
        return NOT_ENOUGH
    return _Best(
        pair=pair,
        step=int(steps[index]),
        share=float(steps[index]) / length,
        value=float(pair.validation.value[index]),
        gain=float(values[index] - before.max()),
        whole=float(values[index] - values[0]),
        fell=float(values[index] - values[-max(len(values) // 4, 1) :].mean()),
        noise=scatter(values),
        least=LEAST_SAMPLES / samples if pair.quantity == ACCURACY and (samples := samples_of(pair.validation)) else 0.0,
    )


def _finding(rule: str, best: _Best, summary: str, try_: tuple[str, ...]) -> Finding:
    curve = best.pair.validation
    return Finding(
        rule=rule,
        severity="hint",
        steps=(best.step, int(curve.global_step[-1])),
        evidence={
            "metric": curve.name,
            "stage": curve.stage,
            "best": curve.shown(best.value),
            "best_step": best.step,
            "share": best.share,
            "gain_in_last_quarter": curve.shown(best.gain),
            "whole_gain": curve.shown(best.whole),
        },
        summary=summary,
        try_=try_,
    )


STOPPED_TOO_EARLY = Rule(name="stopped_too_early", look=too_early)
RAN_TOO_LONG = Rule(name="ran_too_long", look=too_long)
