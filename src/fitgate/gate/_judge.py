"""Judging a run from its files: the metrics of the weights that would ship."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fitgate.gate._confidence import Samples
from fitgate.gate._decision import Decision, Judged
from fitgate.gate._eligibility import check_allow, ineligible
from fitgate.gate._evaluate import evaluate
from fitgate.gate._threshold import Threshold, parse_thresholds
from fitgate.store import Run
from fitgate.store._evidence import validation_at
from fitgate.store._run_file import FitFacts, ValidationSet

__all__ = ["decision_as_dict", "judge", "metrics_at"]

# Of one name in several stages, the stage whose value is judged: never train where there is a validation.
_STAGES = ("validate", "train")


def metrics_at(run: Run, global_step: int, *, ended: datetime | None = None) -> dict[str, float]:
    """The values recorded at the `global_step` of a checkpoint, by name.

    Of several at one step the latest stands; of one name in several stages, `validate` before `train`.

    Args:
        run: the run to read.
        global_step: optimizer steps that the checkpoint's weights had seen.
        ended: leave out what was recorded later, such as by a `trainer.validate` of other weights after the fit.
    """
    wanted = pc.field("global_step") == global_step
    if ended is not None:
        # Times are kept to the millisecond, rounded either way.
        wanted &= pc.field("wall_time") <= pa.scalar(ended + timedelta(milliseconds=1), pa.timestamp("us", tz="UTC"))
    rows = run.metrics().filter(wanted).sort_by([("wall_time", "ascending"), ("step", "ascending")])
    found: dict[str, float] = {}
    for stage in reversed(_STAGES):
        found.update({row["name"]: row["value"] for row in rows.to_pylist() if row["stage"] == stage})
    return found


def judge(
    run: Run,
    thresholds: Iterable[str | Threshold],
    *,
    allow: Sequence[str] = (),
    champion: Mapping[str, float] | None = None,
    champion_validation: ValidationSet | None = None,
) -> Decision:
    """Judge a run by its files alone: the same in the fit and at any time after it.

    Args:
        run: from any store.
        thresholds: conditions, as text or `Threshold`; at least one.
        allow: eligibility rules to set aside.
        champion: the live version's values; None when nothing is live.
        champion_validation: which data those values come from; None when that is not known.

    Raises:
        ThresholdError: there is no threshold, or one can't be read.
        ValueError: `allow` names no rule.
    """
    allow = check_allow(allow)
    facts = run.info.fit or FitFacts()
    reasons = ineligible(facts, lost_points=run.info.lost_points, allow=allow)
    if run.info.fit is None:
        reasons = ("no fit of this run came to its end",)
    checkpoint = facts.checkpoint
    if checkpoint is None:
        judged = Judged(global_step=facts.global_step, epoch=facts.epoch)
    else:
        by = f"best by {checkpoint.monitor}" if checkpoint.monitor else "the checkpoint"
        judged = Judged(global_step=checkpoint.global_step, epoch=checkpoint.epoch, checkpoint=checkpoint.path, source=by)
        if checkpoint.problem is not None or checkpoint.global_step is None:
            reasons = (*reasons, checkpoint.problem or f"the checkpoint {checkpoint.path} can't be read")
    parsed = parse_thresholds(thresholds)
    metrics = metrics_at(run, judged.global_step, ended=facts.ended) if judged.global_step is not None else {}
    samples = _samples(run, parsed, judged.global_step, ended=facts.ended) if judged.global_step is not None else {}
    decision = evaluate(parsed, metrics, champion=champion, samples=samples, ineligible=reasons, judged=judged, allowed=allow)
    return replace(decision, warnings=_unlike(parsed, facts.validation, champion_validation))


def _unlike(thresholds: Iterable[Threshold], here: ValidationSet | None, there: ValidationSet | None) -> tuple[str, ...]:
    """A warning where a threshold compares with a champion that was validated on other data."""
    relative = [str(threshold) for threshold in thresholds if threshold.is_relative]
    difference = here.difference(there) if relative and here is not None and there is not None else None
    if difference is None:
        return ()
    return (f"the champion was validated on other data ({difference}), so {', '.join(relative)} compares unlike numbers",)


def _samples(run: Run, thresholds: Iterable[Threshold], global_step: int, *, ended: datetime | None) -> dict[str, Samples]:
    """What stands behind the values of thresholds that ask for confidence; nothing is read where none does."""
    names = {threshold.metric for threshold in thresholds if threshold.confidence is not None}
    if not names:
        return {}
    validation = validation_at(run, global_step, ended=ended)
    found = {}
    for name in names:
        values, sizes = validation.batches(name)
        found[name] = Samples(n=validation.samples(name), batch_values=values, batch_sizes=sizes)
    return found


def decision_as_dict(decision: Decision, run_id: str) -> dict[str, Any]:
    """The content of gate.json."""
    return {
        "format": 1,
        "run_id": run_id,
        "verdict": decision.verdict,
        "reasons": list(decision.reasons),
        "checks": [
            {
                "threshold": str(check.threshold),
                "metric": check.threshold.metric,
                "op": check.threshold.op,
                "required": check.required,
                "value": check.value,
                "passed": check.passed,
                "margin": check.margin,
                "warn": check.threshold.warn,
                "confidence": check.threshold.confidence,
                "kind": check.threshold.bound_kind,
                "bound": check.bound,
                "n": check.n,
                "n_needed": check.n_needed,
                "waived": check.waived,
                "reason": check.reason,
            }
            for check in decision.checks
        ],
        "metrics": dict(decision.metrics),
        "judged": asdict(decision.judged),
        "allowed": list(decision.allowed),
        "warnings": list(decision.warnings),
    }
