"""Two processes: what is judged is of all ranks together, or of ranks that are known to agree."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = """
import json, os, sys
from pathlib import Path
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader, TensorDataset
from fitgate import Threshold
from fitgate.callbacks import GateCallback, MetricsCallback
from tests.callbacks._distributed_fit import COLLECTIVES
from tests.callbacks._gated import Scripted, best

rank = int(os.environ["RANK"])
CONFIDENT = [Threshold("accuracy", ">=", 0.5, confidence=0.9)]


class Plain(Scripted):
    def validation_step(self, batch, batch_idx):
        pass


class Counted(Plain):
    right = staticmethod(lambda batch: torch.full_like(batch[1], rank == 0))  # rank 0's share is all right, rank 1's all wrong

    def training_step(self, batch, batch_idx):
        logits = one_hot(batch[1], 3).float()
        return {"loss": cross_entropy(self(batch[0]), batch[1]), "logits": logits, "target": batch[1]}

    def validation_step(self, batch, batch_idx):
        guess = (batch[1] + 1 - self.right(batch)) % 3
        return {"logits": one_hot(guess, 3).float(), "target": batch[1]}


class FirstWrong(Counted):
    right = staticmethod(lambda batch: (batch[0][:, 0] > 0).long())  # sample 0, which the sampler repeats on rank 1, is wrong


class TrainEpoch(Scripted):
    synced, by_epoch = False, ((0.9, 0.1),) * 3

    def training_step(self, batch, batch_idx):
        value = self.by_epoch[self.current_epoch][rank]
        self.log("train_acc", value, on_step=False, on_epoch=True, sync_dist=self.synced)
        return super().training_step(batch, batch_idx)


class SyncedTrainEpoch(TrainEpoch):
    synced = True


class TrainEpochLater(TrainEpoch):
    # Alike in the first epoch and not in the last one, after a validation at the same step.
    by_epoch = ((0.9, 0.9), (0.9, 0.1))


class ByHand(Scripted):
    ranks = (0, 1)

    def on_validation_epoch_end(self):
        ours = next(c for c in self.trainer.callbacks if isinstance(c, MetricsCallback))
        if not self.trainer.sanity_checking and rank in self.ranks:
            ours.log_metric("bleu", 0.9 if self.ranks == (0, 1) else 0.8)


class ByHandOnRankZero(ByHand):
    ranks = (0,)


class ByHandUnlike(ByHand):
    def on_validation_epoch_end(self):
        ours = next(c for c in self.trainer.callbacks if isinstance(c, MetricsCallback))
        ours.log_metric("bleu", 0.9 if rank == 0 else 0.2)


class Talk(pl.Callback):
    # How often training steps make ranks wait for each other in Python: DDP's own gradients don't pass through here.
    words, originals = 0, {}

    def on_train_epoch_start(self, trainer, module):
        self.originals = {name: getattr(torch.distributed, name) for name in COLLECTIVES}
        for name, original in self.originals.items():
            setattr(torch.distributed, name, self.counted(original))

    def on_validation_start(self, trainer, module):
        while trainer.state.fn == "fit" and not trainer.sanity_checking and self.originals:
            setattr(torch.distributed, *self.originals.popitem())

    def counted(self, original):
        def call(*args, **options):
            self.words += 1
            return original(*args, **options)

        return call


def rows(n):
    return DataLoader(TensorDataset(torch.arange(4.0 * n).reshape(n, 4), torch.arange(n) % 3), batch_size=4)


