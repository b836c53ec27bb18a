"""Judging a run once its fit is over, from its files alone: as in the fit, or by other thresholds, or against another version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fitgate.errors import ThresholdError
from fitgate.export._champion import judge_against, with_training_warnings
from fitgate.export._thresholds import check_artifact_thresholds, only_artifact_left, with_artifact, without_artifact
from fitgate.gate import Decision, OnRecord, Threshold, judge
from fitgate.registry import LiveValues
from fitgate.store import Run

__all__ = ["judge_again", "judge_by"]


def judge_again(run: Run, record: OnRecord, live: LiveValues | None = None, allow: Sequence[str] = ()) -> Decision:
    """The decision that the run's own thresholds come to, as in its fit: with the same checks, values and bounds.

    What was measured and proven of an export is taken from the record: nothing is exported again.

    Args:
        run: from any store.
        record: what its gate.json says.
        live: hold it against this version instead of the one that was live.
        allow: eligibility rules to set aside, beside those that were.

    Raises:
        ThresholdError: the record doesn't keep the champion's values, and none is given.
        ValueError: `allow` names no rule.
    """
    before = record.decision
    allow = tuple(dict.fromkeys((*before.allowed, *allow)))
    if live is not None:
        return judge_by(run, record.thresholds, record, live, allow)
    if record.lacks_champion:
        message = (
            f"the gate.json of {run.id} doesn't keep the champion's values that it was held against; "
            "give --champion MODEL_DIR, such as --champion deploy/model"
        )
        raise ThresholdError(message)
    decision = judge(run, record.thresholds, allow=allow, champion=before.champion)
    if record.champion_unreadable:
        decision = replace(decision, verdict="improve", reasons=(*record.champion_unreadable, *decision.reasons))
    decision = _of_the_export(decision, record, before.champion)
    return replace(decision, live=before.live, warnings=before.warnings)


def judge_by(run: Run, thresholds: Sequence[Threshold], record: OnRecord | None, live: LiveValues | None, allow: Sequence[str]) -> Decision:
    """The decision that any thresholds come to, against any version.

    Args:
        run: from any store.
        thresholds: at least one.
        record: what its gate.json says, for what was measured and proven of an export; None where there is none.
        live: what a relative threshold is held against; None when nothing is live.
        allow: eligibility rules to set aside.

    Raises:
        ThresholdError: a threshold asks for what is not measured of an export.
        ValueError: `allow` names no rule.
    """
    check_artifact_thresholds(thresholds)
    decision = judge_against(run, thresholds, live, allow)
    return with_training_warnings(_of_the_export(decision, record, live.metrics if live is not None else None), run)


def _of_the_export(decision: Decision, record: OnRecord | None, champion: Mapping[str, float] | None) -> Decision:
    """With what is on record of an export. Where there is nothing and only that stands in the way, that it was not measured does."""
    if record is not None and record.artifact:
        decision = with_artifact(decision, record.artifact, champion=champion, differs=record.differs)
        return replace(decision, warnings=(*decision.warnings, *record.not_compared))
    waiting = decision.verdict == "improve" and only_artifact_left(decision)
    decision = without_artifact(decision)
    return replace(decision, reasons=tuple(check.reason for check in decision.checks if check.blocks)) if waiting else decision
