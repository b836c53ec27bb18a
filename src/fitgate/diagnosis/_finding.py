"""What a diagnosis says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fitgate.diagnosis._evidence import Evidence

__all__ = ["GO_ON", "NOT_ENOUGH", "Diagnosis", "Finding", "NotEnough", "Outcome", "Rule", "Severity", "Suggestion"]

Severity = Literal["problem", "hint"]
_MOST_TO_TRY = 2
GO_ON = "Go on from its last checkpoint: trainer.fit(…, ckpt_path=…)"
"""Of a run that did not come to its end, in the place of a greater length."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a rule saw.

    Attributes:
        rule: which.
        severity: `"problem"` stands in the way of a better model; `"hint"` may be worth a look.
        steps: the first and the last `global_step` of what was seen.
        evidence: the numbers that the rule used. `"metric"` and `"stage"` name the curve.
        summary: one or two sentences with those numbers, for people.
        try_: at most two things to try, the likelier first.
    """

    rule: str
    severity: Severity
    steps: tuple[int, int]
    evidence: Mapping[str, Any]
    summary: str
    try_: tuple[str, ...] = ()

    @property
    def curves(self) -> tuple[str, ...]:
        """The names of the curves that the finding is about."""
        named = [value for key, value in self.evidence.items() if key == "metric" or key.endswith("_metric")]
        return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))

    def __post_init__(self) -> None:
        if len(self.try_) > _MOST_TO_TRY:
            message = f"the finding {self.rule!r} offers {len(self.try_)} things to try; {_MOST_TO_TRY} at most"
            raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A change that a program can make.

    Attributes:
        parameter: a hyperparameter of the run, by its recorded name, or one of Lightning's own words (`max_epochs`).
        direction: `"increase"` or `"decrease"`.
        factor: multiply the value by this; more than 1 for an increase, less than 1 for a decrease.
        why: the rule that it follows from, and what the rule saw.
    """

    parameter: str
    direction: Literal["increase", "decrease"]
    factor: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was found in a run, strongest first, and what could not be told.

    Attributes:
        findings: problems before hints; among those in the order of `RULES`.
        not_enough_data: rules that had too little evidence to say anything.
        suggestions: what a program can act on, most pressing first; each parameter once.
    """

    findings: tuple[Finding, ...] = ()
    not_enough_data: tuple[str, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()


class NotEnough:
    """A rule's answer when its evidence is under the least amount."""


NOT_ENOUGH = NotEnough()

Outcome = Sequence[Finding] | NotEnough


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: a name, and a pure function over the evidence.

    Attributes:
        name: as findings and `not_enough_data` give it.
        look: what it does.
        explains: names of rules whose findings follow from this one's, and are left out beside one that is no weaker.
    """

    name: str
    look: Callable[[Evidence], Outcome]
    explains: tuple[str, ...] = ()
