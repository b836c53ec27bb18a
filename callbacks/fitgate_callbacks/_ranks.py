"""What one rank does for all: done once, known everywhere, and failing everywhere alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pytorch_lightning import Trainer

__all__ = ["on_rank_zero"]

T = TypeVar("T")


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
    made, error = trainer.strategy.broadcast((made, error))
    if error is not None:
        raise error
    return made  # type: ignore[return-value]  # rank 0 has made it
