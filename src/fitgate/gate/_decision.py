"""What a judgement is: checks, and the verdict that follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fitgate._files import Int64
from fitgate.gate._threshold import Threshold

__all__ = ["CHAMPION_UNREADABLE", "DIFFERS", "NOT_COMPARED", "Check", "Decision", "Judged", "LiveVersion", "Verdict", "beside_checks"]

Verdict = Literal["deploy", "improve"]

# How reasons and warnings begin that no file of a run can tell again: they are known by this in gate.json.
DIFFERS = "artifact differs"
"""An exported file is not what the model is."""
CHAMPION_UNREADABLE = "the champion can't be read"
"""There was nothing to hold a relative threshold against."""
NOT_COMPARED = "outputs were not compared"
"""Of an exported file only the weights were proven."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A threshold with the value it met.

    Attributes:
        threshold: the condition.
        value: the metric's value, or None when it was not recorded.
        required: the number to reach; None when the bound is relative and there is no champion.
        passed: whether the condition holds; a waived one counts as passed.
        margin: how far inside the bound the value lies (with confidence: its confidence bound), in the metric's own unit:
            negative is a miss, whatever the direction of the threshold. None when either number is missing or not finite.
        reason: one sentence; for a pass too.
        waived: the condition could not be judged, for a reason that must not block.
        bound: with confidence: the value's one-sided confidence bound, which is what was judged; None when it can't be had.
        n: with confidence: validation samples that the bound rests on.
        n_needed: with confidence: samples at which the bound of this value would just pass; None when no number would.
    """

    threshold: Threshold
    value: float | None
    required: float | None
    passed: bool
    margin: float | None
    reason: str
    waived: bool = False
    bound: float | None = None
    n: int | None = None
    n_needed: int | None = None

    @property
    def blocks(self) -> bool:
        """Whether this check alone makes the verdict `improve`."""
        return not self.passed and not self.threshold.warn


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was judged: the weights that would ship.

    Attributes:
        global_step: optimizer steps that those weights had seen; None when there are none.
        epoch: the epoch in which they were saved.
        checkpoint: the checkpoint's path, or None for the weights at the end of fit.
        source: in words, for people ("best by val_acc", "end of fit").
    """

    global_step: Int64 | None = None
    epoch: Int64 | None = None
    checkpoint: str | None = None
    source: str = "end of fit"


@dataclass(frozen=True, kw_only=True)
class LiveVersion:
    """The version that was live when a run was judged.

    Attributes:
        version: its number.
        run_id: the run that it comes from; None where its manifest doesn't say.
        metrics: its values, all that are known.
    """

    version: int | None = None
    run_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The outcome of a judgement.

    Attributes:
        verdict: `"deploy"` or `"improve"`, nothing else.
        checks: every threshold with the value it met, in the order given.
        reasons: why it is not a deploy, eligibility first; empty when it is.
        metrics: the values that were judged, by name.
        judged: which weights those values belong to.
        allowed: eligibility rules that were set aside.
        champion: the live version's values that relative thresholds were held against; None when nothing was live.
        live: the version that was live; None when nothing was, or it is not known.
        warnings: what a reader of this decision should know, and what did not decide.
    """

    verdict: Verdict
    checks: tuple[Check, ...]
    reasons: tuple[str, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    judged: Judged = field(default_factory=Judged)
    allowed: tuple[str, ...] = ()
    champion: Mapping[str, float] | None = None
    live: LiveVersion | None = None
    warnings: tuple[str, ...] = ()


def beside_checks(reasons: Iterable[str], of_checks: Iterable[str]) -> tuple[str, ...]:
    """Reasons that no check gives: each alone makes an improve, whatever the numbers are.

    Example:
        >>> beside_checks(["interrupted: …", "acc > 0.8: got 0.7"], ["acc > 0.8: got 0.7"])
        ('interrupted: …',)
    """
    said = set(of_checks)
    return tuple(reason for reason in reasons if reason not in said)
