"""What a LearningRateMonitor tells loggers: it goes past the module's logged values, straight to each logger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pytorch_lightning.loggers.logger import DummyLogger

from fitgate_callbacks._lightning import Trainer
from fitgate_callbacks._values import number_or_tensor

__all__ = ["LearningRates"]

_HOOKS = ("on_train_start", "on_train_epoch_start", "on_train_batch_start")
"""In these it looks for loggers: in the first to complain where there are none, in the others to tell them."""

Sink = Callable[[tuple[str, ...], list[Any]], None]
"""Takes (names, values), of the step that comes next."""


class LearningRates:
    """Gives a sink what the trainer's LearningRateMonitors tell loggers, also where the trainer has none.

    A logger of ours is among the trainer's only while a monitor's own hook runs: nobody else sees it, so that folders that are
    named after loggers, and what Lightning does for a logger at each step, are as without it. Without a monitor nothing is done.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._told: dict[str, Any] = {}
        self._hooked: list[tuple[dict[str, Any], str]] = []

    def install(self, trainer: Trainer) -> None:
        """Begin to listen: in `on_fit_start`, which comes before a monitor asks for loggers."""
        self.remove()
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]  # set in Trainer.__init__
        for monitor in callbacks:
            if any(kind.__name__ == "LearningRateMonitor" for kind in type(monitor).__mro__):
                for name in _HOOKS:
                    self._hook(trainer, monitor, name)

    def remove(self) -> None:
        """Listen no more; the monitors are as they were."""
        for attributes, name in self._hooked:
            attributes.pop(name, None)
        self._hooked.clear()
        self._told.clear()

    def _hook(self, trainer: Trainer, monitor: Any, name: str) -> None:  # noqa: ANN401 - a callback of either namespace
        attributes: dict[str, Any] = monitor.__dict__
        if name not in attributes:  # somebody else's stays
            attributes[name] = partial(self._call, trainer, _Ear(self._take), getattr(monitor, name))
            self._hooked.append((attributes, name))

    def _call(self, trainer: Trainer, ear: _Ear, hook: Callable[..., None], *args: Any, **options: Any) -> None:  # noqa: ANN401 - as the hook has it
        loggers = trainer.loggers
        trainer.loggers = [*loggers, ear]
        try:
            hook(*args, **options)
        finally:
            trainer.loggers = loggers

    def _take(self, metrics: Mapping[str, Any], step: int | None) -> None:
        """Take each value once: a monitor tells of one step at the start of an epoch, of a batch, and of each batch of an accumulation."""
        values = {name: _settled(name, value) for name, value in metrics.items()}
        new = {name: value for name, value in values.items() if self._told.get(name) != (step, value)}
        self._told |= {name: (step, value) for name, value in new.items()}
        if new:
            self._sink(tuple(new), list(new.values()))


class _Ear(DummyLogger):
    """A logger that gives on what it is told."""

    def __init__(self, take: Callable[[Mapping[str, Any], int | None], None]) -> None:
        super().__init__()
        self._take = take

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._take(metrics, step)


def _settled(name: str, value: Any) -> Any:  # noqa: ANN401 - a number, or a tensor where the optimizer keeps it as one
    """The value as it is now: a scheduler writes into a rate that is a tensor."""
    found = number_or_tensor(name, value)
    return found.clone() if isinstance(found, torch.Tensor) else found
