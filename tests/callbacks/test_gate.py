"""GateCallback on real fits: what is judged is what ships."""

import hashlib
import json
import os
import signal
import subprocess
import traceback
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from safetensors.torch import load_model
from torch.utils.data import DataLoader, TensorDataset

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback

SCRIPT = (0.7, 0.9, 0.6)


class Scripted(pl.LightningModule):
    """Trains a little, and logs validation accuracies from a script: the best epoch is not the last."""

    def __init__(self, data: Path = Path("somewhere"), width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(4, width)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", SCRIPT[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(20, 4, generator=generator), torch.arange(20) % 3), batch_size=4)


def _fit(
    tmp_path: Path, thresholds: list[str], *extra: Any, checkpoint: bool = True, allow: tuple[str, ...] = (), **options: Any
) -> tuple[GateCallback, pl.Trainer]:
    gate = GateCallback(thresholds, dirpath=tmp_path / "deploy", model_name="net", allow=allow)
    keep = [ModelCheckpoint(tmp_path / "ckpt", monitor="val_acc", mode="max")] if checkpoint else []
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "max_epochs": 3, "logger": False, **options}
    trainer = pl.Trainer(
        **settings,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=checkpoint,
        callbacks=[gate, MetricsCallback(tmp_path / "runs"), *keep, *extra],
    )
    trainer.fit(Scripted(), _loader(), _loader())
    return gate, trainer


def _state(tmp_path: Path) -> str:
    return fitgate.Store(str(tmp_path / "runs")).latest().state


