"""All rules over one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fitgate.diagnosis._evidence import Evidence
from fitgate.diagnosis._finding import Diagnosis, Finding, NotEnough
from fitgate.diagnosis._longer import without_longer
from fitgate.diagnosis._read import goals_of, read_evidence
from fitgate.diagnosis._suggest import suggest
from fitgate.diagnosis._units import in_fractions
from fitgate.diagnosis.rules import RULES
from fitgate.gate import Threshold
from fitgate.store import Run

__all__ = ["diagnose", "diagnose_evidence"]


def diagnose(
    run: Run,
    *,
    thresholds: Iterable[str | Threshold] = (),
    champion: Mapping[str, float] | None = None,
    classes: int | None = None,
) -> Diagnosis:
    """Say what a run's curves show, and what to try.

    Args:
        run: from any store.
        thresholds: what the run is judged by; several rules can say more with them.
        champion: the live version's values, for thresholds relative to them.
        classes: how many classes the targets have; None takes it from the hyperparameters, where it stands.

    Returns:
        Findings, strongest first; rules that had too little to go by; suggestions for a program.

    Raises:
        ThresholdError: (a `ValueError`) a threshold can't be read.
        StoreError: a file of the run is damaged.

    Example:
        >>> import tempfile, fitgate
        >>> root = tempfile.mkdtemp()
        >>> with fitgate.start_run(root, tensorboard=False) as run:
        ...     for step, loss in enumerate([2.3, 4.1, 9.7, float("inf")]):
        ...         run.log_metric("loss", loss, step)
        >>> finding, = diagnose(fitgate.Store(root).latest()).findings
        >>> finding.rule, finding.severity, finding.steps, finding.summary
        ('non_finite', 'problem', (3, 3), 'loss is inf at step 3 after 2.3, 4.1, 9.7; 1 of its 4 values is NaN or infinite.')
    """
    return diagnose_evidence(read_evidence(run, goals_of(thresholds, champion), classes=classes))


def diagnose_evidence(evidence: Evidence) -> Diagnosis:
    """The same, of evidence that is already read: a pure function.

    Args:
        evidence: in the units of the run: an accuracy may be a fraction or in percent.
    """
    evidence = _without_warnings(in_fractions(evidence))
    outcomes = {rule.name: rule.look(evidence) for rule in RULES}
    found = [f for outcome in outcomes.values() if not isinstance(outcome, NotEnough) for f in outcome]
    findings = without_longer(sorted((f for f in found if not _explained(f, found)), key=_strength))
    return Diagnosis(
        findings=findings,
        not_enough_data=tuple(name for name, outcome in outcomes.items() if isinstance(outcome, NotEnough)),
        suggestions=suggest(findings, evidence),
    )


def _without_warnings(evidence: Evidence) -> Evidence:
    """A threshold that only warns is nothing that the run must reach."""
    goals, watched = (tuple(goal for goal in evidence.goals if goal.warn == warn) for warn in (False, True))
    return replace(evidence, goals=goals, watched=(*evidence.watched, *watched))


def _explained(finding: Finding, found: Sequence[Finding]) -> bool:
    """Whether another finding, no weaker than this one, says why this one is there."""
    explaining = {rule.name for rule in RULES if finding.rule in rule.explains}
    return any(f.rule in explaining and (f.severity == "problem" or finding.severity == "hint") for f in found)


def _strength(finding: Finding) -> tuple[bool, int]:
    order = [rule.name for rule in RULES]
    return finding.severity != "problem", order.index(finding.rule)
