"""What stands behind a validation's values, batch by batch: for confidence bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch.utils.data import DistributedSampler

from fitgate.store._evidence import ALL_RANKS, SAMPLES, WEIGHT
from fitgate_callbacks._internals import running_sums
from fitgate_callbacks._values import number_or_tensor

__all__ = ["ValidationEvidence"]

Sink = Callable[[int, tuple[str, ...], list[Any]], None]
"""Takes (step, names, values)."""


class ValidationEvidence:
    """Gives a sink the running sums of each validation pass of a fit, after each batch.

    On an accelerator nothing is computed and nothing is waited for: the sums are Lightning's own tensors.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._step = 0
        self._seen: dict[int, int] = {}

    def start(self) -> None:
        """A pass begins."""
        self._seen = {}

    def add(self, trainer: Trainer, batch: Any, loader: int) -> None:  # noqa: ANN401 - whatever a dataloader gives
        """After a batch. One whose size can't be told is left out, and so is its loader's pass."""
        size = _size(batch)
        if size is None:
            return
        self._seen[loader] = self._seen.get(loader, 0) + size
        suffix = _suffix(trainer, loader)
        names, values = [f"{SAMPLES}{suffix}"], [float(self._seen[loader])]
        for name, value, weight in running_sums(trainer):
            names += [name, f"{name}{WEIGHT}"]
            values += [number_or_tensor(name, value), number_or_tensor(name, weight)]
        self._send(names, values)

    def end(self, trainer: Trainer) -> None:
        """The pass is over: where the samples of all ranks are known, say how many they were, each counted once."""
        known = {loader: _of_all_ranks(trainer, loader, seen) for loader, seen in self._seen.items()} if trainer.world_size > 1 else {}
        names = [f"{ALL_RANKS}{_suffix(trainer, loader)}" for loader in known]
        if names:
            self._send(names, [float(count) for count in known.values()])

    def _send(self, names: list[str], values: list[Any]) -> None:
        self._sink(self._step, tuple(names), values)
        self._step += 1


def _suffix(trainer: Trainer, loader: int) -> str:
    return f"/dataloader_idx_{loader}" if len(_loaders(trainer)) > 1 else ""


def _loaders(trainer: Trainer) -> list[Any]:
    loaders = trainer.val_dataloaders
    return list(loaders.values()) if isinstance(loaders, Mapping) else list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def _of_all_ranks(trainer: Trainer, index: int, seen: int) -> int:
    """Distinct samples that all ranks saw together, told without asking them.

    A distributed sampler gives each rank as many, and repeats some so that it comes out even: a whole pass saw the data
    set once. Without one, each rank saw the same data; of an unsized one, nothing but this rank's count is known.
    """
    loader = _loaders(trainer)[index]
    sampler, dataset = getattr(loader, "sampler", None), getattr(loader, "dataset", None)
    if not isinstance(sampler, DistributedSampler) or not isinstance(dataset, Sized):
        return seen
    return min(seen * trainer.world_size, len(dataset))


def _size(batch: Any) -> int | None:  # noqa: ANN401
    """The samples in a batch: the length of the first tensor in it."""
    if isinstance(batch, torch.Tensor):
        return batch.shape[0] if batch.ndim else 1
    parts: Iterable[Any] = ()
    if isinstance(batch, Mapping):
        parts = batch.values()
    elif isinstance(batch, list | tuple):
        parts = batch
    elif is_dataclass(batch):
        parts = (getattr(batch, field.name) for field in fields(batch))
    return next((size for size in map(_size, parts) if size is not None), None)
