"""Eligibility: what makes a fit's numbers unfit to be judged, whatever they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fitgate.store._run_file import FitFacts

__all__ = ["RULES_TO_ALLOW", "check_allow", "ineligible"]

RULES_TO_ALLOW = (
    "fast_dev_run",
    "limit_val_batches",
    "lost_points",
    "no_step",
    "non_finite_stop",
    "non_finite_weights",
    "ranks_disagree",
    "weights_changed",
)
"""The rules that `allow` can set aside. A fit that was interrupted or failed is never judged."""


def check_allow(allow: Iterable[str]) -> tuple[str, ...]:
    """Check the names of rules to set aside.

    Raises:
        ValueError: one of them is no such rule.
    """
    names = (allow,) if isinstance(allow, str) else tuple(allow)
    for name in names:
        if name not in RULES_TO_ALLOW:
            message = f"allow: {name!r} is no rule that can be set aside; expected any of {', '.join(RULES_TO_ALLOW)}"
            raise ValueError(message)
    return names


def ineligible(facts: FitFacts, *, lost_points: int = 0, allow: Sequence[str] = ()) -> tuple[str, ...]:
    """Why the fit can't be judged; empty when it can.

    Example:
        >>> ineligible(FitFacts(global_step=8, steps=8))
        ()
        >>> ineligible(FitFacts(global_step=8, steps=8, limit_val_batches=1))
        ('limit_val_batches=1: the validation did not see all its data',)
        >>> ineligible(FitFacts(global_step=1, steps=1, limit_val_batches=1, fast_dev_run=True))
        ('fast_dev_run: this was a trial of the code, not a training',)
    """
    reasons = []
    if facts.interrupted:
        reasons.append(f"interrupted: the fit was stopped by {facts.interrupted}")
    if facts.failed:
        reasons.append(f"failed: the fit ended in {facts.failed}")
    if facts.fast_dev_run and "fast_dev_run" not in allow:
        # This one says it all: that it validates on one batch, and saves no checkpoint, is what a trial is.
        return (*reasons, "fast_dev_run: this was a trial of the code, not a training")
    rules = {
        # 1 == 1.0 in Python: one batch is not all of them.
        "limit_val_batches": (
            isinstance(facts.limit_val_batches, int) or facts.limit_val_batches != 1.0,
            f"limit_val_batches={facts.limit_val_batches!r}: the validation did not see all its data",
        ),
        "no_step": (facts.steps <= 0, "no_step: this fit ran no optimizer step, so it has nothing new to judge"),
        "non_finite_stop": (bool(facts.non_finite_stop), f"non_finite_stop: {facts.non_finite_stop}"),
        "non_finite_weights": (bool(facts.non_finite_weights), f"non_finite_weights: {facts.non_finite_weights}"),
        "ranks_disagree": (bool(facts.disagreeing), f"ranks_disagree: {facts.disagreeing}"),
        "weights_changed": (bool(facts.weights_changed), f"weights_changed: {facts.weights_changed}"),
        "lost_points": (lost_points > 0, f"lost_points: {lost_points} points could not be written"),
    }
    reasons += [reason for name, (holds, reason) in rules.items() if holds and name not in allow]
    return tuple(reasons)
