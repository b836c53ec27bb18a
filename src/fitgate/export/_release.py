"""From a recorded run to a decision, and a staged version where it is `deploy`: cheap numbers first, the export last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitgate.errors import RegistryError
from fitgate.export._stage import Staged, seal, stage
from fitgate.export._thresholds import only_artifact_left, with_artifact, without_artifact
from fitgate.gate import Decision, Threshold, decision_as_dict, judge
from fitgate.registry import LiveValues, champion
from fitgate.store import Run

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Candidate", "prepare"]

_log = logging.getLogger("fitgate")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What would ship, should the run pass.

    Attributes:
        weights: gives the checkpoint; called only once the run's own numbers have passed.
        module: the live module, only read; None where it holds a part of the weights.
        formats: what to write.
        example_input: arguments of forward, or None.
        example_source: where the example comes from.
        source: for the manifest: where the weights come from.
    """

    weights: Callable[[], Mapping[str, Any]]
    module: nn.Module | None
    formats: Sequence[str]
    example_input: object
    example_source: str
    source: Mapping[str, Any]


def prepare(
    run: Run, thresholds: Sequence[Threshold], candidate: Candidate, model_dir: Path, *, allow: Sequence[str] = ()
) -> tuple[Decision, Staged | None]:
    """Judge a run by its files; export and prove what would ship; judge the export too; seal it.

    Returns:
        The decision, and the sealed export when it is `deploy`.

    Raises:
        ExportError: what passed can't be exported.
    """
    live, unknown = _champion(model_dir, thresholds)
    values = live.metrics if live is not None else None
    decision = judge(run, thresholds, allow=allow, champion=values, champion_validation=live.validation if live is not None else None)
    if unknown:
        decision = replace(decision, verdict="improve", reasons=(unknown, *decision.reasons))
    if not only_artifact_left(decision):
        return without_artifact(decision), None
    staged = stage(
        candidate.weights(),
        model_dir,
        run_id=run.id,
        formats=candidate.formats,
        module=candidate.module,
        example_input=candidate.example_input,
        example_source=candidate.example_source,
    )
    try:
        decision = with_artifact(decision, staged.metrics, champion=values, differs=staged.differs)
        if staged.proof.outputs_not_compared:
            warning = f"outputs were not compared, only weights: {staged.proof.outputs_not_compared}"
            decision = replace(decision, warnings=(*decision.warnings, warning))
            _log.warning("fitgate: %s", warning)
        if decision.verdict != "deploy":
            staged.drop()
            return decision, None
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
                "validation": run.info.fit.validation if run.info.fit is not None else None,
            },
        )
    except BaseException:
        staged.drop()
        raise
    return decision, staged


def _champion(model_dir: Path, thresholds: Sequence[Threshold]) -> tuple[LiveValues | None, str | None]:
    """The live version's values; or why they can't be had, where a threshold asks for them."""
    try:
        return champion(model_dir), None
    except RegistryError as error:
        if any(threshold.is_relative for threshold in thresholds):
            return None, f"the champion can't be read: {error}"
        _log.warning("fitgate: the live version can't be read, which no threshold asks for: %s", error)
        return None, None
