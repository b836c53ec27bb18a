"""Judging a run from its files: the metrics of the weights that would ship."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from fitgate.gate._confidence import Samples
from fitgate.gate._decision import Decision, Judged
from fitgate.gate._eligibility import check_allow, ineligible
from fitgate.gate._evaluate import evaluate
from fitgate.gate._recorded import Recorded, last_recorded, latest_step, recorded_at
from fitgate.gate._threshold import Threshold, parse_thresholds
from fitgate.store import Run
from fitgate.store._evidence import validation_at
from fitgate.store._run_file import FitFacts, ValidationSet

__all__ = ["decision_as_dict", "judge", "metrics_at"]


def metrics_at(run: Run, global_step: int) -> dict[str, float]:
    """The values recorded at the `global_step` of a checkpoint, by name.

    Of several at one step the latest stands. What the run validates is never taken from training, and nothing from a
    `trainer.validate` after a fit, of whatever weights.

    Args:
        run: the run to read.
        global_step: optimizer steps that the checkpoint's weights had seen.
    """
    return recorded_at(run, global_step).values


def judge(
    run: Run,
    thresholds: Iterable[str | Threshold],
    *,
    allow: Sequence[str] = (),
    champion: Mapping[str, float] | None = None,
    champion_validation: ValidationSet | None = None,
) -> Decision:
    """Judge a run by its files alone: the same in the fit and at any time after it.

    A run that was logged by hand has no checkpoint: the last value of each metric is judged. One that has not ended is an
    improve, whose checks show how far it is.

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
    facts = _facts(run)
    reasons = ineligible(facts, lost_points=run.info.lost_points, allow=allow)
    if run.info.state == "running":
        # What may be known of a fit is then an earlier attempt's. While a fit judges itself its state is no longer this one.
        reasons = (_not_ended(run),)
    elif run.info.fit is None and not run.info.by_hand:
        reasons = ("no fit of this run came to its end: all it holds is of a validation or a test",)
    checkpoint = facts.checkpoint
    if facts.fast_dev_run and "fast_dev_run" not in allow and checkpoint is not None and checkpoint.global_step is None:
        checkpoint = None  # a trial saves none, which is no fault of the user's: shown is how far it came
    if run.info.by_hand:
        judged = Judged(source="the last value of each metric, logged by hand")
    elif run.info.fit is None:
        judged = Judged(global_step=latest_step(run), source="the last values so far")
    elif checkpoint is None:
        judged = Judged(global_step=facts.global_step, epoch=facts.epoch)
    else:
        by = f"best by {checkpoint.monitor}" if checkpoint.monitor else "the checkpoint"
        judged = Judged(global_step=checkpoint.global_step, epoch=checkpoint.epoch, checkpoint=checkpoint.path, source=by)
        if checkpoint.problem is not None or checkpoint.global_step is None:
            reasons = (*reasons, checkpoint.problem or f"the checkpoint {checkpoint.path} can't be read")
    parsed = parse_thresholds(thresholds)
    if run.info.by_hand:
        recorded = last_recorded(run)
    else:
        recorded = recorded_at(run, judged.global_step) if judged.global_step is not None else Recorded({})
    decision = evaluate(
        parsed,
        recorded.values,
        champion=champion,
        samples=_samples(run, parsed, recorded, judged.global_step),
        ineligible=reasons,
        judged=judged,
        allowed=allow,
        missing=recorded.missing,
    )
    return replace(decision, warnings=_unlike(parsed, facts.validation, champion_validation))


def _facts(run: Run) -> FitFacts:
    """Of its fit; of a run by hand, which trained in its own way, how it was left."""
    if run.info.fit is not None or not run.info.by_hand:
        return run.info.fit or FitFacts()
    state = run.info.state
    return FitFacts(
        steps=1,
        failed="an exception in its `with` block" if state == "failed" else None,
        interrupted="Ctrl-C" if state == "interrupted" else None,
    )


def _not_ended(run: Run) -> str:
    if run.state == "running":
        return "the run has not ended: it is running"
    silent = run.info.updated.strftime("%Y-%m-%d %H:%M UTC")
    return f"the run has not ended: it is {run.state}, since its process was killed, or has written nothing after {silent}"


def _unlike(thresholds: Iterable[Threshold], here: ValidationSet | None, there: ValidationSet | None) -> tuple[str, ...]:
    """A warning where a threshold compares with a champion that was validated on other data."""
    relative = [str(threshold) for threshold in thresholds if threshold.is_relative]
    difference = here.difference(there) if relative and here is not None and there is not None else None
    if difference is None:
        return ()
    return (f"the champion was validated on other data ({difference}), so {', '.join(relative)} compares unlike numbers",)


def _samples(run: Run, thresholds: Iterable[Threshold], recorded: Recorded, global_step: int | None) -> dict[str, Samples]:
    """What stands behind the values of thresholds that ask for confidence; nothing is read where none does."""
    names = {threshold.metric for threshold in thresholds if threshold.confidence is not None} & recorded.values.keys()
    if not names or global_step is None:
        return {}
    validation = validation_at(run, global_step)
    found = {}
    for name in names:
        values, sizes = validation.batches(name)
        problem = None
        if name in recorded.trained:
            problem = "its value comes from the training batches, and a bound rests on the samples of a validation"
        elif 0 < validation.passes < recorded.times.get(name, 0):
            problem = "it was recorded at each batch, so its value is the last batch's and not that of the validation"
        found[name] = Samples(n=None if problem else validation.samples(name), batch_values=values, batch_sizes=sizes, problem=problem)
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
        "champion": None if decision.champion is None else dict(decision.champion),
        "live": None if decision.live is None else asdict(decision.live),
        "warnings": list(decision.warnings),
    }
