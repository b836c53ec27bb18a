"""A report as report.json has it."""

from __future__ import annotations

from typing import Any

import msgspec

from fitgate.diagnosis import Finding
from fitgate.report._model import Report

__all__ = ["report_as_dict"]


def report_as_dict(report: Report) -> dict[str, Any]:
    """The content of report.json: verdict, checks, findings, not_enough_data, suggestions; and what else the page shows.

    Example:
        >>> from fitgate.report import Report, RunFacts
        >>> facts = RunFacts(id="r", name="r", state="completed", created="2026-11-23T08:40:01+00:00")
        >>> content = report_as_dict(Report(verdict=None, headline="", run=facts))
        >>> list(content)[:5]
        ['verdict', 'checks', 'findings', 'not_enough_data', 'suggestions']
    """
    diagnosis = report.diagnosis
    content = {
        "verdict": report.verdict,
        "checks": report.checks,
        "findings": [_finding(finding) for finding in diagnosis.findings],
        "not_enough_data": diagnosis.not_enough_data,
        "suggestions": diagnosis.suggestions,
        "format": 1,
        "headline": report.headline,
        "reasons": report.reasons,
        "warnings": report.warnings,
        "run": report.run,
        "judged": report.judged,
        "curves": report.charts,
        "changes": report.changes,
        "reproduce": report.reproduce,
    }
    # Lists, not tuples: what one gets is what one would read back from the file.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(content))
    return plain


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "steps": finding.steps,
        "evidence": finding.evidence,
        "summary": finding.summary,
        "try": finding.try_,
    }
