"""A fit whose gate bounds a mean, in one process or on two ranks."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fitgate import Threshold
from fitgate.callbacks import GateCallback, MetricsCallback

CASES = ("even", "all", "padded", "partly", "two_loaders", "alike", "none_on_one", "left_out")


class Means(pl.LightningModule):
    """Logs the mean of each validation batch."""

    def __init__(self, *, sync: bool) -> None:
        super().__init__()
        self.net = torch.nn.Linear(1, 1)
        self._sync = sync

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("mean", batch[0].mean(), sync_dist=self._sync)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Rows(IterableDataset[Any]):
    """Gives every rank the same, or only rank 0 anything; not even torch can tell how much."""

    def __init__(self, rows: torch.Tensor, *, on_one: bool) -> None:
        self._rows, self._on_one = rows, on_one

    def __iter__(self) -> Iterator[Any]:
        return iter([] if self._on_one and os.environ.get("RANK", "0") != "0" else [(row,) for row in self._rows])


class Given(pl.LightningDataModule):
    """A validation of its own on each rank, of any length: on rank 1 there is nothing."""

    def __init__(self, train: Any, rows: torch.Tensor) -> None:
        super().__init__()
        self._train, self._rows = train, rows
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def train_dataloader(self) -> Any:
        return self._train

    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(self._rows[:0] if self.trainer.global_rank else self._rows), batch_size=1)  # type: ignore[union-attr]


def fit(root: Path, name: str, *, devices: int) -> dict[str, Any]:
    """What the gate's check on the mean came to."""
    rows = torch.randn({"padded": 21, "partly": 23}.get(name, 24), 1, generator=torch.Generator().manual_seed(1)).exp()
    loader: Any = DataLoader(TensorDataset(rows), batch_size=2 if name == "partly" else 1)
    train = DataLoader(TensorDataset(rows), batch_size=4)
    if name in ("none_on_one", "alike"):
        loader = DataLoader(Rows(rows, on_one=name == "none_on_one"), batch_size=1)
    if name == "two_loaders":
        loader = [loader, DataLoader(TensorDataset(-rows), batch_size=1)]
    metric = "mean/dataloader_idx_1" if name == "two_loaders" else "mean"
    gate = GateCallback([Threshold(metric, "<=", 99.0, confidence=0.9, kind="mean")], dirpath=root / "deploy", model_name=name)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        use_distributed_sampler=name != "left_out",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[gate, MetricsCallback(root / name, ranks="all" if name == "all" else "zero")],
    )
    module = Means(sync=name not in ("none_on_one", "left_out"))  # Lightning itself would wait for a rank that logs nothing
    if name == "left_out":
        module.allow_zero_length_dataloader_with_multiple_devices = True
        trainer.fit(module, datamodule=Given(train, rows))
    else:
        trainer.fit(module, train, loader)
    trainer.validate(module, loader, verbose=False)
    assert gate.decision is not None
    (check,) = gate.decision.checks
    return {"value": check.value, "bound": check.bound, "n": check.n, "reason": check.reason}


def main(root: Path) -> dict[str, Any]:
    """What one rank does; gives by case what the check came to."""
    return {name: fit(root, name, devices=2) for name in CASES}
