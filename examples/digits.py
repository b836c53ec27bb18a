"""A net on handwritten digits, recorded at every step, judged at the end of fit, and exported if it is good enough.

    python examples/digits.py

Needs scikit-learn for the data: pip install ".[demo]".
"""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from fitgate.callbacks import GateCallback, MetricsCallback


class DigitsNet(pl.LightningModule):
    """Takes images of shape (N, 1, 8, 8), gives scores of shape (N, 10)."""

    def __init__(self, width: int = 16, lr: float = 3e-3) -> None:
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
            nn.Linear(8 * width, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.net(images)
        return scores

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self._step("train", *batch)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        self._step("val", *batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def _step(self, split: str, images: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
        scores = self(images)
        loss = functional.cross_entropy(scores, digits)
        self.log_dict({f"{split}_loss": loss, f"{split}_acc": (scores.argmax(dim=1) == digits).float().mean()})
        return loss


def digits_splits() -> tuple[TensorDataset, TensorDataset]:
    """Four fifths to train on, one fifth to validate on."""
    pixels, digits = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    train_images, val_images, train_digits, val_digits = train_test_split(
        images, torch.tensor(digits), test_size=0.2, stratify=digits, random_state=0
    )
    return TensorDataset(train_images, train_digits), TensorDataset(val_images, val_digits)


def main() -> None:
    pl.seed_everything(0)
    torch.set_num_threads(1)  # a net this small is slower on several threads that wait for each other
    train, val = digits_splits()
    gate = GateCallback(["val_acc >= 0.95", "val_loss <= 0.2"], dirpath="deploy", model_name="digits")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=15,
        logger=False,  # MetricsCallback records; the default logger would write a second copy
        callbacks=[MetricsCallback("runs", run_name="digits"), ModelCheckpoint(monitor="val_acc", mode="max"), gate],
    )
    trainer.fit(DigitsNet(), DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=len(val)))

    assert gate.decision is not None
    print(f"verdict: {gate.decision.verdict}, version: {gate.version}")


if __name__ == "__main__":
    main()
