"""Where GateCallback's example input comes from: given, the module's own, or the first validation batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fitgate.export import check_example, example_from_batch, has_forward
from fitgate_callbacks._lightning import LightningModule, Trainer

__all__ = ["ExampleInput"]

_MOST_SAMPLES = 5


class ExampleInput:
    """The example input of a fit.

    Args:
        given: what the user gave; None to look elsewhere.

    Raises:
        TypeError: it is no tensor, nor a tuple or dict of them.
    """

    def __init__(self, given: object) -> None:
        if given is not None:
            check_example(given)
        self._given = given
        self._captured: object = None

    def possible(self, trainer: Trainer, module: LightningModule) -> bool:
        """Before training: whether there is one, or will be."""
        return self._given is not None or module.example_input_array is not None or trainer.enable_validation

    def take(self, batch: Any, module: LightningModule) -> bool:  # noqa: ANN401 - whatever a dataloader gives
        """Keep some samples of the first validation batch.

        Returns:
            False when forward's input can't be told from the rest of the batch.
        """
        if self._captured is not None or self._given is not None or module.example_input_array is not None or not has_forward(module):
            return True
        found = example_from_batch(batch, module)
        self._captured = _few(found)
        return self._captured is not None

    def value(self, trainer: Trainer, module: LightningModule) -> tuple[object, str]:
        """The example in the fit's precision, and where it comes from; `(None, …)` when there is none."""
        own = module.example_input_array
        found, source = (
            (self._given, "example_input")
            if self._given is not None
            else (own, "example_input_array")
            if own is not None
            else (self._captured, "the first validation batch")
        )
        return (None if found is None else trainer.precision_plugin.convert_input(_few(found))), source

    def forget(self) -> None:
        """Before another fit."""
        self._captured = None


def _few(value: object) -> Any:  # noqa: ANN401 - the same kind of thing
    """Its first samples as tensors, on the CPU: the proof needs few, and a batch may be large."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {name: _few(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_few(item) for item in value)
    tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    return tensor[:_MOST_SAMPLES].detach().cpu().clone() if tensor.dim() else tensor.detach().cpu().clone()