def test_the_best_epoch_is_judged_and_shipped(tmp_path: Path) -> None:
    """Last epoch worse than best: judged metrics and shipped weights are the best epoch's, bit for bit."""
    gate, trainer = _fit(tmp_path, ["val_acc >= 0.8"])
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy", gate.decision.reasons
    assert gate.decision.checks[0].value == pytest.approx(0.9)
    version = tmp_path / "deploy" / "net" / "1"
    best = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=False)  # type: ignore[union-attr]
    assert not torch.equal(best["state_dict"]["net.weight"], trainer.lightning_module.state_dict()["net.weight"])
    fresh = Scripted()
    load_model(fresh, version / "model.safetensors")
    assert torch.equal(fresh.net.weight, best["state_dict"]["net.weight"])
    loaded = Scripted.load_from_checkpoint(version / "model.ckpt", weights_only=True)
    assert torch.equal(loaded.net.weight, fresh.net.weight)
    assert "optimizer_states" not in torch.load(version / "model.ckpt", weights_only=True)
    manifest = json.loads((version / "manifest.json").read_bytes())
    for entry in manifest["files"]:
        assert hashlib.sha256((version / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    assert {e["path"] for e in manifest["files"]} == {p.name for p in version.iterdir()} - {"manifest.json"}
    assert manifest["source"]["global_step"] == 10
    best_file = Path(trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    assert manifest["source"]["sha256"] == hashlib.sha256(best_file.read_bytes()).hexdigest()
    assert [entry["name"] for entry in manifest["hparams"]["converted"]] == ["data"]
    assert json.loads((tmp_path / "deploy" / "net" / "CURRENT").read_bytes())["version"] == 1
    assert _state(tmp_path) == "deployed"


def test_the_manifest_tells_which_code_was_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit as git has it, and whether anything was changed since."""
    code = tmp_path / "code"
    code.mkdir()
    monkeypatch.chdir(code)

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S607 - the user's git

    git("init", "--quiet")
    (code / "train.py").write_text("pass")
    git("add", "train.py")
    git("commit", "--quiet", "--message", "first")
    for number, dirty in enumerate((False, True), start=1):
        _fit(tmp_path, ["val_acc >= 0.8"])
        manifest = json.loads((tmp_path / "deploy" / "net" / str(number) / "manifest.json").read_bytes())
        assert manifest["git"] == {"commit": git("rev-parse", "HEAD"), "dirty": dirty}
        (code / "train.py").write_text("changed")


@pytest.mark.parametrize("text", ["val_acc => 0.8", "val_acc", "0.8 <= acc <= 1", "__import__('os') >= 1"])
def test_a_wrong_threshold_is_an_error_before_any_training(text: str) -> None:
    """As soon as the callback is made: it shows the text that came and a right one."""
    with pytest.raises(fitgate.ThresholdError) as caught:
        GateCallback(["val_loss <= 1", text])
    assert text in str(caught.value)
    assert ">= 0.8" in str(caught.value)


def test_the_end_of_fit_is_judged_without_a_model_checkpoint(tmp_path: Path) -> None:
    """0.6 in the last epoch: improve, nothing exported, and gate.json says why."""
    gate, _ = _fit(tmp_path, ["val_acc >= 0.8"], checkpoint=False)
    assert gate.decision is not None
    assert gate.decision.reasons == ("val_acc >= 0.8: got 0.6, misses by 0.2",)
    assert not (tmp_path / "deploy").exists()
    (path,) = (tmp_path / "runs").glob("*/gate.json")
    assert json.loads(path.read_bytes())["verdict"] == "improve"
    assert _state(tmp_path) == "improve"
    second, _ = _fit(tmp_path, ["val_acc >= 0.5"], checkpoint=False)
    assert second.version == 1


def test_an_error_after_ours_publishes_nothing(tmp_path: Path) -> None:
    """Another callback raising in on_fit_end leaves no version and no CURRENT."""

    class Raises(pl.Callback):
        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        _fit(tmp_path, ["val_acc >= 0.8"], Raises())
    model = tmp_path / "deploy" / "net"
    assert not [p for p in model.iterdir() if p.name.isdecimal() or p.name == "CURRENT"]


def test_a_sigterm_never_deploys(tmp_path: Path) -> None:
    """A real signal in the second epoch: interrupted, improve, nothing exported."""

    class Terminates(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(BaseException, match=r"^$"):
        _fit(tmp_path, ["val_acc >= 0"], Terminates())
    assert _state(tmp_path) == "interrupted"
    (path,) = (tmp_path / "runs").glob("*/gate.json")
    assert json.loads(path.read_bytes())["reasons"][0].startswith("interrupted")
    assert not (tmp_path / "deploy").exists()


@pytest.mark.parametrize(("options", "rule"), [({"fast_dev_run": True}, "fast_dev_run"), ({"limit_val_batches": 1}, "limit_val_batches")])
def test_trials_of_the_code_are_not_judged(tmp_path: Path, options: dict[str, Any], rule: str) -> None:
    """Eligibility comes first."""
    gate, _ = _fit(tmp_path, ["val_acc >= 0"], checkpoint=False, **options)
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert any(reason.startswith(rule) for reason in gate.decision.reasons)


def test_a_fast_dev_run_says_that_and_shows_how_far_it_came(tmp_path: Path) -> None:
    """One reason beside the checks: that a trial saves no checkpoint and validates on one batch is no further one."""
    gate, _ = _fit(tmp_path, ["val_acc >= 0.99"], fast_dev_run=True)
    assert gate.decision is not None
    trial, missed = gate.decision.reasons
    assert trial == "fast_dev_run: this was a trial of the code, not a training"
    assert missed == "val_acc >= 0.99: got 0.7, misses by 0.29"
    assert gate.decision.judged.checkpoint is None
    allowed, _ = _fit(tmp_path, ["val_acc >= 0.5"], allow=("fast_dev_run", "limit_val_batches"), fast_dev_run=True)
    assert allowed.decision is not None
    assert allowed.decision.reasons[0].endswith("saved no checkpoint: fast_dev_run switches checkpoints off")


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_misspelt_metric_is_warned_about_after_the_first_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture, epochs: int) -> None:
    """With the nearest name; no later than the second epoch's first batch, also where there is no second epoch."""
    told: dict[int, bool] = {}

    class Ask(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            told[trainer.current_epoch] = "did you mean val_acc?" in caplog.text

    gate, _ = _fit(tmp_path, ["val_ac >= 0.8"], Ask(), max_epochs=epochs)
    assert told == {0: False, 1: True, 2: True} if epochs > 1 else {0: False}
    assert [record.getMessage() for record in caplog.records if "did you mean" in record.getMessage()][1:] == []
    assert "did you mean val_acc?" in caplog.text
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"


def test_mistakes_end_before_training(tmp_path: Path) -> None:
    """No thresholds, unknown formats and rules, no MetricsCallback, several ModelCheckpoints."""
    with pytest.raises(ValueError, match="thresholds is empty"):
        GateCallback([])
    with pytest.raises(ValueError, match="got 'tflite'"):
        GateCallback(["a > 1"], formats=["tflite"])
    with pytest.raises(ValueError, match="no rule"):
        GateCallback(["a > 1"], allow=["interrupted"])
    with pytest.raises(ValueError, match="MetricsCallback"):
        pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[GateCallback(["a > 1"])]).fit(
            Scripted(), _loader()
        )
    with pytest.raises(ValueError, match="2 ModelCheckpoints"):
        _fit(tmp_path, ["val_acc >= 0.8"], ModelCheckpoint(tmp_path / "other", monitor="val_acc", mode="min"))


def test_a_forgotten_metrics_callback_is_told_once_with_what_to_add() -> None:
    """One error, not a second one from the hook that Lightning calls for the first."""
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[GateCallback(["a > 1"])])
    with pytest.raises(ValueError, match="MetricsCallback") as caught:
        trainer.fit(Scripted(), _loader())
    told = "".join(traceback.format_exception(caught.value))
    assert told.count("ValueError: ") == 1
    assert "During handling" not in told
    assert 'from fitgate.callbacks import MetricsCallback, then callbacks=[MetricsCallback("runs"), …]' in str(caught.value)


def test_a_hook_of_a_subclass_is_called(tmp_path: Path) -> None:
    """Those that we don't need are not callable, so that a Trainer passes them over at each step; one's own is."""
    called = []

    class Mine(MetricsCallback):
        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
            called.append(trainer.global_step)

    pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, callbacks=[Mine(tmp_path)]
    ).fit(Scripted(), _loader(), _loader())
    assert called == [0, 1, 2, 3, 4]
    assert not callable(MetricsCallback(tmp_path).on_after_backward)


@pytest.mark.parametrize(("raised", "comes_out"), [(RuntimeError, RuntimeError), (KeyboardInterrupt, SystemExit)])
def test_a_decision_that_can_not_be_written_hides_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, raised: type[BaseException], comes_out: type[BaseException]
) -> None:
    """As on a full disk: the fit's own error comes out, a ModelCheckpoint that saves on an exception does, and one warning says it."""

    class Fails(Scripted):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            if self.global_step == 3:
                (run,) = (tmp_path / "runs").iterdir()
                (run / "gate.json").mkdir()  # no file can take its place
                message = "on purpose"
                raise raised(message)
            return super().training_step(batch, batch_idx)

    keeper = ModelCheckpoint(tmp_path / "ckpt", save_on_exception=True)
    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy")
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=[gate, MetricsCallback(tmp_path / "runs"), keeper], **quiet)
    with pytest.raises(comes_out, match="on purpose" if raised is comes_out else None):
        trainer.fit(Fails(), _loader(), _loader())
    assert len(list((tmp_path / "ckpt").glob("*.ckpt"))) == 1
    assert [r.message for r in caplog.records if "gate.json" in r.message and "could not be written" in r.message]
    assert fitgate.Store(str(tmp_path / "runs")).latest().state == ("failed" if raised is comes_out else "interrupted")
