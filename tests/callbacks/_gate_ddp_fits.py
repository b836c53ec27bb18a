"""Fits with a gate on two ranks, one after the other."""

import os
from pathlib import Path
from typing import Any, NoReturn

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from fitgate import Threshold
from tests.callbacks import _gated
from tests.callbacks._gated import Scripted, best, fit
from tests.registry._versions import publish_version

NAMES = ("deploy", "fails", "unpicklable", "full", "unsynced", "synced", "padded", "moved", "changed", "again", "finished", "refused")


class Unpicklable(Exception):  # noqa: N818 - it says what is wrong with it
    """Loses one of its arguments on the way to another process."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class Fails(Scripted):
    """Takes no checkpoint."""

    def on_load_checkpoint(self, checkpoint: Any) -> None:  # called on the copy that is exported
        message = "no export today"
        raise ValueError(message)


class Publishes(pl.Callback):
    """Another publisher, between the verdict and the publication."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            publish_version(self._root / "deploy" / "net", 0.95)


class Changes(pl.Callback):
    """Other weights, once all is validated."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad():
            pl_module.net[0].weight.zero_()


class Unsynced(Scripted):
    """Each rank has its own accuracy."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", 0.9 if self.global_rank == 0 else 0.1)


class Synced(Scripted):
    """The ranks' accuracies are averaged."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", 0.98 if self.global_rank == 0 else 0.9, sync_dist=True)


def _unpicklable(*_: Any, **__: Any) -> NoReturn:
    one, two = "this", "that"
    raise Unpicklable(one, two)


def _full(*_: Any, **__: Any) -> NoReturn:
    message = "the disk is full"
    raise OSError(message)


def _rows_that_are_padded() -> DataLoader[Any]:
    """Twenty-one on two ranks: the sampler repeats one, so that both have eleven."""
    return DataLoader(TensorDataset(torch.zeros(21, 4), torch.arange(21) % 3), batch_size=4)


def _one_fit(root: Path, name: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    others: list[pl.Callback] = []
    keeper: list[pl.Callback] = [best(root)]
    if name == "padded":
        options["thresholds"] = [Threshold("val_acc", ">=", 0.5, confidence=0.95)]
    if name == "moved":
        options["thresholds"] = ["val_acc >= 0.5", "val_acc >= champion"]
        others = [Publishes(root)]
    if name == "changed":
        keeper, others = [], [Changes()]
    if name == "finished":  # a whole fit, and then its end again: with a sanity check, which a fit that goes on has too
        _, trainer = fit(root, best(root, "first"), gate={"formats": ["safetensors"]}, strategy="ddp", devices=2)
        trainer.save_checkpoint(root / "end.ckpt")
        options["ckpt_path"] = root / "end.ckpt"
    if name == "refused":
        keeper = [best(root, mode="min")]
    kind: type[Scripted] = {"fails": Fails, "unsynced": Unsynced, "synced": Synced}.get(name, Scripted)
    try:
        gate, _ = fit(root, *keeper, *others, module=kind(), gate={"formats": ["safetensors"]}, strategy="ddp", devices=2, **options)
        assert gate.decision is not None
        check = gate.decision.checks[0]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other rank is to have the same
        return {"error": type(error).__name__, "message": str(error)}
    found = {"verdict": gate.decision.verdict, "reasons": gate.decision.reasons, "version": gate.version, "value": check.value}
    return {**found, "n": check.n} if name == "padded" else found


def main(root: Path) -> dict[str, Any]:
    """What one rank does; gives by name what its fit ended in."""
    rank, loader, found = int(os.environ["RANK"]), _gated.loader, {}
    for name in NAMES:
        with pytest.MonkeyPatch.context() as patch:
            if name == "unpicklable" and rank == 0:
                patch.setattr("fitgate_callbacks.gate.judge_and_stage", _unpicklable)
            if name == "full":
                patch.setattr("fitgate_callbacks.gate.release", _full)
            patch.setattr(_gated, "loader", _rows_that_are_padded if name == "padded" else loader)
            found[name] = _one_fit(root / name, name)
    return found
