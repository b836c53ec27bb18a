"""MetricsCallback: every logged value into Parquet, mirrored to TensorBoard."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional.classification import multiclass_accuracy

from fitgate.store._hparams import plain_hparams
from fitgate.store._open import new_run_folder, open_recorder
from fitgate.store._recorder import Recorder
from fitgate.store._run_file import RUN_FILE
from fitgate.store._schema import Record
from fitgate.store._values import check_name, check_step, to_float
from fitgate_callbacks._lightning import (
    Callback,
    LightningModule,
    LoggedValues,
    Trainer,
    fetch_values,
    fit_facts,
    number_or_tensor,
    versions,
)

__all__ = ["MetricsCallback"]

_ACCURACY = "accuracy"


class MetricsCallback(Callback):
    """Records what the module logs, at every step, whatever `log_every_n_steps` is.

    Names and steps are those of Lightning's own `CSVLogger` at `log_every_n_steps=1`, save that a
    value which was not logged again is not recorded again, and that the loss `training_step`
    returns is always there as `loss`. Pass `logger=False` to the Trainer, or its default logger
    writes a second copy.

    Args:
        dirpath: the store's folder; made where it is missing.
        run_name: what to call the run; leads its id.
        tensorboard: mirror the points as TensorBoard events in the run's folder.
        flush_every_s: seconds between two background flushes.
        accuracy: two keys of the step's output dict, predictions of shape (N, C, …) and targets of shape
            (N, …): records `accuracy`, in train of each batch, in validate of the whole pass.
        ranks: `"zero"` records rank 0 only.

    Raises:
        ValueError, TypeError: an argument is not as described.

    Attributes:
        run_id: the run's id, after `setup`.
        run_dir: the run's folder, after `setup`.

    Example:
        >>> from fitgate.callbacks import MetricsCallback
        >>> callback = MetricsCallback(accuracy=("logits", "target"))
        >>> callback.run_id is None
        True
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] = "runs",
        *,
        run_name: str | None = None,
        tensorboard: bool = True,
        flush_every_s: float = 1.0,
        accuracy: tuple[str, str] | None = None,
        ranks: Literal["zero"] = "zero",
    ) -> None:
        super().__init__()
        if not flush_every_s > 0:
            message = f"MetricsCallback: flush_every_s must be more than 0 seconds, got {flush_every_s!r}"
            raise ValueError(message)
        if accuracy is not None and (isinstance(accuracy, str) or len(accuracy) != 2 or not all(isinstance(k, str) for k in accuracy)):  # noqa: PLR2004
            message = (
                f'MetricsCallback: accuracy must be two keys of the step\'s output dict, such as ("logits", "target"), got {accuracy!r}'
            )
            raise TypeError(message)
        if ranks != "zero":
            message = f"MetricsCallback: ranks must be 'zero', got {ranks!r}"
            raise ValueError(message)
        self._root = Path(dirpath)
        self._run_name = run_name
        self._tensorboard = tensorboard
        self._flush_every_s = flush_every_s
        self._accuracy = accuracy
        self.run_id: str | None = None
        self._restored: dict[str, Any] = {}
        self._recorder: Recorder | None
        self._trainer: Trainer | None
        self._outputs: Any
        self._val_accuracy: dict[int, MulticlassAccuracy]
        self._reset()

    @property
    def run_dir(self) -> Path | None:
        """The run's folder, after `setup`."""
        return self._root / self.run_id if self.run_id else None

    @property
    def recorder(self) -> Recorder | None:
        """What records this run in this process; None before it begins, and on other ranks."""
        return self._recorder

    @property
    def names(self) -> dict[str, set[str]]:
        """The names recorded so far in this process, by stage."""
        return self._names

    def log_metric(self, name: str, value: Any, step: int | None = None) -> None:  # noqa: ANN401 - whatever holds one number
        """Record a value of one's own.

        Args:
            name: any non-empty text.
            value: one number.
            step: the x-axis; None for the trainer's current `global_step`.

        Raises:
            TypeError, ValueError: name, value or step can't be taken; the message names the metric.
            RuntimeError: no fit, validation or test has begun.
        """
        number = to_float(check_name(name), value)
        trainer = self._trainer
        if trainer is None:
            message = f"metric {name!r}: nothing is being recorded yet; log in a hook of a running fit, validation or test"
            raise RuntimeError(message)
        stage = trainer.state.stage.value if trainer.state.stage is not None else "train"
        self._take(stage, trainer.global_step if step is None else check_step(name, step), (name,), [number])

    def flush(self) -> None:
        """Bring everything recorded so far to the disk."""
        if self._recorder is not None:
            self._recorder.flush()

    # Lightning's hooks, in the order of a fit

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Choose the run's id, the same on all ranks."""
        if getattr(trainer, "barebones", False):
            message = "MetricsCallback has nothing to record under Trainer(barebones=True), which turns self.log off; take one of them out"
            raise ValueError(message)
        if stage == "fit" and trainer.global_step == 0:
            self._reset()
            self.run_id = None
        if self.run_id is None:
            run_id = new_run_folder(self._root, self._run_name)[0] if trainer.is_global_zero else None
            self.run_id = trainer.strategy.broadcast(run_id)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run, so that a failure in the sanity check is on record."""
        self._begin(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run."""
        self._begin(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401, ARG002
        """Keep what the step returned until the logged values are taken, a moment later."""
        self._outputs = outputs

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run for a validation on its own; begin to count the accuracy."""
        if trainer.state.fn == "validate":
            self._begin(trainer, pl_module)
        self._val_accuracy = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,
    ) -> None:
        """Count the accuracy of one batch."""
        if self._accuracy is None or self._recorder is None or trainer.sanity_checking:
            return
        scores, target = self._scores_and_target(outputs, "validation_step")
        metric = self._val_accuracy.get(dataloader_idx)
        if metric is None:
            metric = MulticlassAccuracy(num_classes=scores.shape[1], average="micro", validate_args=False, sync_on_compute=False)
            metric = self._val_accuracy[dataloader_idx] = metric.to(scores.device)
        metric.update(scores, target)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Record the accuracy of the whole pass."""
        for index, metric in self._val_accuracy.items():
            name = _ACCURACY if len(self._val_accuracy) == 1 else f"{_ACCURACY}/dataloader_idx_{index}"
            step = trainer.fit_loop.epoch_loop._batches_that_stepped  # noqa: SLF001 - the x-axis of Lightning's own loggers
            self._take("validate", step, (name,), [number_or_tensor(metric.compute())])
        self._val_accuracy = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run for a test."""
        self._begin(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """The fit came to its end, unless a SIGTERM came in its last moments."""
        self.end_fit(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """An error, Ctrl-C or SIGTERM: bring everything to the disk. `teardown` won't be called."""
        self.end_fit(trainer, exception)
        self._end()

    def end_fit(self, trainer: Trainer, exception: BaseException | None = None) -> Recorder | None:
        """Bring everything to the disk and write down how the fit ended; once, whoever asks first.

        Returns:
            The recorder, for those who judge; None where this process recorded nothing of this fit.
        """
        recorder = self._recorder
        if recorder is None or self._trainer is None:
            return None
        recorder.flush()
        if recorder.info.state == "running" and trainer.state.fn == "fit":
            facts = fit_facts(trainer, start_step=self._start_step, exception=exception)
            state = "interrupted" if facts.interrupted else "failed" if facts.failed else "completed"
            recorder.update(state=state, fit=facts)
        return recorder

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Close the files. A test after the fit opens them anew."""
        if self._recorder is not None and self._recorder.info.state == "running":
            self._recorder.update(state="completed")
        self._end()

    def state_dict(self) -> dict[str, Any]:
        """What travels in a checkpoint: which run this is, and its evaluation counters."""
        return {"run_id": self.run_id, "eval_steps": self._tap.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the run of the checkpoint; used if a fit goes on from it."""
        self._restored = dict(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        # A thread, open files and the trainer's own objects stay in this process.
        for live in ("_recorder", "_names", "_trainer", "_tap", "_outputs", "_val_accuracy"):
            state.pop(live)
        # The Trainer hangs the module's own `log` and `log_dict` on every callback.
        state.pop("log", None)
        state.pop("log_dict", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    # Behind the hooks

    def _reset(self) -> None:
        self._recorder = None
        self._trainer = None
        self._outputs = None
        self._start_step = 0
        self._names: dict[str, set[str]] = {}
        self._val_accuracy = {}
        self._tap = LoggedValues(self._take, self._extras)

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._trainer is trainer or not trainer.is_global_zero:
            return
        self._trainer = trainer
        fitting = trainer.state.fn == "fit"
        restored = self._restored.get("run_id") if fitting else None
        if fitting and restored and self._recorder is None:
            self._drop_unused(self.run_id)
            self.run_id = str(restored)
            self._tap.load_state_dict(self._restored.get("eval_steps", {}))
        again = fitting and self._recorder is not None  # a second fit on one trainer
        if self._recorder is None or again:
            run_dir = self._root / str(self.run_id)
            run_dir.mkdir(parents=True, exist_ok=True)
            self._recorder = open_recorder(
                run_dir,
                name=self._run_name,
                resumed_step=trainer.global_step if fitting else None,
                hparams=plain_hparams(getattr(pl_module, "hparams", {})),
                versions=versions(),
                tensorboard=self._tensorboard,
                tags={("validate", _ACCURACY): f"{_ACCURACY}/validate"} if self._accuracy else None,
                flush_every_s=self._flush_every_s,
                fetch=fetch_values,
            )
        self._restored = {}
        self._start_step = trainer.global_step
        self._tap.install(trainer)

    def _drop_unused(self, run_id: str | None) -> None:
        """The folder that `setup` made before it was known that this fit goes on with another run."""
        if run_id and not (self._root / run_id / RUN_FILE).exists():
            (self._root / run_id).rmdir()

    def _end(self) -> None:
        self._tap.remove()
        self._trainer = None
        self._outputs = None
        if self._recorder is not None:
            self._recorder.close()

    def _take(self, stage: str, step: int, names: Any, values: Any) -> None:  # noqa: ANN401
        trainer, recorder = self._trainer, self._recorder
        if trainer is not None and recorder is not None:
            self._names.setdefault(stage, set()).update(names)
            recorder.record(Record(stage, step, trainer.global_step, trainer.current_epoch, time.time_ns() // 1000, names, values))

    def _extras(self, own_names: frozenset[str]) -> list[tuple[str, Any]]:
        """The returned loss, and the accuracy of the batch, where the module logs none itself."""
        outputs, self._outputs = self._outputs, None
        extras: list[tuple[str, Any]] = []
        trainer = self._trainer
        if trainer is None or not outputs:
            return extras
        loss = outputs if isinstance(outputs, torch.Tensor) else outputs.get("loss") if isinstance(outputs, Mapping) else None
        if isinstance(loss, torch.Tensor) and loss.numel() == 1 and "loss" not in own_names:
            # Lightning has divided it for the gradients' sake, in automatic optimization.
            factor = trainer.accumulate_grad_batches if trainer.lightning_module.automatic_optimization else 1
            extras.append(("loss", number_or_tensor(loss.detach().reshape(()) * factor if factor != 1 else loss.detach().reshape(()))))
        if self._accuracy is not None and _ACCURACY not in own_names:
            scores, target = self._scores_and_target(outputs, "training_step")
            value = multiclass_accuracy(scores, target, num_classes=scores.shape[1], average="micro", validate_args=False)
            extras.append((_ACCURACY, number_or_tensor(value)))
        return extras

    def _scores_and_target(self, outputs: Any, where: str) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        assert self._accuracy is not None
        keys = list(outputs) if isinstance(outputs, Mapping) else None
        if keys is None or not all(key in keys for key in self._accuracy):
            got = f"a dict with {keys}" if keys is not None else type(outputs).__name__
            message = f"MetricsCallback(accuracy={self._accuracy!r}): {where} must return a dict with both keys, it returned {got}"
            raise ValueError(message)
        return outputs[self._accuracy[0]].detach(), outputs[self._accuracy[1]].detach()
