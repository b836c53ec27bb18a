"""What the gate takes for evidence in a real fit, and what it doesn't."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy, one_hot
from typer.testing import CliRunner

from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate.cli import app
from tests.callbacks._gated import Scripted, best, fit, latest, loader, make_trainer, published


class RightInTrainingOnly(Scripted):
    """Knows every training sample by heart and gets every validation sample wrong."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("acc", 1.0)
        return {"loss": cross_entropy(self(batch[0]), batch[1]), "logits": one_hot(batch[1], 3).float(), "target": batch[1]}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("acc", 0.0)
        return {"logits": one_hot((batch[1] + 1) % 3, 3).float(), "target": batch[1]}


def test_a_counted_accuracy_is_never_that_of_a_training_batch(tmp_path: Path) -> None:
    """A fit that ends three steps after its last validation has no accuracy to ship on."""
    gate = GateCallback(["accuracy >= 0.9"], dirpath=tmp_path / "deploy", model_name="net")
    pl.Trainer(
        accelerator="cpu",
        max_steps=8,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[MetricsCallback(tmp_path / "runs", accuracy=("logits", "target")), gate],
    ).fit(RightInTrainingOnly(), loader(), loader())
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    (reason,) = gate.decision.reasons
    assert reason.endswith("not recorded for the judged weights: no validation at step 8; the nearest is at step 5")
    assert published(tmp_path) == []


def test_a_checkpoint_between_validations_has_no_value_of_what_both_stages_log(tmp_path: Path) -> None:
    """Saved every four steps, validated every five."""
    saves = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=4, save_top_k=-1)
    gate, _ = fit(tmp_path, saves, module=RightInTrainingOnly(), thresholds=["acc >= 0.9"])
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert "no validation at step 12; the nearest are at steps 10 and 15" in gate.decision.reasons[0]


class JudgesMeanwhile(pl.Callback):
    """Judges the run while it trains, as somebody else would from its files."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path = tmp_path
        self.found: Any = None

    def on_train_batch_end(self, *_: Any) -> None:
        if self.found is None:
            run = latest(self._tmp_path)
            self.found = CliRunner().invoke(app, ["gate", run.id, "-t", "val_acc >= 0.8", "--root", str(self._tmp_path / "runs")])


def test_a_resumed_fit_is_not_judged_by_the_facts_of_the_one_before(tmp_path: Path) -> None:
    """While it runs, and so after a kill, exit code 1; at its end by its own."""
    _, before = fit(tmp_path, best(tmp_path, save_last=True), module=Scripted((0.9,)))
    assert latest(tmp_path).info.fit is not None
    checkpoint = before.checkpoint_callback
    assert isinstance(checkpoint, ModelCheckpoint)
    meanwhile = JudgesMeanwhile(tmp_path)
    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net")
    again = make_trainer(tmp_path, gate, best(tmp_path, "again"), meanwhile, max_epochs=5)
    again.fit(Scripted((0.9,)), loader(), loader(), ckpt_path=checkpoint.last_model_path, weights_only=False)
    assert meanwhile.found.exit_code == 1, meanwhile.found.output
    assert "has not ended: it is running" in meanwhile.found.stdout
    assert len(latest(tmp_path).info.attempts) == 2
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy"


def test_a_second_fit_of_the_same_trainer_begins_without_facts(tmp_path: Path) -> None:
    """It goes on in the run, whose first fit had ended."""
    _, trainer = fit(tmp_path, best(tmp_path), module=Scripted((0.9,)))
    seen = []

    class Looks(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(latest(tmp_path).info.fit)

    trainer.callbacks.append(Looks())  # type: ignore[attr-defined]
    trainer.fit_loop.max_epochs = 5
    trainer.fit(Scripted((0.9,)), loader(), loader())
    assert seen
    assert set(seen) == {None}
    assert latest(tmp_path).info.fit is not None