keys = ("logits", "target")
fits = {
    "counted": (Counted, ["accuracy >= 0.8"], keys, 1),
    "confident": (Counted, CONFIDENT, keys, 1),
    "padded": (FirstWrong, CONFIDENT, keys, 1),
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


def make_trainer(root, gate, epochs, *callbacks, accuracy=None):
    talk = Talk()
    callbacks = [MetricsCallback(root / "runs", accuracy=accuracy), *([gate] if gate else []), *callbacks, talk]
    quiet = {"logger": False, "enable_checkpointing": len(callbacks) > 3, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(accelerator="cpu", strategy="ddp", devices=2, max_epochs=epochs, callbacks=callbacks, **quiet), talk


def came_to(gate):
    (check,) = gate.decision.checks
    return {"verdict": gate.decision.verdict, "reasons": gate.decision.reasons, "value": check.value, "n": check.n}


trainer, talk = make_trainer(Path(sys.argv[1]) / "ungated", None, 1)
trainer.fit(Scripted(), rows(20), rows(20))
lightnings_own = talk.words
found = {}
for name, (kind, thresholds, accuracy, epochs) in fits.items():
    root = Path(sys.argv[1]) / name
    gate = GateCallback(thresholds, dirpath=root / "deploy", model_name="net", formats=["safetensors"])
    trainer, talk = make_trainer(root, gate, epochs, accuracy=accuracy)
    trainer.fit(kind(), rows(20), rows(21 if name == "padded" else 20))
    found[name] = {**came_to(gate), "words": talk.words - epochs * lightnings_own}
    if name == "padded":
        trainer.validate(kind(), rows(21), verbose=False)

# Stopped amid its second epoch, and gone on with; the best checkpoint is from before.
root = Path(sys.argv[1]) / "resumed"
script, saves = (0.9, 0.6, 0.5), ModelCheckpoint(root / "steps", every_n_train_steps=4, save_top_k=-1, filename="{step}")
trainer, _ = make_trainer(root, None, 2, best(root), saves)
trainer.fit(Scripted(script), rows(20), rows(20))
gate = GateCallback(["val_acc >= 0.8"], dirpath=root / "deploy", model_name="net", checkpoint=(keeps := best(root)))
trainer, _ = make_trainer(root, gate, 3, keeps)
trainer.fit(Scripted(script), rows(20), rows(20), ckpt_path=root / "steps" / "step=4.ckpt", weights_only=False)
found["resumed"] = came_to(gate)
(Path(sys.argv[1]) / f"rank{rank}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fifteen fits on two processes, and what both ranks ended in."""
    root = tmp_path_factory.mktemp("ranks")
    (root / "script.py").write_text(_SCRIPT)
    top = Path(__file__).parents[2]
    paths = [top, *[path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path], top / "src", top / "callbacks"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(root / "script.py"), str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=110)
    files = [root / "rank0.json", root / "rank1.json"]
    assert all(file.exists() for file in files), done.stderr[-3000:]
    zero, one = (json.loads(file.read_text()) for file in files)
    assert zero == one
    return dict(zero)


def test_a_counted_accuracy_is_that_of_all_ranks(found: dict[str, Any]) -> None:
    """All right on rank 0 and all wrong on rank 1 is a half, of as many samples as the bound rests on."""
    assert found["counted"]["verdict"] == "improve"
    assert found["counted"]["value"] == 0.5
    assert (found["confident"]["value"], found["confident"]["n"]) == (0.5, 20)


def test_what_the_sampler_repeats_is_counted_once(found: dict[str, Any]) -> None:
    """Of 21 samples, of which the first is wrong and given to both ranks, 20 are right."""
    assert (found["padded"]["value"], found["padded"]["n"]) == (20 / 21, 21)


@pytest.mark.parametrize("name", ["train_epoch", "train_epochs", "train_epoch_later"])
def test_an_unsynced_training_metric_is_not_judged(found: dict[str, Any], name: str) -> None:
    """Also where a validation came at the same step, before the epoch's value was there."""
    assert found[name]["reasons"] == ["ranks_disagree: train_acc is 0.9 on rank 0, 0.1 on rank 1; log it with sync_dist=True"]


def test_a_synced_training_metric_is_judged(found: dict[str, Any]) -> None:
    """The same, averaged."""
    assert found["synced"]["verdict"] == "deploy"
    assert found["synced"]["value"] == pytest.approx(0.5)


def test_the_loss_that_a_step_returns_is_each_ranks_own(found: dict[str, Any]) -> None:
    """Lightning keeps it nowhere; what rank 0 recorded of it says nothing of the other's share."""
    (reason,) = found["loss"]["reasons"]
    assert reason.startswith("ranks_disagree: loss is ")


def test_values_logged_by_hand_are_compared_too(found: dict[str, Any]) -> None:
    """Alike on both they are judged; unlike, or on rank 0 alone, they are not."""
    assert found["by_hand"]["verdict"] == "deploy"
    assert found["by_hand_unlike"]["reasons"] == ["ranks_disagree: bleu is 0.9 on rank 0, 0.2 on rank 1; log it with sync_dist=True"]
    (reason,) = found["by_hand_on_rank_zero"]["reasons"]
    assert reason == "ranks_disagree: bleu is 0.8 on rank 0, nothing on rank 1; log it on every rank"


def test_of_what_nobody_recorded_nobody_knows_that_ranks_agree(found: dict[str, Any]) -> None:
    """No value is no agreement."""
    reasons = found["nobody"]["reasons"]
    assert reasons[0] == "ranks_disagree: no rank recorded val_ac in this fit, so nothing tells whether they agree on it"
    assert "did you mean val_acc" in reasons[1]


def test_a_checkpoint_from_before_a_resume_is_judged_by_what_ranks_agree_on_since(found: dict[str, Any]) -> None:
    """Gone on with amid an epoch, in a new process of each rank."""
    assert found["resumed"] == {"verdict": "deploy", "reasons": [], "value": pytest.approx(0.9), "n": None}


def test_training_steps_wait_for_no_other_rank(found: dict[str, Any]) -> None:
    """No more than in a fit without a gate: what ranks have is compared at the end, and counted together when a validation ends."""
    assert {name: ended["words"] for name, ended in found.items() if name != "resumed"} == dict.fromkeys(found.keys() - {"resumed"}, 0)
