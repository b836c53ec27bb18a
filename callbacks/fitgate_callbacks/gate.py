"""GateCallback: judge what would ship, then publish it or say why not."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fitgate._files import encode_json, replace_file, sha256_of
from fitgate.errors import CheckpointError
from fitgate.export import check_formats, publish, stage
from fitgate.gate import Decision, Threshold, check_allow, decision_as_dict, evaluate, judge, nearest_names, parse_thresholds
from fitgate.store import Store
from fitgate.store._run_file import CheckpointRef
from fitgate_callbacks._lightning import Callback, LightningModule, Trainer, choose_checkpoint, end_of_fit_checkpoint
from fitgate_callbacks.metrics import MetricsCallback

__all__ = ["GateCallback"]

_log = logging.getLogger("fitgate")
_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class GateCallback(Callback):
    """When fit ends, judges thresholds on the metrics of the checkpoint that would ship.

    On `deploy` the weights are exported, loaded again, compared and published as the next version under
    `dirpath/model_name`; on `improve` nothing is. Either way gate.json in the run's folder has every check.

    Args:
        thresholds: conditions such as `"val_acc >= 0.8"`, or `Threshold`s; at least one.
        dirpath: the deploy root.
        model_name: the model's folder under it.
        checkpoint: `"best"`, `"last"` or a path. Without any ModelCheckpoint the weights at the end of fit.
        formats: any of `"checkpoint"`, `"safetensors"`.
        allow: eligibility rules to set aside by name, such as `("limit_val_batches",)`.

    Raises:
        ThresholdError: (a `ValueError`) no threshold, or one that can't be read.
        ValueError: another argument is not as described.

    Attributes:
        decision: after fit, on every rank; None before.

    Example:
        >>> from fitgate.callbacks import GateCallback
        >>> GateCallback(["val_acc >= 0.8"]).decision is None
        True
    """

    def __init__(
        self,
        thresholds: Iterable[str | Threshold],
        *,
        dirpath: str | os.PathLike[str] = "deploy",
        model_name: str = "model",
        checkpoint: str | os.PathLike[str] = "best",
        formats: Sequence[str] = ("checkpoint", "safetensors"),
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._thresholds = parse_thresholds(thresholds)
        if not _MODEL_NAME.fullmatch(model_name):
            message = f"GateCallback: model_name must be letters, digits, '_', '.' or '-', got {model_name!r}"
            raise ValueError(message)
        self._model_dir = Path(dirpath) / model_name
        self._which = os.fspath(checkpoint)
        self._formats = check_formats(formats)
        self._allow = check_allow(allow)
        self._staged: Path | None = None
        self._warned = False
        self.decision: Decision | None = None
        self.version: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Before any training: is there a record to judge, and one clear checkpoint?"""
        if stage != "fit":
            return
        self._metrics(trainer)
        choose_checkpoint(trainer, self._which)
        self.decision, self.version, self._staged = None, None, None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Warn of a metric that nobody has logged, as soon as a whole epoch and a validation have passed."""
        names = self._metrics(trainer).names
        if self._warned or trainer.current_epoch == 0 or not names or (trainer.enable_validation and "validate" not in names):
            return
        self._warned = True
        known = set().union(*names.values())
        for threshold in self._thresholds:
            if threshold.metric not in known:
                near = nearest_names(threshold.metric, known)
                hint = f"did you mean {' or '.join(near)}?" if near else f"logged so far: {', '.join(sorted(known))}"
                _log.warning("GateCallback: nobody has logged %r, so %r can't pass; %s", threshold.metric, str(threshold), hint)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Judge, and stage what will ship. One verdict, or one error, on all ranks."""
        decision: Decision | None = None
        error: Exception | None = None
        if trainer.is_global_zero:
            try:
                decision = self._judge_and_stage(trainer)
            except Exception as caught:  # noqa: BLE001 - it is raised on every rank, below
                error = caught
        self.decision, error = trainer.strategy.broadcast((decision, error))
        if error is not None:
            raise error

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """A fit that did not come to its end is never a deploy."""
        if trainer.state.fn != "fit":
            return
        self._drop_staged()
        recorder = self._metrics(trainer).end_fit(trainer, exception) or self._metrics(trainer).recorder
        if not trainer.is_global_zero or recorder is None:
            return
        self.decision = self._judge(recorder.run_dir)
        self._write_gate(recorder.run_dir, self.decision)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Publish, now that every other callback's `on_fit_end` has succeeded."""
        if stage != "fit" or not trainer.is_global_zero or self.decision is None:
            return
        recorder = self._metrics(trainer).recorder
        if recorder is None:
            return
        if self._staged is not None:
            self.version = publish(self._staged, self._model_dir, why=f"run {recorder.info.id} passed its gate")
            self._staged = None
        self._write_gate(recorder.run_dir, self.decision)
        if recorder.info.state == "completed":
            recorder.update(state="deployed" if self.decision.verdict == "deploy" else "improve")
        where = f" as version {self.version} under {self._model_dir}" if self.version else ""
        lines = "\n  ".join(check.reason for check in self.decision.checks)
        _log.warning("fitgate: %s%s\n  %s", self.decision.verdict, where, lines)

    def _judge_and_stage(self, trainer: Trainer) -> Decision:
        metrics = self._metrics(trainer)
        recorder = metrics.end_fit(trainer)
        if recorder is None or recorder.info.fit is None:
            return evaluate(self._thresholds, {}, ineligible=["no_step: this fit ran no optimizer step, so it has nothing new to judge"])
        path, model_checkpoint = choose_checkpoint(trainer, self._which)
        content: dict[str, Any] = {}
        trusted = model_checkpoint is not None
        if path is not None:
            content = self._load(path, trusted=trusted)
            monitor, mode = getattr(model_checkpoint, "monitor", None), getattr(model_checkpoint, "mode", None)
            ref = CheckpointRef(
                path=path,
                global_step=content.get("global_step"),
                epoch=content.get("epoch"),
                monitor=monitor,
                mode=mode if monitor else None,
            )
            recorder.update(fit=replace(recorder.info.fit, checkpoint=ref))
        decision = self._judge(recorder.run_dir)
        if decision.verdict == "deploy":
            checkpoint = content or end_of_fit_checkpoint(trainer)
            source = {
                "run_id": recorder.info.id,
                "checkpoint": path,
                "global_step": decision.judged.global_step,
                "epoch": decision.judged.epoch,
                "sha256": sha256_of(Path(path)) if path else None,
            }
            gate = decision_as_dict(decision, recorder.info.id)
            manifest = {"metrics": decision.metrics, "checks": gate["checks"], "source": source, "versions": recorder.info.versions}
            self._staged = stage(checkpoint, self._model_dir, run_id=recorder.info.id, formats=self._formats, gate=gate, manifest=manifest)
        return decision

    def _judge(self, run_dir: Path) -> Decision:
        run = Store(str(run_dir.parent)).run(run_dir.name)
        return judge(run, self._thresholds, allow=self._allow)

    def _load(self, path: str, *, trusted: bool) -> dict[str, Any]:
        """A checkpoint that this fit wrote may be unpickled fully; one given by path may not. Empty when it is not there."""
        if not path or not Path(path).exists():
            return {}
        if Path(path).is_dir():
            message = (
                f"GateCallback can't export the sharded checkpoint folder {path}; save a single file (for FSDP: state_dict_type='full')"
            )
            raise CheckpointError(message)
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=not trusted)
        except Exception as error:
            message = f"the checkpoint {path} can't be read: {error}"
            raise CheckpointError(message) from error
        return content

    def _write_gate(self, run_dir: Path, decision: Decision) -> None:
        data = encode_json(decision_as_dict(decision, run_dir.name))
        replace_file(run_dir / "gate.json", lambda file: file.write(data))

    def _drop_staged(self) -> None:
        if self._staged is not None:
            shutil.rmtree(self._staged, ignore_errors=True)
            self._staged = None

    @staticmethod
    def _metrics(trainer: Trainer) -> MetricsCallback:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set in Trainer.__init__
            if isinstance(callback, MetricsCallback):
                return callback
        message = "GateCallback judges what MetricsCallback records, and there is none: callbacks=[MetricsCallback(), GateCallback([…])]"
        raise ValueError(message)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("log", "log_dict")}
