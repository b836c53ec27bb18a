"""Fits on two ranks whose gates judge what ranks have together, or apart."""

from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader, TensorDataset

from fitgate import Threshold
from fitgate.callbacks import GateCallback, MetricsCallback
from tests.callbacks._distributed_fit import collectives_so_far
from tests.callbacks._gated import Scripted, best

CONFIDENT = [Threshold("accuracy", ">=", 0.5, confidence=0.9)]


class Plain(Scripted):
    """Logs nothing in validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        pass


class Counted(Plain):
    """Gives what an accuracy is counted from: rank 0's share is all right, rank 1's all wrong."""

    def right(self, batch: Any) -> torch.Tensor:
        """One for each sample that is guessed right."""
        return torch.full_like(batch[1], self.global_rank == 0)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": cross_entropy(self(batch[0]), batch[1]), "logits": one_hot(batch[1], 3).float(), "target": batch[1]}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        guess = (batch[1] + 1 - self.right(batch)) % 3
        return {"logits": one_hot(guess, 3).float(), "target": batch[1]}


class FirstWrong(Counted):
    """Sample 0, which the sampler repeats on rank 1, is wrong."""

    def right(self, batch: Any) -> torch.Tensor:
        """All but that one."""
        features: torch.Tensor = batch[0]
        return (features[:, 0] > 0).long()


class TrainEpoch(Scripted):
    """A training metric of each epoch, by rank."""

    synced: ClassVar[bool] = False
    by_epoch: ClassVar[tuple[tuple[float, float], ...]] = ((0.9, 0.1),) * 3

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        value = self.by_epoch[self.current_epoch][self.global_rank]
        self.log("train_acc", value, on_step=False, on_epoch=True, sync_dist=self.synced)
        return super().training_step(batch, batch_idx)


class SyncedTrainEpoch(TrainEpoch):
    """The same, averaged."""

    synced = True


class TrainEpochLater(TrainEpoch):
    """Alike in the first epoch and not in the last one, after a validation at the same step."""

    by_epoch = ((0.9, 0.9), (0.9, 0.1))


class ByHand(Scripted):
    """A value of one's own at the end of each validation, by rank; None for none."""

    bleu: ClassVar[tuple[float | None, float | None]] = (0.9, 0.9)

    def on_validation_epoch_end(self) -> None:
        ours = next(c for c in self.trainer.callbacks if isinstance(c, MetricsCallback))  # type: ignore[attr-defined]
        value = self.bleu[self.global_rank]
        if not self.trainer.sanity_checking and value is not None:
            ours.log_metric("bleu", value)


class ByHandOnRankZero(ByHand):
    """The other rank has none."""

    bleu = (0.8, None)


class ByHandUnlike(ByHand):
    """The other rank has another."""

    bleu = (0.9, 0.2)


class Talk(pl.Callback):
    """How many collectives the training batches take, Lightning's own included."""

    def __init__(self) -> None:
        self.words = 0
        self._before: int | None = None

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._before = collectives_so_far()

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and self._before is not None:
            self.words += collectives_so_far() - self._before
            self._before = None


KEYS = ("logits", "target")
FITS: dict[str, tuple[type[Scripted], list[Any], Any, int]] = {
    "counted": (Counted, ["accuracy >= 0.8"], KEYS, 1),
    "confident": (Counted, CONFIDENT, KEYS, 1),
    "padded": (FirstWrong, CONFIDENT, KEYS, 1),
    "train_epoch": (TrainEpoch, ["train_acc >= 0.8"], None, 1),
    "train_epochs": (TrainEpoch, ["train_acc >= 0.8"], None, 3),
    "train_epoch_later": (TrainEpochLater, ["train_acc >= 0.8"], None, 2),
    "synced": (SyncedTrainEpoch, ["train_acc >= 0.4"], None, 2),
    "loss": (Plain, ["loss <= 100"], None, 1),
    "by_hand": (ByHand, ["bleu >= 0.8"], None, 1),
    "by_hand_on_rank_zero": (ByHandOnRankZero, ["bleu >= 0.8"], None, 1),
    "by_hand_unlike": (ByHandUnlike, ["bleu >= 0.8"], None, 1),
    "nobody": (Scripted, ["val_ac >= 0.8"], None, 1),
}


def _rows(count: int) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(4.0 * count).reshape(count, 4), torch.arange(count) % 3), batch_size=4)


def _trainer(root: Path, gate: GateCallback | None, epochs: int, *others: pl.Callback, accuracy: Any = None) -> tuple[pl.Trainer, Talk]:
    talk = Talk()
    trainer = pl.Trainer(
        accelerator="cpu",
        strategy="ddp",
        devices=2,
        max_epochs=epochs,
        callbacks=[MetricsCallback(root / "runs", accuracy=accuracy), *([gate] if gate else []), *others, talk],
        logger=False,
        enable_checkpointing=bool(others),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return trainer, talk


def _came_to(gate: GateCallback) -> dict[str, Any]:
    assert gate.decision is not None
    (check,) = gate.decision.checks
    return {"verdict": gate.decision.verdict, "reasons": gate.decision.reasons, "value": check.value, "n": check.n}


def _gone_on_with(root: Path) -> dict[str, Any]:
    """Stopped amid its second epoch, and gone on with; the best checkpoint is from before."""
    script, saves = (0.9, 0.6, 0.5), ModelCheckpoint(root / "steps", every_n_train_steps=4, save_top_k=-1, filename="{step}")
    trainer, _ = _trainer(root, None, 2, best(root), saves)
    trainer.fit(Scripted(script), _rows(20), _rows(20))
    gate = GateCallback(["val_acc >= 0.8"], dirpath=root / "deploy", model_name="net", checkpoint=(keeps := best(root)))
    trainer, _ = _trainer(root, gate, 3, keeps)
    trainer.fit(Scripted(script), _rows(20), _rows(20), ckpt_path=root / "steps" / "step=4.ckpt", weights_only=False)
    return _came_to(gate)


def main(root: Path) -> dict[str, Any]:
    """What one rank does; gives by name what its fit ended in."""
    lightnings_own, found = {}, {}
    for epochs in {epochs for *_, epochs in FITS.values()}:
        trainer, talk = _trainer(root / f"ungated{epochs}", None, epochs)
        trainer.fit(Scripted(), _rows(20), _rows(20))
        lightnings_own[epochs] = talk.words
    for name, (kind, thresholds, accuracy, epochs) in FITS.items():
        gate = GateCallback(thresholds, dirpath=root / name / "deploy", model_name="net", formats=["safetensors"])
        trainer, talk = _trainer(root / name, gate, epochs, accuracy=accuracy)
        trainer.fit(kind(), _rows(20), _rows(21 if name == "padded" else 20))
        found[name] = {**_came_to(gate), "words": talk.words - lightnings_own[epochs]}
        if name == "padded":
            trainer.validate(kind(), _rows(21), verbose=False)
    found["resumed"] = _gone_on_with(root / "resumed")
    return found
