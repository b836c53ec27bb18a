"""Advice to train longer, which is none where a curve levels off short of what is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fitgate.diagnosis._finding import Finding

__all__ = ["LONGER_OR_RATE", "is_longer_in_vain", "without_longer"]

LONGER_OR_RATE = "Train longer, or with a higher learning rate"
_INSTEAD: Mapping[str, str] = {LONGER_OR_RATE: "Train with a higher learning rate"}
_OUT_OF_REACH = "out_of_reach"
_LONGER_ALONE = ("within_reach", "stopped_too_early")
"""Rules that have nothing else to try first."""


def is_longer_in_vain(findings: Sequence[Finding]) -> bool:
    """Whether one finding says that no number of steps reaches a threshold: the run would miss it, whatever else more steps bring."""
    return any(finding.rule == _OUT_OF_REACH for finding in findings)


def without_longer(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings, none of which advises what another says would not do.

    Args:
        findings: of one run.

    Example:
        >>> def finding(rule, *try_): return Finding(rule=rule, severity="problem", steps=(0, 9), evidence={}, summary="", try_=try_)
        >>> found = [finding("out_of_reach", "Change the model"), finding("underfit", "A larger model", LONGER_OR_RATE)]
        >>> [one.try_ for one in without_longer(found)]
        [('Change the model',), ('A larger model', 'Train with a higher learning rate')]
        >>> without_longer(found[1:]) == tuple(found[1:])
        True
    """
    if not is_longer_in_vain(findings):
        return tuple(findings)
    return tuple(replace(finding, try_=_other(finding)) for finding in findings)


def _other(finding: Finding) -> tuple[str, ...]:
    return () if finding.rule in _LONGER_ALONE else tuple(_INSTEAD.get(thing, thing) for thing in finding.try_)
