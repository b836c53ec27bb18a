"""The trackers that need nothing installed: a bare fit, Lightning's own two, ours, and a naive one."""

from __future__ import annotations

import csv
import threading
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks.trackers._tracker import Tracker

__all__ = ["BARE", "BUILTIN", "JUDGED", "REFERENCE"]

BARE = "bare fit"
REFERENCE = "CSVLogger"
JUDGED = "fitgate, Parquet + TensorBoard"


def _csv_logger(folder: Path) -> dict[str, Any]:
    from pytorch_lightning.loggers import CSVLogger

    return {"logger": CSVLogger(str(folder)), "log_every_n_steps": 1}


def _count_csv(folder: Path) -> int:
    (path,) = folder.rglob("metrics.csv")
    with path.open(newline="") as file:
        return sum(bool(text) for row in csv.DictReader(file) for name, text in row.items() if name not in ("step", "epoch"))


def _tensorboard_logger(folder: Path) -> dict[str, Any]:
    from pytorch_lightning.loggers import TensorBoardLogger

    return {"logger": TensorBoardLogger(str(folder)), "log_every_n_steps": 1}


def _count_events(folder: Path) -> int:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (path,) = folder.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(path.parent), size_guidance={"scalars": 0}).Reload()
    return sum(len(events.Scalars(tag)) for tag in events.Tags()["scalars"] if tag not in ("epoch", "hp_metric"))


def _metrics_callback(folder: Path, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - MetricsCallback's own
    """Ours, in the folder."""
    from fitgate.callbacks import MetricsCallback

    return {"callbacks": [MetricsCallback(folder, **options)]}


def _count_parquet(folder: Path) -> int:
    import pyarrow.dataset as ds

    return int(ds.dataset([str(path) for path in folder.glob("*/metrics/*.parquet")]).count_rows())


def _count_both(folder: Path) -> int:
    points, mirrored = _count_parquet(folder), _count_events(folder)
    if points != mirrored:
        message = f"{points} points in Parquet, {mirrored} in TensorBoard"
        raise ValueError(message)
    return points


class NaiveCallback(pl.Callback):
    """What one would write first: read `callback_metrics`, keep the tensors, stack them in a thread.

    It writes one array a second and no run, names or times; here to show what the hook itself costs when it
    uses the public way to read what was logged.

    Args:
        folder: where the arrays go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: list[tuple[int, list[str], list[torch.Tensor]]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._written = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - Lightning's signature
        """Start the thread."""
        self._thread.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:  # noqa: ANN401 - Lightning's signature
        """Keep this step's tensors."""
        metrics = trainer.callback_metrics
        self._kept.append((trainer.global_step, list(metrics), list(metrics.values())))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - Lightning's signature
        """Write the rest."""
        self._done.set()
        self._thread.join()
        self._write()

    def _run(self) -> None:
        while not self._done.wait(1.0):
            self._write()

    def _write(self) -> None:
        count = len(self._kept)
        kept, self._kept[:count] = self._kept[:count], []
        if kept:
            torch.save(torch.stack([value for _, _, values in kept for value in values]), self._folder / f"{self._written}.pt")
            self._written += 1


def _count_naive(folder: Path) -> int:
    return sum(len(torch.load(path)) for path in folder.glob("*.pt"))


BUILTIN = (
    Tracker(name=BARE, build=lambda _: {}),
    Tracker(name=REFERENCE, build=_csv_logger, count=_count_csv, package="pytorch-lightning"),
    Tracker(
        name=JUDGED,
        build=_metrics_callback,
        count=_count_both,
        package="fitgate",
    ),
    Tracker(
        name="fitgate, Parquet",
        build=lambda folder: _metrics_callback(folder, tensorboard=False),
        count=_count_parquet,
        package="fitgate",
    ),
    Tracker(name="naive callback", build=lambda folder: {"callbacks": [NaiveCallback(folder)]}, count=_count_naive),
    Tracker(name="TensorBoardLogger", build=_tensorboard_logger, count=_count_events, package="tensorboard"),
)
"""In the order of the table. The first is what all others are measured above, the second what they are compared with."""
