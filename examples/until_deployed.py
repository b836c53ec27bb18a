"""A net that fails its gate at first and ends deployed, with nobody's hand between: each report changes the next round.

    python examples/until_deployed.py

It begins with one channel and a learning rate a hundred times too small. A report suggests changes of hyperparameters that
the run has, each with a factor; this loop takes them all. Needs scikit-learn for the data: pip install ".[demo]".
"""

from typing import Any

import pytorch_lightning as pl
import torch
from digits import DigitsNet, digits_splits
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback

settings: dict[str, float] = {"width": 1, "lr": 3e-5, "max_epochs": 10}


def build(number: int, report: dict[str, Any] | None) -> tuple[Any, Any, Any]:
    """Trainer, module and data of one round."""
    for change in report["suggestions"] if report else []:
        if change["parameter"] in settings:
            settings[change["parameter"]] *= change["factor"]
    pl.seed_everything(number, verbose=False)
    train, val = digits_splits()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=round(settings["max_epochs"]),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            MetricsCallback("runs", run_name=f"round-{number}"),
            ModelCheckpoint(monitor="val_acc", mode="max"),
            GateCallback(["val_acc >= 0.95", "val_loss <= 0.2"], dirpath="deploy", model_name="digits"),
        ],
    )
    module = DigitsNet(width=round(settings["width"]), lr=settings["lr"])
    return trainer, module, (DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=len(val)))


if __name__ == "__main__":
    torch.set_num_threads(1)  # a net this small is slower on several threads that wait for each other
    done = fitgate.fit_until_deployed(build, max_rounds=8)
    print("deployed" if done.deployed else "not deployed", "after", len(done.rounds), "rounds")
