"""The same points through Lightning's public API alone, for a version whose private paths are others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from fitgate_callbacks._internals import Listener
from fitgate_callbacks._lightning import Callback, LightningModule, Trainer
from fitgate_callbacks._values import number_or_tensor

__all__ = ["PublicTap"]


class PublicTap(Callback):
    """Tells a listener what it finds in `trainer.logged_metrics`, in hooks of its own as the last of the callbacks.

    A value is new if its storage is: each log makes a new tensor, and the last one of each name is kept alive.
    What was logged in one batch is read when the next hook comes, since the module's own hook runs after the callbacks'.

    It costs more than `LoggerTap` and sees less: reading waits for a device where a metric is shown in the
    progress bar; a metric named `step` is no x-axis; what a callback sends straight to the loggers is taken for the
    module's; a torchmetrics object that is logged again with nothing new is missed; a name that is logged at each batch of
    a validation, and elsewhere too, is taken for an epoch value; a `loss` that the module logs for whole epochs
    alone is known to be its own only from the second epoch on; and an epoch cut in two by a resume has the values of its second part.

    Args:
        trainer: what runs; this becomes one of its callbacks until `remove`.
        listener: who is told.
        next_step: the x-axis of the next batch that loggers record.
    """

    def __init__(self, trainer: Trainer, listener: Listener, *, next_step: int) -> None:
        super().__init__()
        self._trainer = trainer
        self._listener = listener
        self._next_step = self._step = next_step
        self._due: int | None = None  # the step of a batch whose values have not been read yet
        self._due_eval: tuple[str, int] | None = None
        self._global_step = trainer.global_step
        self._epoch = trainer.current_epoch
        self._told: dict[str, Any] = dict(trainer.logged_metrics)
        self._own_names: frozenset[str] = frozenset()
        trainer.callbacks.append(self)  # type: ignore[attr-defined]  # set in Trainer.__init__

    @property
    def step(self) -> int:
        """The x-axis of Lightning's own loggers now."""
        return self._step

    @property
    def coming_step(self) -> int:
        """The step of the training batch that begins."""
        return self._next_step

    def remove(self) -> None:
        """Tell what is still due, and listen no more."""
        callbacks = self._trainer.callbacks  # type: ignore[attr-defined]  # set in Trainer.__init__
        if self in callbacks:
            callbacks.remove(self)
            self._settle()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ANN401, ARG002
        """The batch before has been logged in full."""
        self._settle()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401, ARG002
        """Count, as loggers do: batches that end in an optimizer step, and each one in manual optimization."""
        self._listener.returned(outputs, trainer.accumulate_grad_batches if pl_module.automatic_optimization else None)
        before, self._global_step = self._global_step, trainer.global_step
        self._step, self._epoch = self._next_step, trainer.current_epoch
        if self._global_step != before or not pl_module.automatic_optimization:
            self._due = self._next_step
            self._next_step += 1
            if trainer.is_last_batch or trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step:
                self._settle()  # later, reading would compute epoch values, which no rank may do alone

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """The epoch before has been logged in full."""
        self._settle_epoch()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """The last epoch has been logged in full."""
        self._settle_epoch()
        self._step = self._next_step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """The training batch before has been logged in full."""
        self._settle()

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """The batch before has been logged in full."""
        if not trainer.sanity_checking:
            self._settle()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ANN401, ARG002
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,
    ) -> None:
        """Its values are read when the next hook comes."""
        if not trainer.sanity_checking:
            self._due_eval = (self._stage, dataloader_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """All epoch values are there, computed."""
        if not trainer.sanity_checking:
            self._settle()
            self._tell_rest(self._stage, self._step, None)

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end

    @property
    def _stage(self) -> str:
        stage = self._trainer.state.stage
        return stage.value if stage is not None else "train"

    def _settle(self) -> None:
        """Tell what the last batch has logged."""
        if self._due is not None:
            step, self._due = self._due, None
            names, values = self._new(self._trainer.logged_metrics)
            self._own_names |= {*names, *(name.removesuffix("_step") for name in names)}
            self._listener.train_step(step, None, names, values, self._own_names)
        if self._due_eval is not None:
            (stage, loader), self._due_eval = self._due_eval, None
            # Lightning keeps step values of validation and test out of `callback_metrics`: what is there is for the end.
            names, values = self._new(set(self._trainer.logged_metrics) - set(self._trainer.callback_metrics))
            self._listener.eval_step(stage, loader, names, values)

    def _settle_epoch(self) -> None:
        self._settle()
        if self._next_step:
            self._tell_rest("train", self._next_step - 1, self._epoch)

    def _tell_rest(self, stage: str, step: int, epoch: int | None) -> None:
        names, values = self._new(self._trainer.logged_metrics)
        if stage == "train":
            self._own_names |= {*names, *(name.removesuffix("_epoch") for name in names)}
        self._listener.at_end(stage, step, names, values, epoch=epoch)

    def _new(self, candidates: Iterable[str]) -> tuple[tuple[str, ...], list[Any]]:
        logged = self._trainer.logged_metrics
        new = [name for name in candidates if name not in self._told or not _same(self._told[name], logged[name])]
        self._told.update((name, logged[name]) for name in new)
        return tuple(new), [number_or_tensor(name, logged[name]) for name in new]


def _same(before: Any, now: Any) -> bool:  # noqa: ANN401 - tensors; what a callback sends may be a number
    if isinstance(before, torch.Tensor) and isinstance(now, torch.Tensor):
        return before.data_ptr() == now.data_ptr()
    return before is now
