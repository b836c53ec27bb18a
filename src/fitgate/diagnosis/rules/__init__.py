"""The rules, each a small module with a pure function over the evidence. To add one, write it and list it here."""

from fitgate.diagnosis._finding import Rule
from fitgate.diagnosis.rules import _best_step, _loss_not_falling, _non_finite, _overfit, _underfit

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = (
    _non_finite.RULE,
    _loss_not_falling.RULE,
    _overfit.RULE,
    _underfit.RULE,
    _best_step.STOPPED_TOO_EARLY,
    _best_step.RAN_TOO_LONG,
)
"""In the order of strength: a finding of an earlier rule says more about the run than one of a later."""
