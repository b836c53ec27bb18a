"""What the step's output holds beside what the module logs: the returned loss, and the accuracy on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Trainer
from torchmetrics.functional.classification import multiclass_accuracy

from fitgate_callbacks._validation import not_repeated, samples_in, val_loaders
from fitgate_callbacks._values import number_or_tensor

__all__ = ["ACCURACY", "LOSS", "StepOutputs"]

ACCURACY = "accuracy"
LOSS = "loss"
_LOSS_ALONE = (LOSS,)


@dataclass
class _Counted:
    """What one rank has counted of a loader: samples it was given; predictions, and the right ones among them."""

    samples: int = 0
    all: int = 0
    right: Any = 0


class StepOutputs:
    """Keeps of a step's output what is to be recorded, until the logged values are taken a moment later.

    Args:
        accuracy: two keys of the output dict, predictions of shape (N, C, …) and targets of shape (N, …); None
            to count none.

    Attributes:
        gave_loss: a loss was returned and recorded that the module does not log itself.
    """

    def __init__(self, accuracy: tuple[str, str] | None) -> None:
        self._accuracy = accuracy
        self._loss: Any = None
        self._divided_by: int | None = 1
        self._pair: tuple[torch.Tensor, torch.Tensor] | None = None
        self._whole_pass: dict[int, _Counted] = {}
        self._counted: set[str] = set()
        self.gave_loss = False

    def keep(self, outputs: Any, divided_by: int | None = 1) -> None:  # noqa: ANN401 - whatever training_step returned
        """Keep what the training step returned.

        Args:
            outputs: a loss, a dict that holds one, or anything in manual optimization.
            divided_by: by how much Lightning has divided the loss for the gradients' sake; None in manual optimization, where
                the loss is the module's own tensor, to which it may write at the next step.
        """
        self._divided_by = divided_by
        self._loss = outputs.get(LOSS) if type(outputs) is dict or isinstance(outputs, Mapping) else outputs
        self._pair = None  # an earlier micro-batch's does not stand for one that is skipped
        if self._accuracy is not None and outputs:  # empty after a step that was skipped by returning None
            self._pair = self._scores_and_target(outputs, "training_step")

    def drop(self) -> None:
        """Keep nothing more."""
        self._loss = self._pair = None
        self._whole_pass = {}

    def are_wanted(self, own_names: frozenset[str]) -> bool:
        """Whether anything of a step's output is to be recorded where the module logs these names itself."""
        return LOSS not in own_names or (self._accuracy is not None and ACCURACY not in own_names)

    def take(self, own_names: frozenset[str]) -> tuple[tuple[str, ...], list[Any]]:
        """The loss and accuracy of the step kept last, save for those in `own_names`, which the module logs itself."""
        loss, pair = self._loss, self._pair
        self._loss = self._pair = None
        names: tuple[str, ...] = ()
        values: list[Any] = []
        if loss is not None and LOSS not in own_names:
            number = _number(loss, self._divided_by)
            if number is not None:
                values.append(number)
                names = _LOSS_ALONE
                self.gave_loss = True
        if pair is not None and ACCURACY not in own_names:
            scores, target = pair
            accuracy = multiclass_accuracy(scores, target, num_classes=scores.shape[1], average="micro", validate_args=False)
            values.append(number_or_tensor(ACCURACY, accuracy))
            names = (*names, ACCURACY)
        return names, values

    def start_pass(self) -> None:
        """A validation begins."""
        self._whole_pass = {}

    def check(self, outputs: Any) -> None:  # noqa: ANN401 - whatever validation_step returned
        """Before anything is trained: whether the accuracy of a validation can be counted.

        Raises:
            ValueError: it can't.
        """
        if self._accuracy is not None:
            self._scores_and_target(outputs, "validation_step")

    def add_to_pass(self, trainer: Trainer, outputs: Any, batch: Any, loader: int) -> None:  # noqa: ANN401 - whatever validation_step took and returned
        """Count one batch of a validation, on every rank. What a sampler repeats to make ranks come out even is left out."""
        if self._accuracy is None:
            return
        scores, target = self._scores_and_target(outputs, "validation_step")
        seen = self._whole_pass.setdefault(loader, _Counted())
        size = samples_in(batch)
        if size is not None and size == len(target):
            once = not_repeated(trainer, loader, seen.samples, size)
            scores, target = scores[:once], target[:once]
        seen.samples += size or 0
        seen.right = seen.right + _right(scores, target)
        seen.all += target.numel()

    def end_pass(self, trainer: Trainer, logged: set[str]) -> dict[str, Any]:
        """The accuracy of the whole validation, for each loader, save for names that were logged by others.

        Of all ranks together: each must call this, whether it records or not.
        """
        if self._accuracy is None:
            return {}
        passes, self._whole_pass = self._whole_pass, {}
        device, loaders, several = trainer.strategy.root_device, len(val_loaders(trainer)), len(passes) > 1
        sums = torch.zeros(loaders, 2, device=device, dtype=torch.float32 if device.type == "mps" else torch.float64)
        for loader, seen in passes.items():
            sums[loader, 0] += seen.right
            sums[loader, 1] += seen.all
        if trainer.world_size > 1:
            sums = trainer.strategy.reduce(sums, reduce_op="sum")
        counted = {
            f"{ACCURACY}/dataloader_idx_{loader}" if several else ACCURACY: number_or_tensor(ACCURACY, sums[loader, 0] / sums[loader, 1])
            for loader in passes
        }
        self._counted |= counted.keys() - logged
        return {name: value for name, value in counted.items() if name in self._counted}

    def _scores_and_target(self, outputs: Any, where: str) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        assert self._accuracy is not None
        keys = self._accuracy
        if not isinstance(outputs, Mapping) or not all(key in outputs for key in keys):
            got = f"a dict with {list(outputs)}" if isinstance(outputs, Mapping) else type(outputs).__name__
            message = f"MetricsCallback(accuracy={keys!r}): {where} must return a dict with both keys, it returned {got}"
            raise ValueError(message)
        scores, target = (outputs[key] for key in keys)
        tensors = isinstance(scores, torch.Tensor) and isinstance(target, torch.Tensor)
        if not tensors or scores.ndim < 2 or target.shape != scores.shape[:1] + scores.shape[2:]:  # noqa: PLR2004 - (N, C)
            expected = f"{keys[0]!r} must be predictions of shape (N, C, …) and {keys[1]!r} their classes of shape (N, …)"
            got = " and ".join(f"{key!r}: {_kind(outputs[key])}" for key in keys)
            message = f"MetricsCallback(accuracy={keys!r}): in what {where} returns, {expected}, both tensors; it returned {got}"
            raise ValueError(message)
        return scores.detach(), target.detach()


def _right(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How many predictions are right, where the tensors are: nothing waits for a device."""
    return (scores.argmax(dim=1) == target).sum()


def _kind(value: Any) -> str:  # noqa: ANN401
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__


def _number(loss: Any, divided_by: int | None) -> Any:  # noqa: ANN401
    """The loss as it is recorded; None for what is no number: in manual optimization a step may return anything."""
    if isinstance(loss, torch.Tensor):
        if loss.numel() != 1:
            return None
        if divided_by is not None and divided_by != 1:
            loss = loss * divided_by
        if loss.is_cpu:
            return loss.item()
        return loss.detach().clone() if divided_by is None else loss.detach()
    return float(loss) if isinstance(loss, int | float) else None
