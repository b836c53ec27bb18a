"""The rules, each a small module with a pure function over the evidence. To add one, write it and list it here."""

from fitgate.diagnosis._finding import Rule
from fitgate.diagnosis.rules import (
    _bad_start,
    _best_step,
    _learning_rate,
    _loss_not_falling,
    _missed_checkpoint,
    _noise,
    _non_finite,
    _oscillation,
    _overfit,
    _overtraining,
    _reach,
    _slow_convergence,
    _spike,
    _underfit,
)

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = (
    _non_finite.RULE,
    _loss_not_falling.RULE,
    _missed_checkpoint.RULE,
    _learning_rate.RULE,
    _overfit.RULE,
    _underfit.RULE,
    _oscillation.RULE,
    _slow_convergence.RULE,
    _spike.RULE,
    _reach.OUT_OF_REACH,
    _reach.WITHIN_REACH,
    _best_step.STOPPED_TOO_EARLY,
    _noise.RULE,
    _best_step.RAN_TOO_LONG,
    _overtraining.RULE,
    _bad_start.RULE,
)
"""In the order of strength: a finding of an earlier rule says more about the run than one of a later."""
