"""What the callback tests share: small fits, and Lightning's own record of them to compare with."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

import fitgate

Point = tuple[str, int, float]

BATCHES = 5
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "max_epochs": 2,
}


def loader(batches: int = BATCHES) -> DataLoader[Any]:
    """Batches of four samples of four numbers in three classes, the same every time."""
    generator = torch.Generator().manual_seed(0)
    count = 4 * batches
    return DataLoader(TensorDataset(torch.randn(count, 4, generator=generator), torch.arange(count) % 3), batch_size=4)


class _Hooks:
    net: Any
    trainer: Any
    returned: dict[int, float]

    def __init__(self: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Linear(4, 3)
        self.returned = {}

    def loss(self: Any, batch: Any) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def returns(self: Any, loss: torch.Tensor) -> torch.Tensor:
        """Note what is returned at the loggers' present step; under accumulation the last one of a step stands."""
        self.returned[self.trainer.fit_loop.epoch_loop._batches_that_stepped] = loss.item()  # noqa: SLF001 - Lightning's loggers use it
        return loss

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        return self.returns(self.loss(batch))

    def validation_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.log("val_loss", self.loss(batch), on_step=True, on_epoch=True)

    def test_step(self: Any, batch: Any, batch_idx: int) -> Any:
        self.log("test_loss", self.loss(batch), on_step=True, on_epoch=True)

    def configure_optimizers(self: Any) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Net(_Hooks, pl.LightningModule):
    """A linear classifier that logs its validation loss. Subclasses log more; it keeps a note of the losses it returned."""


class OtherNet(_Hooks, lightning.pytorch.LightningModule):
    """The same in the other namespace."""


def csv_rows(logger: CSVLogger) -> list[dict[str, float]]:
    """The rows of Lightning's own record, in the order in which they were logged; empty cells left out."""
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def csv_points(rows: Iterable[dict[str, float]]) -> list[Point]:
    """The same as points. `epoch` is no metric to fitgate but a column."""
    return [(name, int(row["step"]), value) for row in rows for name, value in row.items() if name not in ("step", "epoch")]


def stored_points(root: Path) -> list[Point]:
    """The points of the only run under a root."""
    (run,) = fitgate.Store(str(root)).runs()
    return [(row["name"], row["step"], row["value"]) for row in run.metrics().to_pylist()]


def in_order(points: Iterable[Point]) -> list[tuple[str, int, str]]:
    """Points as they can be compared, NaN with NaN, to the last bit."""
    return sorted((name, step, repr(value)) for name, step, value in points)
