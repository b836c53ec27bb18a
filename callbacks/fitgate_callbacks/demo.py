"""`fitgate demo`: a small convolutional net on scikit-learn's handwritten digits, with both callbacks."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from rich.console import Console
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from fitgate.gate import Decision
from fitgate.summary import command_line, labelled, shown_path
from fitgate_callbacks.gate import GateCallback
from fitgate_callbacks.metrics import MetricsCallback

__all__ = ["REACHABLE", "STRICT", "DigitsNet", "digits_loaders", "run_demo"]

REACHABLE = ("val_acc >= 0.95", "val_loss <= 0.2")
_LIGHTNING_LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
STRICT = ("val_acc >= 0.999", "val_loss <= 0.001")
"""More than this net reaches on 360 validation images, with any seed."""


class DigitsNet(pl.LightningModule):
    """Two convolutions and one linear layer.

    Args:
        width: channels of the first convolution; the second has twice as many.
        lr: Adam's learning rate.
        dropout: share of features left out in training.

    Example:
        >>> DigitsNet()(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """

    def __init__(self, width: int = 16, lr: float = 3e-3, dropout: float = 0.2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * width * 2 * 2, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of the ten digits, shape (N, 10), of images of shape (N, 1, 8, 8) with values from 0 to 1."""
        scores: torch.Tensor = self.net(images)
        return scores

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:  # noqa: ARG002 - Lightning's signature
        """One batch of training."""
        return self._step("train", *batch)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """One batch of validation."""
        self._step("val", *batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def _step(self, split: str, images: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
        scores = self(images)
        loss = functional.cross_entropy(scores, digits)
        accuracy = (scores.argmax(dim=1) == digits).float().mean()
        self.log(f"{split}_loss", loss)
        self.log(f"{split}_acc", accuracy, prog_bar=split == "val")
        return loss


def digits_loaders(batch_size: int = 64) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Four fifths of the 1797 images to train on, one fifth to validate on, each digit in the same share of both."""
    pixels, digits = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    parts = train_test_split(images, torch.tensor(digits), test_size=0.2, stratify=digits, random_state=0)
    train_images, val_images, train_digits, val_digits = parts
    train = DataLoader(TensorDataset(train_images, train_digits), batch_size=batch_size, shuffle=True)
    return train, DataLoader(TensorDataset(val_images, val_digits), batch_size=len(val_digits))


def run_demo(*, strict: bool, runs: Path, deploy: Path, epochs: int, seed: int) -> Decision:
    """Train, judge, export or explain, and say what to look at next.

    Args:
        strict: ask for more than the net can reach.
        runs: the store.
        deploy: the deploy root.
        epochs: passes through the training data.
        seed: of weights and batches.
    """
    console = Console(highlight=False)
    thresholds = STRICT if strict else REACHABLE
    console.print(f"\nA small convolutional net learns 1797 handwritten digits in {epochs} epochs.")
    console.print(f"It is deployed if {' and '.join(thresholds)}.\n")
    record = MetricsCallback(runs, run_name="digits")
    gate = GateCallback(thresholds, dirpath=deploy, model_name="digits")
    with _quiet(), _one_thread():
        pl.seed_everything(seed, verbose=False)
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            enable_model_summary=False,
            callbacks=[record, ModelCheckpoint(runs.parent / "checkpoints", monitor="val_acc", mode="max"), gate],
        )
        trainer.fit(DigitsNet(), *digits_loaders())
    assert record.run_dir is not None
    assert gate.decision is not None
    _say_what_next(console, gate.decision, record.run_dir)
    return gate.decision


def _say_what_next(console: Console, decision: Decision, run_dir: Path) -> None:
    where = () if str(run_dir.parent) == "runs" else ("--root", shown_path(run_dir.parent))
    console.print("\n  Next", style="bold")
    for label, arguments in (
        ("the curves", ("show", "latest", *where)),
        ("judge again", ("gate", "latest", "-t", "val_acc >= 0.99", *where)),
        ("all runs", ("runs", *where[1:])),
        *([("improve", ("demo", "--strict"))] if decision.verdict == "deploy" else [("explain", ("report", "latest", *where))]),
    ):
        console.print(labelled(label, command_line("fitgate", *arguments)), crop=False)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for the arithmetic: a net this small is many times slower on several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing but the progress bar: no tips, no notes on hardware, no advice on workers."""
    levels = {name: logging.getLogger(name).level for name in _LIGHTNING_LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning|torch")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
