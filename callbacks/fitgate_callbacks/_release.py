"""At the end of fit: which weights would ship, where they come from, and what the core makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fitgate.export import Candidate, Staged, load_checkpoint, prepare
from fitgate.gate import Decision, Threshold
from fitgate.store import Store
from fitgate.store._recorder import Recorder
from fitgate.store._run_file import CheckpointRef
from fitgate_callbacks._lightning import (
    ChosenCheckpoint,
    LightningModule,
    Trainer,
    choose_checkpoint,
    end_of_fit_checkpoint,
    shards_weights,
)

__all__ = ["judge_and_stage"]


def judge_and_stage(
    trainer: Trainer,
    module: LightningModule,
    recorder: Recorder | None,
    *,
    thresholds: Sequence[Threshold],
    which: Any,  # noqa: ANN401 - as for choose_checkpoint
    formats: Sequence[str],
    example: tuple[object, str],
    model_dir: Path,
    allow: Sequence[str],
    disagreeing: Mapping[int, str],
) -> tuple[Decision | None, Staged | None]:
    """Called on every rank: gathering the weights at the end of fit takes all of them. Only rank 0 judges.

    `disagreeing` says, by `global_step`, on which gated metrics the ranks differ; the rest is as the callback has it.

    Returns:
        On rank 0 the decision and, if it is `deploy`, the sealed export.
    """
    chosen = choose_checkpoint(trainer, which)
    at_end = end_of_fit_checkpoint(trainer) if chosen.path is None else {}
    if not trainer.is_global_zero or recorder is None or recorder.info.fit is None:
        return None, None
    weights: Mapping[str, Any] = at_end
    sha256 = None
    if chosen.path is not None:
        content, sha256, problem = _read(chosen)
        weights = content
        ref = CheckpointRef(
            path=chosen.path,
            global_step=content.get("global_step"),
            epoch=content.get("epoch"),
            monitor=chosen.monitor,
            mode=chosen.mode,
            problem=problem,
        )
        recorder.update(fit=replace(recorder.info.fit, checkpoint=ref, disagreeing=disagreeing.get(ref.global_step or 0)))
    else:
        recorder.update(fit=replace(recorder.info.fit, disagreeing=disagreeing.get(recorder.info.fit.global_step)))
    candidate = Candidate(
        weights=lambda: weights,
        module=None if shards_weights(trainer) else module,
        formats=formats,
        example_input=example[0],
        example_source=example[1],
        source={"checkpoint": chosen.path, "sha256": sha256},
    )
    run = Store(str(recorder.run_dir.parent)).run(recorder.info.id)
    return prepare(run, thresholds, candidate, model_dir, allow=allow)


def _read(chosen: ChosenCheckpoint) -> tuple[dict[str, Any], str | None, str | None]:
    """Content, digest, and why it can't be judged."""
    if not chosen.path:
        return {}, None, chosen.problem
    loaded = load_checkpoint(chosen.path, trusted=chosen.trusted)
    if loaded is None:
        return {}, None, f"the checkpoint {chosen.path} is not there: it was deleted before it could be judged"
    return loaded.content, loaded.sha256, chosen.problem
