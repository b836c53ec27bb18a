"""What the gate takes for evidence in a real fit, and what it doesn't."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from fitgate import Threshold
from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate.cli import app
from tests.callbacks._gated import Scripted, best, fit, gate_file, latest, loader, make_trainer, published


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


class EveryBatch(Scripted):
    """Logs a loss of each validation batch, so that its bound has something to rest on."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))


@pytest.mark.parametrize(
    ("thresholds", "allow", "code"),
    [
        (
            [
                Threshold("val_acc", ">=", 0.3, confidence=0.95),
                Threshold("val_loss", "<=", 9.0, confidence=0.9, kind="mean"),
                Threshold("val_acc", ">=", 0.99, warn=True),
                "val_acc >= champion",
                "artifact.size_mb <= 20",
            ],
            ("limit_val_batches",),
            0,
        ),
        ([Threshold("val_acc", ">=", 0.3, confidence=0.95), "artifact.parameters <= 10"], ("limit_val_batches",), 1),
        ([Threshold("val_acc", ">=", 0.99, confidence=0.95), "artifact.size_mb <= 20"], (), 1),
    ],
)
def test_a_stored_run_is_judged_again_as_in_its_fit(tmp_path: Path, thresholds: list[Any], allow: Any, code: int) -> None:
    """By its files alone: all of gate.json comes out again, with every value, bound and reason; also beside a live champion."""
    for round_, script in enumerate(((0.9,), (0.95,))):
        gate = GateCallback(thresholds, dirpath=tmp_path / "deploy", model_name="net", allow=allow)
        trainer = make_trainer(tmp_path, gate, best(tmp_path, str(round_)), limit_val_batches=10)
        validation = DataLoader(loader().dataset, batch_size=1)
        trainer.fit(EveryBatch(script), loader(), validation)
        written = gate_file(tmp_path)
        done = CliRunner().invoke(app, ["gate", "latest", "--root", str(tmp_path / "runs"), "--json"])
        assert done.exit_code == code, done.output
        assert json.loads(done.stdout) == written
        assert gate.decision is not None
        assert [check["bound"] for check in written["checks"]] == [check.bound for check in gate.decision.checks]
        assert written["champion"] == ({"val_acc": pytest.approx(0.9)} if round_ and code == 0 else None)


class Fails(pl.Callback):
    """Ends a fit in its second epoch."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            message = "no more"
            raise RuntimeError(message)


def test_a_fit_that_failed_is_judged_again_as_it_was(tmp_path: Path) -> None:
    """Never a deploy, and what was not exported was not measured."""
    with pytest.raises(RuntimeError, match="no more"):
        fit(tmp_path, best(tmp_path), Fails(), thresholds=["val_acc >= 0.5", "artifact.size_mb <= 20"])
    written = gate_file(tmp_path)
    assert written["reasons"] == ["failed: the fit ended in RuntimeError: no more"]
    done = CliRunner().invoke(app, ["gate", "latest", "--root", str(tmp_path / "runs"), "--json"])
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout) == written


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


class SpoiltLater(Scripted):
    """Its loss is NaN all through the third epoch, when the best weights are saved already."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        loss = loss * float("nan") if self.current_epoch == 2 else loss
        self.log("train_loss", loss)
        return loss


def test_a_deploy_says_that_its_training_was_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The judged weights are sound and ship; decision, gate.json, summary and `fitgate gate` tell which loss, where first, and how often."""
    gate, _ = fit(tmp_path, best(tmp_path), module=SpoiltLater())
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy"
    (warning,) = gate.decision.warnings
    assert (
        warning
        == "in training, 5 of 15 values of loss were NaN or infinite, the first at step 11, after the judged step 10; so were some of train_loss"
    )
    assert gate_file(tmp_path)["warnings"] == [warning]
    assert "! in training, 5 of 15 values of loss" in capsys.readouterr().out
    for thresholds in ([], ["-t", "val_acc >= 0.5"]):
        done = CliRunner().invoke(app, ["gate", "latest", *thresholds, "--root", str(tmp_path / "runs"), "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["warnings"] == [warning]


def test_a_training_that_was_not_finite_is_forbidden_by_watching_its_loss(tmp_path: Path) -> None:
    """As docs/judging.md says: EarlyStopping on the training loss ends it there, and a fit that ended so is an improve; a threshold on it does nothing."""
    bounded, _ = fit(tmp_path, best(tmp_path), thresholds=["val_acc >= 0.8", "train_loss <= 100"], module=SpoiltLater())
    assert bounded.decision is not None
    assert bounded.decision.verdict == "deploy"
    stop = EarlyStopping("train_loss", patience=10**6)
    watched, _ = fit(tmp_path, best(tmp_path, "watched"), stop, module=SpoiltLater())
    assert watched.decision is not None
    (reason,) = watched.decision.reasons
    assert reason.startswith("non_finite_stop: ")
    assert "train_loss" in reason
    with pytest.raises(RuntimeError, match="returned nan values"):
        fit(tmp_path, best(tmp_path, "anomaly"), module=SpoiltLater(), detect_anomaly=True)
    assert latest(tmp_path).state == "failed"
    assert published(tmp_path) == ["1", "CURRENT", "history.jsonl"]
