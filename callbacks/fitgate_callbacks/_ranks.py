"""What one rank does for all: done once, known everywhere, and failing everywhere alike."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from pytorch_lightning import Trainer

from fitgate.errors import ExportError

__all__ = ["failing_alike", "gathered", "on_rank_zero", "share"]

T = TypeVar("T")


def gathered(trainer: Trainer, values: torch.Tensor) -> torch.Tensor:
    """A tensor of each rank, of shape (ranks, …), on the CPU of every rank. All ranks must call this, outside the training steps."""
    device = trainer.strategy.root_device
    width = torch.float32 if device.type == "mps" else torch.float64
    found: torch.Tensor = trainer.strategy.all_gather(values.to(device, width))
    return found.reshape(trainer.world_size, *values.shape).cpu()


def on_rank_zero(trainer: Trainer, make: Callable[[], T]) -> T:
    """What rank 0 makes, on every rank. All ranks must call this at the same point, outside the training steps.

    Raises:
        Exception: what `make` raised on rank 0, on every rank: one that waited for the others would wait for ever.
    """
    made: T | None = None
    error: Exception | None = None
    if trainer.is_global_zero:
        try:
            made = make()
        except Exception as caught:  # noqa: BLE001 - it is raised on every rank, below
            error = caught
    return share(trainer, made, error)  # type: ignore[no-any-return]  # rank 0 has made it


def failing_alike(trainer: Trainer, do: Callable[[], None]) -> None:
    """Do something on every rank. All ranks must call this at the same point, outside the training steps.

    Raises:
        Exception: what was raised on the first rank that it failed on, on every rank.
    """
    error: Exception | None = None
    try:
        do()
    except Exception as caught:  # noqa: BLE001 - it is raised on every rank, below
        error = caught
    if trainer.world_size == 1:
        if error is not None:
            raise error
        return
    failed = gathered(trainer, torch.tensor(float(error is not None))).nonzero()
    if len(failed):
        first = trainer.strategy.broadcast(_picklable(error), src=int(failed[0, 0]))
        assert first is not None, "that rank has said that it failed"
        raise first


def share(trainer: Trainer, value: Any, error: Exception | None) -> Any:  # noqa: ANN401 - what rank 0 has
    """Rank 0's value on every rank, or its error. Every rank calls this, whatever happened on it."""
    value, error = trainer.strategy.broadcast((value, _picklable(error)))
    if error is not None:
        raise error
    return value


def _picklable(error: Exception | None) -> Exception | None:
    """The error, or one that says the same: what can't be pickled would leave the other ranks waiting."""
    if error is None:
        return None
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own, a moment ago
    except Exception:  # noqa: BLE001 - whatever its class does
        return ExportError(f"{type(error).__name__}: {error}")
    return error
