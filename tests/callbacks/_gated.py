"""What the gate's tests share: a small net whose validation metrics come from a script, and a fit with both callbacks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate.cli import app

# Two threads that wait for each other cost such a small net far more than they save, most of all on a busy machine.
torch.set_num_threads(1)

ROWS = 20
BATCH = 4
STEPS = ROWS // BATCH


class Scripted(pl.LightningModule):
    """Trains a little; the validation accuracy of each epoch is scripted, so that best and last can differ."""

    def __init__(self, script: Sequence[float] = (0.7, 0.9, 0.6), data: str | Path = Path("somewhere")) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.script = tuple(script)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(features)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])
        self.log("val_acc", self.script[min(self.current_epoch, len(self.script) - 1)])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader() -> DataLoader[Any]:
    """Twenty samples of four numbers in three classes, the same every time."""
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(ROWS, 4, generator=generator), torch.arange(ROWS) % 3), batch_size=BATCH)


def best(tmp_path: Path, folder: str = "ckpt", **options: Any) -> ModelCheckpoint:
    """Keeps the best by the scripted accuracy."""
    return ModelCheckpoint(tmp_path / folder, **{"monitor": "val_acc", "mode": "max", **options})


def make_trainer(tmp_path: Path, gate: GateCallback | None, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    """A quiet trainer with MetricsCallback, the gate first, then the given callbacks."""
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "max_epochs": 3, "logger": False, **options}
    return pl.Trainer(
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        callbacks=[*([gate] if gate else []), MetricsCallback(tmp_path / "runs"), *callbacks],
        **settings,
    )


def fit(
    tmp_path: Path,
    *callbacks: pl.Callback,
    thresholds: Sequence[Any] = ("val_acc >= 0.8",),
    module: Any = None,
    gate: dict[str, Any] | None = None,
    ckpt_path: Any = None,
    **options: Any,
) -> tuple[GateCallback, pl.Trainer]:
    """Fit the scripted net under a gate."""
    callback = GateCallback(thresholds, dirpath=tmp_path / "deploy", model_name="net", **(gate or {}))
    trainer = make_trainer(tmp_path, callback, *callbacks, **options)
    trainer.fit(module if module is not None else Scripted(), loader(), loader(), ckpt_path=ckpt_path, weights_only=False)
    return callback, trainer


def best_path(trainer: pl.Trainer) -> Path:
    """The best checkpoint of a trainer with one ModelCheckpoint."""
    callback = trainer.checkpoint_callback
    assert isinstance(callback, ModelCheckpoint)
    return Path(callback.best_model_path)


def latest(tmp_path: Path) -> fitgate.Run:
    """The run that was fitted last."""
    return fitgate.Store(str(tmp_path / "runs")).latest()


def gate_file(tmp_path: Path) -> dict[str, Any]:
    """gate.json of the latest run."""
    content: dict[str, Any] = json.loads((tmp_path / "runs" / latest(tmp_path).id / "gate.json").read_bytes())
    return content


def judged_again(tmp_path: Path) -> dict[str, Any]:
    """What `fitgate gate` says of the latest run: what its gate.json says, by rights."""
    done = CliRunner().invoke(app, ["gate", "latest", "--root", str(tmp_path / "runs"), "--json"])
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def manifest(tmp_path: Path, version: int = 1) -> dict[str, Any]:
    """manifest.json of a version."""
    content: dict[str, Any] = json.loads((tmp_path / "deploy" / "net" / str(version) / "manifest.json").read_bytes())
    return content


def published(tmp_path: Path) -> list[str]:
    """What lies in the model's folder, but for the lock."""
    folder = tmp_path / "deploy" / "net"
    return sorted(p.name for p in folder.iterdir() if p.name != ".lock") if folder.exists() else []
