"""Judging a run as it was judged in its fit, from its files alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fitgate.errors import ThresholdError
from fitgate.export._champion import live_version, with_training_warnings
from fitgate.export._thresholds import only_artifact_left, with_artifact, without_artifact
from fitgate.gate import Decision, OnRecord, judge
from fitgate.registry import LiveValues
from fitgate.store import Run

__all__ = ["judge_again"]


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
    if live is None and record.lacks_champion:
        message = (
            f"the gate.json of {run.id} doesn't keep the champion's values that it was held against; "
            "give --champion MODEL_DIR, such as --champion deploy/model"
        )
        raise ThresholdError(message)
    champion = record.champion if live is None else live.metrics
    decision = judge(
        run,
        record.thresholds,
        allow=tuple(dict.fromkeys((*record.allowed, *allow))),
        champion=champion,
        champion_validation=live.validation if live is not None else None,
    )
    decision = replace(decision, live=record.live if live is None else live_version(live))
    if live is None and record.champion_unreadable:
        decision = replace(decision, verdict="improve", reasons=(*record.champion_unreadable, *decision.reasons))
    if record.artifact:
        decision = with_artifact(decision, record.artifact, champion=champion, differs=record.differs)
    else:
        decision = _not_exported(decision)
    if live is not None:
        return with_training_warnings(decision, run)
    if record.afterwards:
        decision = replace(decision, verdict="improve", reasons=(*decision.reasons, *record.afterwards))
    return replace(decision, warnings=record.warnings)


def _not_exported(decision: Decision) -> Decision:
    """Where nothing else stands in the way any more, such as after setting a rule aside, that nothing was measured does."""
    waiting = decision.verdict == "improve" and only_artifact_left(decision)
    decision = without_artifact(decision)
    return replace(decision, reasons=tuple(check.reason for check in decision.checks if check.blocks)) if waiting else decision
