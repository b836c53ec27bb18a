"""The same net through LightningCLI: both callbacks are configured in YAML.

    python examples/digits_cli.py fit --config examples/digits_cli.yaml

Needs jsonargparse beside the demo's data: pip install ".[demo]" "jsonargparse[signatures]".
"""

import pytorch_lightning as pl
import torch
from digits import DigitsNet, digits_splits  # the file beside this one
from pytorch_lightning.cli import LightningCLI
from torch.utils.data import DataLoader


class Digits(pl.LightningDataModule):
    """scikit-learn's handwritten digits."""

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.train, self.val = digits_splits()

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return DataLoader(self.val, batch_size=len(self.val))


if __name__ == "__main__":
    torch.set_num_threads(1)  # a net this small is slower on several threads that wait for each other
    LightningCLI(DigitsNet, Digits)
