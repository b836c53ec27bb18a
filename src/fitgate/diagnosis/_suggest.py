"""Suggestions: what of the findings a program can act on, given the hyperparameters that the run has."""

from __future__ import annotations

from collections.abc import Sequence

from fitgate.diagnosis._evidence import Evidence
from fitgate.diagnosis._finding import Finding, Suggestion

__all__ = ["suggest"]


def suggest(findings: Sequence[Finding], evidence: Evidence) -> tuple[Suggestion, ...]:  # noqa: ARG001
    """Turn findings into changes of parameters."""
    return ()
