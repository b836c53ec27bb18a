"""From a recorded run to a decision, and a staged version where it is `deploy`: cheap numbers first, the export last."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitgate.export._already import SameWeights, already_live
from fitgate.export._champion import judge_run, live, with_training_warnings
from fitgate.export._publication import AlreadyLive, Prepared
from fitgate.export._stage import seal, stage
from fitgate.export._thresholds import only_artifact_left, with_artifact, without_artifact
from fitgate.gate import NOT_COMPARED, Decision, Threshold, decision_as_dict, judge
from fitgate.store import Run

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Candidate", "prepare"]

_log = logging.getLogger("fitgate")
_NOT_COMPARED = NOT_COMPARED + ", only weights: {}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What would ship, should the run pass.

    Attributes:
        weights: the checkpoint, as a ModelCheckpoint writes it.
        module: the live module, only read; None where it holds a part of the weights.
        formats: what to write.
        example_input: arguments of forward, or None.
        example_source: where the example comes from.
        source: for the manifest: where the weights come from.
    """

    weights: Mapping[str, Any]
    module: nn.Module | None
    formats: Sequence[str]
    example_input: object
    example_source: str
    source: Mapping[str, Any]


def prepare(
    run: Run, thresholds: Sequence[Threshold], candidate: Candidate, model_dir: Path, *, allow: Sequence[str] = ()
) -> tuple[Decision, Prepared | AlreadyLive | None]:
    """Judge a run by its files; export and prove what would ship; judge the export too; seal it.

    Weights that are live already are judged as when they went live, against the version before, and not exported again.

    Returns:
        The decision, and when it is `deploy` the sealed export, or the live version that holds these very weights.

    Raises:
        ExportError: what passed can't be exported.
    """
    same = already_live({**candidate.source, "run_id": run.id}, candidate.formats, thresholds, model_dir)
    if same is not None:
        return _judge_as_live(run, thresholds, same, model_dir, allow)
    # Read before the champion's values: should it move in between, it is seen to have moved.
    against = live(model_dir) if any(threshold.is_relative for threshold in thresholds) else None
    decision, values = judge_run(run, thresholds, model_dir, allow)
    if not only_artifact_left(decision):
        return without_artifact(decision), None
    staged = stage(
        candidate.weights,
        model_dir,
        run_id=run.id,
        formats=candidate.formats,
        module=candidate.module,
        example_input=candidate.example_input,
        example_source=candidate.example_source,
    )

    def with_export(decision: Decision, champion: Any) -> Decision:  # noqa: ANN401 - as judge_run gives it
        decision = with_artifact(decision, staged.metrics, champion=champion, differs=staged.differs)
        return with_training_warnings(_warned(decision, staged.proof.outputs_not_compared), run)

    def judge_again() -> Decision:
        again, values = judge_run(run, thresholds, model_dir, allow)
        return with_export(again, values)

    def seal_with(decision: Decision) -> None:
        gate = decision_as_dict(decision, run.id)
        judged = {"run_id": run.id, "global_step": decision.judged.global_step, "epoch": decision.judged.epoch}
        seal(
            staged,
            gate=gate,
            manifest={
                "metrics": decision.metrics,
                "checks": gate["checks"],
                "allowed": gate["allowed"],
                "source": {**candidate.source, **judged},
                "versions": run.info.versions,
                **({"git": run.info.git} if run.info.git is not None else {}),
                "validation": run.info.fit.validation if run.info.fit is not None else None,
            },
        )

    try:
        decision = with_export(decision, values)
        if staged.proof.outputs_not_compared:
            _log.warning("fitgate: %s", _NOT_COMPARED.format(staged.proof.outputs_not_compared))
        if decision.verdict != "deploy":
            staged.drop()
            return decision, None
        seal_with(decision)
    except BaseException:
        staged.drop()
        raise
    return decision, Prepared(staged=staged, against=against, judge_again=judge_again, seal=seal_with)


def _warned(decision: Decision, not_compared: str | None) -> Decision:
    return replace(decision, warnings=(*decision.warnings, _NOT_COMPARED.format(not_compared))) if not_compared else decision


def _judge_as_live(
    run: Run, thresholds: Sequence[Threshold], same: SameWeights, model_dir: Path, allow: Sequence[str]
) -> tuple[Decision, AlreadyLive | None]:
    def with_export(decision: Decision, champion: Mapping[str, float] | None, said: str) -> Decision:
        if not only_artifact_left(decision):
            return without_artifact(decision)
        decision = _warned(with_artifact(decision, same.artifact, champion=champion), same.outputs_not_compared)
        if decision.verdict != "deploy":
            return decision
        return with_training_warnings(replace(decision, warnings=(*decision.warnings, said)), run)

    def judge_again() -> Decision:
        said = (
            f"these very weights are version {same.version}'s: another went live meanwhile, so they were judged again and made live again"
        )
        return with_export(*judge_run(run, thresholds, model_dir, allow), said)

    champion = same.before.metrics if same.before is not None else None
    decision = replace(judge(run, thresholds, allow=allow, champion=champion), live=same.before)
    said = f"these very weights are live already, as version {same.version}: nothing was published again"
    decision = with_export(decision, champion, said)
    if decision.verdict != "deploy":
        return decision, None
    return decision, AlreadyLive(version=same.version, model_dir=model_dir, judge_again=judge_again)
