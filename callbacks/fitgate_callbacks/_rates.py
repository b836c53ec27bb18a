"""What a LearningRateMonitor tells loggers: it goes past the module's logged values, straight to each logger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pytorch_lightning.loggers.logger import DummyLogger

from fitgate_callbacks._lightning import Trainer, is_a
from fitgate_callbacks._values import number_or_tensor

__all__ = ["LearningRates"]

Sink = Callable[[tuple[str, ...], list[Any]], None]
"""Takes (names, values), of the step that comes next."""


class LearningRates:
    """Gives a sink what the trainer's LearningRateMonitors tell loggers, also where the trainer has none.

    A logger of ours is among the trainer's only while a monitor's own hook runs: nobody else sees it, so that folders that are
    named after loggers, and what Lightning does for a logger at each step, are as without it. Without a monitor nothing is done.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._monitors: list[_Monitor] = []

    def install(self, trainer: Trainer) -> None:
        """Begin to listen: in `on_fit_start`, which comes before a monitor asks for loggers."""
        self.remove()
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]  # set in Trainer.__init__
        self._monitors = [_Monitor(trainer, each, self._sink) for each in callbacks if is_a(each, "LearningRateMonitor")]

    def remove(self) -> None:
        """Listen no more; the monitors are as they were."""
        for monitor in self._monitors:
            monitor.remove()
        self._monitors = []


class _Monitor:
    """One LearningRateMonitor, of either namespace, with its hooks wrapped.

    In `on_train_start` it complains where there are no loggers, in the others it tells them: at a batch as often as
    `log_every_n_steps` says. At the batches between, it is asked again whenever a rate has changed, for us alone.
    """

    def __init__(self, trainer: Trainer, monitor: Any, sink: Sink) -> None:  # noqa: ANN401
        self._trainer = trainer
        self._monitor = monitor
        self._sink = sink
        self._ear = _Ear(self._take)
        self._told: dict[str, Any] = {}
        self._rates: list[float | None] = []
        self._heard = False
        self._hooked: list[str] = []
        self._hook("on_train_start", self._call)
        self._hook("on_train_epoch_start", self._call)
        self._hook("on_train_batch_start", self._at_batch)

    def remove(self) -> None:
        for name in self._hooked:
            self._monitor.__dict__.pop(name, None)

    def _hook(self, name: str, call: Callable[..., None]) -> None:
        attributes: dict[str, Any] = self._monitor.__dict__
        if name not in attributes:  # somebody else's stays
            attributes[name] = partial(call, getattr(self._monitor, name))
            self._hooked.append(name)

    def _call(self, hook: Callable[..., None], *args: Any, **options: Any) -> None:  # noqa: ANN401 - as the hook has it
        trainer = self._trainer
        loggers = trainer.loggers
        trainer.loggers = [*loggers, self._ear]
        try:
            hook(*args, **options)
        finally:
            trainer.loggers = loggers

    def _at_batch(self, hook: Callable[..., None], *args: Any, **options: Any) -> None:  # noqa: ANN401
        self._heard = False
        self._call(hook, *args, **options)
        rates = [_known(group["lr"]) for optimizer in self._trainer.optimizers for group in optimizer.param_groups]
        changed, self._rates = rates != self._rates, rates
        if changed and not self._heard:
            self._ask(hook, *args, **options)

    def _ask(self, hook: Callable[..., None], *args: Any, **options: Any) -> None:  # noqa: ANN401
        """Have it tell us what it would tell loggers at `log_every_n_steps=1`; its own history stays as it is.

        What it gives other callbacks, as tensors on the device, goes nowhere: putting them there waits, and has the progress bar's values read.
        """
        trainer: Any = self._trainer
        nowhere = _With(trainer.strategy, root_device=torch.device("meta"))
        asking = _With(trainer, logger=self._ear, loggers=[self._ear], callback_metrics={}, strategy=nowhere)
        every, trainer.log_every_n_steps = trainer.log_every_n_steps, 1
        history: dict[str, list[Any]] = getattr(self._monitor, "lrs", {})
        lengths = {name: len(rates) for name, rates in history.items()}
        try:
            hook(asking, *args[1:], **options)
        finally:
            trainer.log_every_n_steps = every
            for name, rates in history.items():
                del rates[lengths.get(name, 0) :]

    def _take(self, metrics: Mapping[str, Any], step: int | None) -> None:
        """Take each value once: a monitor tells of one step at the start of an epoch, of a batch, and of each batch of an accumulation."""
        self._heard = True
        values = {name: _settled(name, value) for name, value in metrics.items()}
        new = {name: value for name, value in values.items() if self._told.get(name) != (step, value)}
        self._told |= {name: (step, value) for name, value in new.items()}
        if new:
            self._sink(tuple(new), list(new.values()))


class _With:
    """Something with a few attributes that are others."""

    def __init__(self, thing: Any, **others: Any) -> None:  # noqa: ANN401
        self.__dict__.update(others, _thing=thing)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._thing, name)


class _Ear(DummyLogger):
    """A logger that gives on what it is told."""

    def __init__(self, take: Callable[[Mapping[str, Any], int | None], None]) -> None:
        super().__init__()
        self._take = take

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._take(metrics, step)


def _known(rate: Any) -> float | None:  # noqa: ANN401 - a number, or a tensor where the optimizer keeps it as one
    """A rate as a number; None on an accelerator, where reading it would wait: then only the monitor's own calls tell of it."""
    return None if isinstance(rate, torch.Tensor) and not rate.is_cpu else float(rate)


def _settled(name: str, value: Any) -> Any:  # noqa: ANN401 - likewise
    """The value as it is now: a scheduler writes into a rate that is a tensor."""
    found = number_or_tensor(name, value)
    return found.clone() if isinstance(found, torch.Tensor) else found
