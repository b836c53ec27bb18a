"""Judging a run against the version that is live, and telling whether it still is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fitgate.diagnosis import training_warnings
from fitgate.errors import RegistryError
from fitgate.gate import CHAMPION_UNREADABLE, Decision, LiveVersion, Threshold, judge
from fitgate.registry import LiveValues, champion, read_current
from fitgate.store import Run

__all__ = ["Live", "judge_against", "judge_run", "live", "with_training_warnings"]

_log = logging.getLogger("fitgate")


@dataclass(frozen=True)
class Live:
    """Which version `CURRENT` names, and the digest of its manifest; None where nothing is live. `problem` says why it can't be read."""

    version: int | None = None
    manifest_sha256: str | None = None
    problem: str | None = None


def judge_run(
    run: Run, thresholds: Sequence[Threshold], model_dir: Path, allow: Sequence[str]
) -> tuple[Decision, Mapping[str, float] | None]:
    """The decision before the export, and the champion's values."""
    live, unknown = _values_asked_for(model_dir, thresholds)
    decision = judge_against(run, thresholds, live, allow)
    if unknown:
        decision = replace(decision, verdict="improve", reasons=(unknown, *decision.reasons))
    return decision, live.metrics if live is not None else None


def judge_against(run: Run, thresholds: Sequence[Threshold], live: LiveValues | None, allow: Sequence[str]) -> Decision:
    """The decision on the run's own numbers, held against a version, or None; and which version that was."""
    if live is None:
        return judge(run, thresholds, allow=allow)
    decision = judge(run, thresholds, allow=allow, champion=live.metrics, champion_validation=live.validation)
    return replace(decision, live=LiveVersion(version=live.version, run_id=live.run_id, metrics=live.metrics))


def with_training_warnings(decision: Decision, run: Run) -> Decision:
    """What a reader of a deploy should know of its training; an improve has a report that says it."""
    if decision.verdict != "deploy":
        return decision
    return replace(decision, warnings=(*decision.warnings, *training_warnings(run, decision.judged.global_step)))


def live(model_dir: Path) -> Live:
    """Which version is live now."""
    try:
        current = read_current(model_dir)
    except RegistryError as error:
        return Live(problem=str(error))
    return Live(current.version, current.manifest_sha256) if current is not None else Live()


def _values_asked_for(model_dir: Path, thresholds: Sequence[Threshold]) -> tuple[LiveValues | None, str | None]:
    """The live version's values; or why they can't be had, where a threshold asks for them."""
    try:
        return champion(model_dir), None
    except RegistryError as error:
        if any(threshold.is_relative for threshold in thresholds):
            return None, f"{CHAMPION_UNREADABLE}: {error}"
        _log.warning("fitgate: the live version can't be read, which no threshold asks for: %s", error)
        return None, None
