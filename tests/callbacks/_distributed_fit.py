"""A fit on two ranks, as a script: started by Trainer's own launcher, by torchrun or by spawning.

Usage: ROOT STRATEGY RANKS [RANK_THAT_DIES | "blocked" | "raises"]. Leaves ROOT/rank<r>.json beside the store in ROOT/runs.
"""

import json
import logging
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from fitgate.callbacks import MetricsCallback


class Ranked(pl.LightningModule):
    """Logs which rank it is, a value that ranks agree on, and one that they average."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(4, 3)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("rank", float(self.global_rank), on_step=True, on_epoch=True)
        self.log("synced", float(self.global_rank), on_step=False, on_epoch=True, sync_dist=True)
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_rank", float(self.global_rank), on_step=True, on_epoch=True)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_rank", float(self.global_rank), on_step=True, on_epoch=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class CountsCollectives(pl.Callback):
    """How many collectives training and validation take, Lightning's own included."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._before = 0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._before = collectives_so_far()

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._count("train")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._count("validate")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._count("train")

    def _count(self, where: str) -> None:
        if not self._before:  # in the sanity check
            return
        number = collectives_so_far()
        self.counts[where] += number - self._before
        self._before = number


def collectives_so_far() -> int:
    """How many, of whatever kind, this process has taken part in: as the process group counts them."""
    group: Any = torch.distributed.distributed_c10d._get_default_group()  # noqa: SLF001 - there is no public way
    return int(group._get_sequence_number_for_group())  # noqa: SLF001


class Dies(pl.Callback):
    """As if the machine of one rank had lost its power."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank == self._rank and trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class Raises(pl.Callback):
    """An error on every rank in the second epoch."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            message = "on purpose"
            raise RuntimeError(message)


class Blocks(pl.Callback):
    """Something stands where rank 1 is going to write; rank 0 can go on."""

    def __init__(self, ours: MetricsCallback) -> None:
        self._ours = ours

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_rank == 1:
            assert self._ours.run_dir is not None
            (self._ours.run_dir / "metrics" / "a000-r001-000000.parquet").mkdir(parents=True)


def _fit(strategy: str, *callbacks: pl.Callback, ckpt_path: Path | None = None, **options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": 2, "strategy": strategy, "max_epochs": 2, **quiet, **options}
    trainer = pl.Trainer(**settings, callbacks=list(callbacks))
    trainer.fit(Ranked(), _loader(), _loader(), ckpt_path=ckpt_path)
    return trainer


def _loader(samples: int = 24) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(samples, 4), torch.arange(samples) % 3), batch_size=4)


class Reports(pl.Callback):
    """Leaves a note of what this rank knows: with ddp_spawn nothing else comes back."""

    def __init__(self, root: Path, ours: MetricsCallback, *counts: CountsCollectives) -> None:
        self._root, self._ours, self._counts = root, ours, counts

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        note = {"run_id": self._ours.run_id, "pid": os.getpid(), "collectives": [c.counts for c in self._counts]}
        (self._root / f"rank{trainer.global_rank}.json").write_text(json.dumps(note))


def main(root: Path, strategy: str, ranks: Any, *trouble: str) -> None:
    """Fit with our callback; by Trainer's own launcher first without, to count what Lightning says alone."""
    torch.set_num_threads(1)
    ours, counts, alone = MetricsCallback(root / "runs", ranks=ranks, flush_every_s=0.1), CountsCollectives(), CountsCollectives()
    if strategy == "ddp" and not trouble:
        _fit(strategy, alone)
    troubles = [Blocks(ours) if what == "blocked" else Raises() if what == "raises" else Dies(int(what)) for what in trouble]
    _fit(strategy, ours, counts, Reports(root, ours, alone, counts), *troubles)


def fails_to_open(root: Path, ranks: Any, unreadable: bool) -> str:  # noqa: FBT001 - it is called by another process
    """What a fit ends with where rank 1's own folder can't be written, or the run's run.json can't be read."""
    torch.set_num_threads(1)
    (root / "file").touch()
    on_rank_1 = os.environ["RANK"] == "1"
    ours = MetricsCallback(root / "file" if on_rank_1 and not unreadable else root / "runs", ranks=ranks)
    try:
        trainer = _fit("ddp", ours)
        if unreadable:
            assert ours.run_dir is not None
            (ours.run_dir / "run.json").write_text("?")
            trainer.fit_loop.max_epochs = 3
            trainer.fit(Ranked(), _loader(), _loader())
    except Exception as error:  # noqa: BLE001 - to be compared
        return str(error)
    return "fitted"


def goes_on_amid_an_epoch(root: Path) -> float:
    """What the second epoch's synced value is to the callbacks of a fit that was ended after one batch of it, and gone on with."""
    torch.set_num_threads(1)
    options: dict[str, Any] = {"enable_checkpointing": True, "val_check_interval": 1}
    for ckpt_path, steps in ((None, 4), (root / "last.ckpt", -1)):
        saves = ModelCheckpoint(root, save_last=True, save_on_train_epoch_end=False)
        trainer = _fit("ddp", MetricsCallback(root / "runs", ranks="all"), saves, ckpt_path=ckpt_path, max_steps=steps, **options)
    return float(trainer.callback_metrics["synced"])


class OnOneRank(pl.LightningDataModule):
    """Nothing to validate and to test on rank 1."""

    def __init__(self) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def val_dataloader(self) -> Any:
        return _loader(0 if self.trainer.global_rank else 24)  # type: ignore[union-attr]

    test_dataloader = val_dataloader


def evaluates_on_one_rank(root: Path, ranks: Any) -> list[str]:
    """What a validation and a test come to on this rank, where the other leaves them out."""
    torch.set_num_threads(1)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    ours = MetricsCallback(root / "runs", ranks=ranks)
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", use_distributed_sampler=False, callbacks=[ours], **quiet)
    return [str(each(Ranked(), datamodule=OnOneRank(), verbose=False)) for each in (trainer.validate, trainer.test)]


def records_apart(root: Path) -> list[str]:
    """What is said where each rank has a folder of its own, as on machines that share none."""
    torch.set_num_threads(1)
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("fitgate").addHandler(handler)
    _fit("ddp", MetricsCallback(root / os.environ["RANK"], ranks="all"))
    return said


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
