"""At the end of fit: which weights would ship, where they come from, and what the core makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from fitgate.export import AlreadyLive, Candidate, Prepared, prepare, weights_digest
from fitgate.gate import Decision
from fitgate.store import Store
from fitgate.store._checkpoints import written_at
from fitgate.store._recorder import Recorder
from fitgate.store._run_file import CheckpointRef
from fitgate_callbacks._lightning import (
    LightningModule,
    Trainer,
    choose_checkpoint,
    end_of_fit_checkpoint,
    shards_weights,
)
from fitgate_callbacks._origin import examine
from fitgate_callbacks._settings import GateSettings

__all__ = ["judge_and_stage", "note_best_so_far"]


def judge_and_stage(
    trainer: Trainer,
    module: LightningModule,
    recorder: Recorder | None,
    settings: GateSettings,
    *,
    example: tuple[object, str],
    disagreeing: Mapping[int, str],
    weights_changed: str | None,
    state_key: str,
) -> tuple[Decision | None, Prepared | AlreadyLive | None]:
    """Called on every rank: gathering the weights at the end of fit takes all of them. Only rank 0 judges.

    `example` is the example input and where it comes from. `disagreeing` says, by `global_step`, on which gated metrics the ranks differ;
    `weights_changed`, how the weights at the end differ from those that were validated; `state_key`, where a checkpoint says which run
    it is of.

    Returns:
        On rank 0 the decision and, if it is `deploy`, the sealed export, or the live version that holds the same weights.
    """
    chosen = choose_checkpoint(trainer, settings.which)
    at_end = end_of_fit_checkpoint(trainer) if chosen.path is None else {}
    if not trainer.is_global_zero or recorder is None or recorder.info.fit is None:
        return None, None
    weights: Mapping[str, Any] = at_end
    fit = recorder.info.fit
    if chosen.path is not None:
        examined = examine(chosen, recorder.info, state_key=state_key)
        weights, sha256 = examined.content, examined.sha256
        ref = CheckpointRef(
            path=chosen.path,
            global_step=weights.get("global_step"),
            epoch=weights.get("epoch"),
            monitor=chosen.monitor,
            mode=chosen.mode,
            problem=examined.problem,
        )
        recorder.update(fit=replace(fit, checkpoint=ref, disagreeing=disagreeing.get(ref.global_step or 0)))
    else:
        sha256 = weights_digest(weights["state_dict"])
        recorder.update(fit=replace(fit, disagreeing=disagreeing.get(fit.global_step), weights_changed=weights_changed))
    if non_finite := _non_finite(weights.get("state_dict", {}), module):
        recorder.update(fit=replace(recorder.info.fit, non_finite_weights=non_finite))
    candidate = Candidate(
        weights=weights,
        module=None if shards_weights(trainer) else module,
        formats=settings.formats,
        example_input=example[0],
        example_source=example[1],
        source={"checkpoint": chosen.path, "sha256": sha256},
    )
    run = Store(str(recorder.run_dir.parent)).run(recorder.info.id)
    run.info = recorder.info  # which run.json does not say where it could not be written
    return prepare(run, settings.thresholds, candidate, settings.model_dir, allow=settings.allow)


def _non_finite(state_dict: Mapping[str, Any], module: LightningModule) -> str | None:
    """Which parameters hold a NaN or an infinity, in words. A buffer may: masks of attention mostly do.

    A metric may be finite all the same: of NaNs `argmax` is 0, and so many samples are of that class.
    """
    plain = (torch.Tensor, torch.nn.Parameter)  # of what is spread over processes each would have to ask the others
    parameters = {name: state_dict[name] for name, _ in module.named_parameters() if type(state_dict.get(name)) in plain}
    found = [name for name, tensor in parameters.items() if not bool(torch.isfinite(tensor).all())]
    if not found:
        return None
    return f"{len(found)} of {len(parameters)} parameters, {found[0]} first, hold values that are not finite"


def note_best_so_far(trainer: Trainer, recorder: Recorder, settings: GateSettings) -> None:
    """Of a fit that did not come to its end: which checkpoint it would be judged by, so that people see the values of that one.

    Nothing ships, so the file is not read: what is on record of it tells its step. Without such a record nothing is noted.
    """
    fit = recorder.info.fit
    try:
        chosen = choose_checkpoint(trainer, settings.which)
    except ValueError:  # an unclear choice, which may be the very error that ended the fit
        return
    written = written_at(recorder.info.checkpoints, chosen.path) if chosen.path else None
    if fit is None or chosen.path is None or written is None or recorder.info.left_behind(written.attempt, written.global_step):
        return
    ref = CheckpointRef(path=chosen.path, global_step=written.global_step, monitor=chosen.monitor, mode=chosen.mode, problem=chosen.problem)
    recorder.update(fit=replace(fit, checkpoint=ref))
