"""The fit that every tracker records: a step so short that what is added to it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch

__all__ = ["Batches", "TinyModule", "run_fit"]


class Batches:
    """The same batch, `count` times: no DataLoader, whose own time would drown what is measured.

    Args:
        count: how many batches an epoch has.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._batch = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[torch.Tensor]:
        for _ in range(self._count):
            yield self._batch


class TinyModule(pl.LightningModule):
    """One linear layer, and as many logged values a step as asked for, `loss` the first of them.

    Args:
        metrics: values logged at each step.
    """

    def __init__(self, metrics: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)
        self.names = ["loss", *(f"metric_{index:02d}" for index in range(1, metrics))]

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Log and return the loss. A new value at each step, as in a real fit."""
        loss: torch.Tensor = self.layer(batch).square().mean()
        self.log_values(loss + batch_idx)
        return loss

    def log_values(self, value: torch.Tensor) -> None:
        """Log it under each of the names."""
        self.log_dict(dict.fromkeys(self.names, value))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-6)


def run_fit(
    steps: int,
    metrics: int,
    trainer_arguments: dict[str, Any],
    *,
    batches: type[Batches] = Batches,
    module: Callable[[int], TinyModule] = TinyModule,
) -> None:
    """One epoch of `steps` batches on the CPU, with nothing else that Lightning could add.

    Args:
        steps: batches.
        metrics: values logged at each.
        trainer_arguments: what the tracker asks of the Trainer.
        batches: what hands the batches out.
        module: what is trained, made from the number of metrics.
    """
    trainer = pl.Trainer(
        **{"logger": False, **trainer_arguments},
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(module(metrics), batches(steps))
