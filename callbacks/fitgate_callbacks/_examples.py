"""Where GateCallback's example input comes from: given, the module's own, or the first validation batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fitgate.errors import ExportError
from fitgate.export import check_example, example_from_batch, few_samples, fits_forward, has_forward, needs_example, rehearse
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
        self.forget()

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
        self._captured = None if found is None else few_samples(found, _MOST_SAMPLES)
        if isinstance(batch, Mapping) and hasattr(found, "shape"):
            key = next(key for key, item in batch.items() if item is found)
            self._hint = (
                f"; of the batch, a dict, it was given {key!r} alone, as no key is a parameter of forward. Give "
                f"GateCallback(example_input=…); where forward takes the whole dict, let it take the tensors by their keys: "
                f"forward(self, {', '.join(map(str, batch))})"
            )
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
        return (None if found is None else trainer.precision_plugin.convert_input(few_samples(found, _MOST_SAMPLES))), source

    def forget(self) -> None:
        """Before another fit."""
        self._captured = None
        self._tried = False
        self._hint = ""

    def misfit(self, module: LightningModule) -> str | None:
        """Before training: why forward does not take what the user gave; None when it does, or nothing was given."""
        try:
            if self._given is not None:
                fits_forward(self._given, module)
        except ExportError as error:
            return str(error)
        return None

    def complaint(self, trainer: Trainer, module: LightningModule, formats: Sequence[str], *, timed: bool) -> str | None:
        """Once, as soon as there is an example: why the module can't be exported with it, where that must stop the fit.

        Args:
            trainer: the fit's.
            module: complete by now.
            formats: what will be written; a graph takes the example.
            timed: a time takes it. Where nothing does, only one that the user gave must do.
        """
        if self._tried or not (timed or needs_example(formats) or self._given is not None):
            return None
        example, source = self.value(trainer, module)
        if example is None:
            return None
        self._tried = True
        why = rehearse(module, example, formats)
        return f"the module can't be exported with the example input ({source}): {why}{self._hint}" if why else None
