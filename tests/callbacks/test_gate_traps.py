"""Fits that a naive gate would judge wrongly."""

import functools
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint, WeightAveraging
from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from safetensors.torch import load_file

from fitgate.callbacks import GateCallback
from fitgate.errors import CheckpointError
from fitgate.gate import judge
from tests.callbacks._gated import (
    STEPS,
    Scripted,
    best,
    best_path,
    fit,
    gate_file,
    judged_again,
    latest,
    loader,
    make_trainer,
    manifest,
    published,
)

NAN = float("nan")


def _verdict(gate: Any) -> tuple[str, tuple[str, ...]]:
    assert gate.decision is not None
    return gate.decision.verdict, gate.decision.reasons


def _shipped(tmp_path: Path, version: int = 1) -> dict[str, torch.Tensor]:
    return load_file(tmp_path / "deploy" / "net" / str(version) / "model.safetensors")


@pytest.mark.parametrize(("script", "step"), [((0.7, 0.9, 0.6), 2 * STEPS), ((0.6, 0.7, 0.9), 3 * STEPS), ((0.9, 0.7, 0.6), STEPS)])
def test_the_best_is_judged_wherever_it_was(tmp_path: Path, script: tuple[float, ...], step: int) -> None:
    """Best in the middle, at the end, at the beginning: its metrics, its weights."""
    gate, trainer = fit(tmp_path, best(tmp_path), module=Scripted(script))
    assert _verdict(gate) == ("deploy", ())
    assert manifest(tmp_path)["source"]["global_step"] == step
    assert manifest(tmp_path)["metrics"]["val_acc"] == pytest.approx(0.9)
    kept = torch.load(best_path(trainer), weights_only=False)["state_dict"]
    assert all(torch.equal(kept[name], tensor) for name, tensor in _shipped(tmp_path).items())


def test_a_bad_best_is_not_saved_by_a_good_last(tmp_path: Path) -> None:
    """The monitor chose epoch 0 by a loss; its accuracy is judged, not the last epoch's."""

    class TwoMetrics(Scripted):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.log("val_loss", float(self.current_epoch))

    gate, _ = fit(tmp_path, best(tmp_path, monitor="val_loss", mode="min"), module=TwoMetrics((0.5, 0.7, 0.95)))
    verdict, reasons = _verdict(gate)
    assert verdict == "improve"
    assert reasons == ("val_acc >= 0.8: got 0.5, misses by 0.3",)


def test_a_monitor_that_was_never_a_number_chose_nothing(tmp_path: Path) -> None:
    """ModelCheckpoint keeps a file all the same; what it is the best of, nobody can say, though the threshold's metric is fine."""

    class NanLoss(Scripted):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.log("val_loss", NAN)

    gate, trainer = fit(tmp_path, best(tmp_path, monitor="val_loss", mode="min"), module=NanLoss((0.9, 0.9, 0.9)))
    assert best_path(trainer).is_file()
    verdict, reasons = _verdict(gate)
    assert verdict == "improve"
    assert reasons == ("ModelCheckpoint(monitor='val_loss') never saw a finite value, so its best checkpoint is not the best of anything",)
    assert published(tmp_path) == []
    # Judged again from its files alone, the same.
    assert judge(latest(tmp_path), ["val_acc >= 0.8"]).reasons == reasons


def test_a_metric_that_is_nan_passes_nothing(tmp_path: Path) -> None:
    """All-NaN monitor and threshold."""
    gate, _ = fit(tmp_path, best(tmp_path), module=Scripted((NAN, NAN, NAN)))
    verdict, reasons = _verdict(gate)
    assert verdict == "improve"
    assert any("which passes nothing" in reason for reason in reasons)


class Ruined(Scripted):
    """Has a NaN in its weights from the second step on, and a good accuracy: of NaNs `argmax` is 0, a class as good as any."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            next(self.parameters()).view(-1)[0] = NAN


@pytest.mark.parametrize("keeper", [True, False], ids=["a checkpoint", "the weights at the end"])
def test_weights_that_are_not_finite(tmp_path: Path, keeper: bool) -> None:  # noqa: FBT001 - a parameter
    """They pass no gate, whatever was measured of them; nor when the run is judged again."""
    callbacks = [best(tmp_path)] if keeper else []
    gate, _ = fit(tmp_path, *callbacks, module=Ruined((0.9, 0.9, 0.9)), gate={"allow": ["weights_changed"]})
    verdict, reasons = _verdict(gate)
    assert verdict == "improve"
    (reason,) = reasons
    assert re.match(r"non_finite_weights: \d of 6 parameters, net.0.weight first, hold values", reason)
    assert published(tmp_path) == []
    again = judge(latest(tmp_path), ["val_acc >= 0.8"], allow=["weights_changed"])
    assert again.reasons == reasons


def test_early_stopping_that_ends_on_nan(tmp_path: Path) -> None:
    """The best checkpoint is good, and the fit did not end well: not judged on its numbers."""
    stop = EarlyStopping("val_acc", mode="max", check_finite=True)
    gate, _ = fit(tmp_path, best(tmp_path), stop, module=Scripted((0.9, NAN, 0.9)))
    verdict, reasons = _verdict(gate)
    assert verdict == "improve"
    assert reasons[0].startswith("non_finite_stop")
    allowed, _ = fit(
        tmp_path,
        best(tmp_path, "b"),
        EarlyStopping("val_acc", mode="max"),
        module=Scripted((0.9, NAN)),
        gate={"allow": ["non_finite_stop"]},
    )
    assert _verdict(allowed) == ("deploy", ())
    assert manifest(tmp_path)["allowed"] == ["non_finite_stop"]


def test_a_last_checkpoint_older_than_the_best(tmp_path: Path) -> None:
    """checkpoint="last" judges the step that last.ckpt was saved at, whatever came after; "best" never takes it."""

    class SavesLastOnce(ModelCheckpoint):
        def _save_last_checkpoint(self, trainer: Any, monitor_candidates: Any) -> None:
            if trainer.current_epoch == 0:
                super()._save_last_checkpoint(trainer, monitor_candidates)

    def keeper(folder: str) -> ModelCheckpoint:
        return SavesLastOnce(tmp_path / folder, monitor="val_acc", mode="max", save_last=True)

    gate, _ = fit(tmp_path, keeper("a"), gate={"checkpoint": "last"})
    assert _verdict(gate) == ("improve", ("val_acc >= 0.8: got 0.7, misses by 0.1",))
    gate, _ = fit(tmp_path, keeper("b"))
    assert _verdict(gate) == ("deploy", ())
    assert manifest(tmp_path)["source"]["global_step"] == 2 * STEPS
    with pytest.raises(ValueError, match="needs a ModelCheckpoint that keeps the last one"):
        fit(tmp_path, best(tmp_path, "c"), gate={"checkpoint": "last"})


def test_a_resume_into_a_new_checkpoint_folder(tmp_path: Path) -> None:
    """Judged is the best since the resume, which lies in the new folder: neither the best of all, nor the last epoch's values."""
    script = (0.95, 0.6, 0.85, 0.5)
    _, trainer = fit(tmp_path, best(tmp_path, save_last=True), module=Scripted(script), max_epochs=2, thresholds=["val_acc >= 0.99"])
    last = trainer.checkpoint_callback.last_model_path  # type: ignore[union-attr]
    gate, again = fit(tmp_path, best(tmp_path, "new"), module=Scripted(script), ckpt_path=last, max_epochs=4)
    assert again.callback_metrics["val_acc"].item() == pytest.approx(0.5)  # what a gate that looked no further would judge
    path = best_path(again)
    assert path.parent == tmp_path / "new"
    assert _verdict(gate) == ("deploy", ())
    source = manifest(tmp_path)["source"]
    assert (source["checkpoint"], source["global_step"]) == (str(path), 3 * STEPS)
    assert manifest(tmp_path)["metrics"]["val_acc"] == pytest.approx(0.85)
    judged = gate_file(tmp_path)
    assert (judged["judged"]["global_step"], judged["checks"][0]["value"]) == (3 * STEPS, pytest.approx(0.85))
    kept = torch.load(path, weights_only=False)
    assert kept["global_step"] == 3 * STEPS
    assert all(torch.equal(kept["state_dict"][name], tensor) for name, tensor in _shipped(tmp_path).items())


def test_checkpoints_that_are_written_in_the_background(tmp_path: Path) -> None:
    """The last of them is on the disk before it is judged."""

    class Slow(TorchCheckpointIO):
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            time.sleep(0.3)
            super().save_checkpoint(*args, **kwargs)

    io: CheckpointIO = AsyncCheckpointIO(Slow())
    gate, _ = fit(tmp_path, best(tmp_path), module=Scripted((0.6, 0.7, 0.9)), plugins=[io])
    assert _verdict(gate) == ("deploy", ())
    assert manifest(tmp_path)["source"]["global_step"] == 3 * STEPS


@pytest.mark.parametrize(
    ("averages", "share"),
    [
        pytest.param(WeightAveraging, lambda updates: 1 / updates, id="mean"),
        pytest.param(functools.partial(EMAWeightAveraging, decay=0.75), lambda _: 0.25, id="ema"),
    ],
)
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("keeps", [True, False])
def test_averaged_weights_are_what_is_judged_and_shipped(
    *, tmp_path: Path, order: str, keeps: bool, averages: Callable[[], WeightAveraging], share: Callable[[int], float]
) -> None:
    """Whichever side of the gate the averaging is listed, with a ModelCheckpoint and without: the weights of the average's own formula."""
    plain: dict[int, dict[str, torch.Tensor]] = {}

    class Watches(Scripted):
        def on_train_batch_end(self, *_: Any) -> None:
            plain[self.trainer.global_step] = {name: tensor.clone() for name, tensor in self.state_dict().items()}

    averaging = averages()
    others = [best(tmp_path)] if keeps else []
    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net", formats=["safetensors", "torch_export"])
    first, second = (averaging, gate) if order == "before" else (gate, averaging)
    trainer = make_trainer(tmp_path, None, first, second, *others)
    trainer.fit(Watches((0.7, 0.9, 0.85)), loader(), loader())
    assert _verdict(gate) == ("deploy", ())
    step = (2 if keeps else 3) * STEPS
    assert manifest(tmp_path)["source"]["global_step"] == step
    averaged = averaging._average_model  # noqa: SLF001 - there is no other way to see it
    assert averaged is not None
    expected = averaged.module.state_dict() if not keeps else torch.load(best_path(trainer), weights_only=False)["state_dict"]
    shipped = _shipped(tmp_path)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in shipped.items())
    assert not torch.equal(shipped["net.0.weight"], plain[step]["net.0.weight"])
    average = plain[1]["net.0.weight"].double()
    for updates in range(2, step + 1):
        average += share(updates) * (plain[updates]["net.0.weight"] - average)
    torch.testing.assert_close(shipped["net.0.weight"].double(), average, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keeps", [True, False])
def test_an_interrupted_fit_shows_the_values_of_its_best_checkpoint(
    *, keeps: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C amid the third epoch. Never a deploy; without a checkpoint there are the weights of that step, which nobody validated."""

    class Interrupts(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 2 * STEPS + 1:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises((SystemExit, KeyboardInterrupt)):
        fit(tmp_path, *([best(tmp_path)] if keeps else []), Interrupts(), module=Scripted((0.9, 0.7, 0.8)))
    gate = gate_file(tmp_path)
    assert (gate["verdict"], published(tmp_path), latest(tmp_path).state) == ("improve", [], "interrupted")
    assert gate["reasons"][0] == "interrupted: the fit was stopped by Ctrl-C"
    assert judged_again(tmp_path) == gate
    text = capsys.readouterr().out
    assert "not recorded" not in text
    if keeps:
        assert (gate["judged"]["global_step"], gate["checks"][0]["value"]) == (STEPS, pytest.approx(0.9))
        assert f"best by val_acc: step {STEPS}" in text
    else:
        assert (gate["judged"]["global_step"], gate["checks"][0]["value"]) == (2 * STEPS + 1, None)


def test_a_sigterm_in_on_train_end_never_deploys(tmp_path: Path) -> None:
    """Lightning's teardown still runs then."""

    class Terminates(pl.Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    gate, _ = fit(tmp_path, best(tmp_path), Terminates())
    verdict, reasons = _verdict(gate)
    assert verdict == "improve"
    assert reasons[0] == "interrupted: the fit was stopped by SIGTERM"
    assert latest(tmp_path).state == "interrupted"
    assert gate_file(tmp_path)["verdict"] == "improve"
    assert published(tmp_path) == []


def test_a_process_that_is_killed_once_all_is_staged(tmp_path: Path) -> None:
    """SIGTERM and SIGKILL in another callback's on_fit_end, where Lightning handles signals no more: the next fit cleans up, whatever its verdict; the next that passes is version 1."""
    context = multiprocessing.get_context("fork")
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = context.Process(target=_fit_and_die, args=(tmp_path, number))
        process.start()
        process.join(100)
        assert process.exitcode == -number
        assert [name[:9] for name in published(tmp_path) if not name.endswith(".lock")] == [".staging-"]
        assert latest(tmp_path).state == "completed"
    fit(tmp_path, best(tmp_path, "missed"), thresholds=["val_acc >= 0.99"])
    assert published(tmp_path) == []
    gate, _ = fit(tmp_path, best(tmp_path))
    assert gate.version == 1
    assert published(tmp_path) == ["1", "CURRENT", "history.jsonl"]


def _fit_and_die(tmp_path: Path, number: int) -> None:
    class Dies(pl.Callback):
        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            os.kill(os.getpid(), number)

    torch.set_num_threads(1)  # a forked child must not wait for its parent's threads
    fit(tmp_path, best(tmp_path, f"killed-{number}"), Dies())


def test_another_callback_that_fails_after_ours(tmp_path: Path) -> None:
    """Nothing is published, and the run's own files don't say deploy; the staging is gone."""

    class Raises(pl.Callback):
        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            message = "no"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="no"):
        fit(tmp_path, best(tmp_path), Raises())
    assert published(tmp_path) == []
    assert latest(tmp_path).state == "failed"
    assert gate_file(tmp_path)["verdict"] == "improve"
    assert gate_file(tmp_path)["reasons"][0] == "failed: the fit ended in RuntimeError: no"
    gate, _ = fit(tmp_path, best(tmp_path, "again"))
    assert (gate.version, _verdict(gate)) == (1, ("deploy", ()))


def test_several_model_checkpoints_are_chosen_by_argument(tmp_path: Path) -> None:
    """The instance; else a clear error before training. One that is not the trainer's is refused."""
    by_acc, by_epoch = best(tmp_path), ModelCheckpoint(tmp_path / "other", every_n_epochs=1, save_top_k=-1)
    with pytest.raises(ValueError, match=r"2 ModelCheckpoints \(monitoring 'val_acc', None\); give the one to judge"):
        fit(tmp_path, by_acc, by_epoch)
    gate, _ = fit(tmp_path, by_acc, by_epoch, gate={"checkpoint": by_acc})
    assert _verdict(gate) == ("deploy", ())
    assert manifest(tmp_path)["source"]["checkpoint"] == by_acc.best_model_path
    with pytest.raises(ValueError, match="not among the trainer's callbacks"):
        fit(tmp_path, by_acc, by_epoch, gate={"checkpoint": best(tmp_path)})
    with pytest.raises(TypeError, match="'best', 'last', a path or a ModelCheckpoint, got 3"):
        fit(tmp_path, by_acc, gate={"checkpoint": 3})


def test_checkpoints_that_were_never_there(tmp_path: Path) -> None:
    """save_top_k=0 keeps none; deleted under our feet; each is a reason, not a crash, and stays one when judged again."""
    gate, _ = fit(tmp_path, best(tmp_path, save_top_k=0))
    verdict, reasons = _verdict(gate)
    assert verdict == "improve"
    assert reasons[0] == "ModelCheckpoint(monitor='val_acc') saved no checkpoint: save_top_k=0 keeps none"
    assert judge(latest(tmp_path), ["val_acc >= 0.8"]).reasons == reasons

    class Deletes(pl.Callback):
        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            best_path(trainer).unlink()

    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net")
    make_trainer(tmp_path, None, Deletes(), gate, best(tmp_path, "b")).fit(Scripted(), loader(), loader())
    verdict, reasons = _verdict(gate)
    assert verdict == "improve"
    assert len(reasons) == 2
    assert "is not there: it was deleted before it could be judged" in reasons[0]
    assert judge(latest(tmp_path), ["val_acc >= 0.8"]).reasons == reasons


def test_a_sharded_checkpoint_is_refused(tmp_path: Path) -> None:
    """A folder where a file was expected."""
    (tmp_path / "sharded").mkdir()
    with pytest.raises(CheckpointError, match="sharded checkpoint folder"):
        fit(tmp_path, gate={"checkpoint": tmp_path / "sharded"})


def test_a_compiled_module_ships_plain(tmp_path: Path) -> None:
    """The whole module compiled, or a part of it: a fresh module takes the weights."""
    whole, _ = fit(
        tmp_path, best(tmp_path), module=torch.compile(Scripted(), backend="eager"), gate={"formats": ["safetensors", "torch_export"]}
    )
    assert _verdict(whole) == ("deploy", ())
    module = Scripted()
    module.net = torch.compile(module.net, backend="eager")  # type: ignore[assignment]
    part, _ = fit(tmp_path, best(tmp_path, "b"), module=module, gate={"formats": ["checkpoint", "safetensors"]})
    assert _verdict(part) == ("deploy", ())
    for version in (1, 2):
        Scripted().load_state_dict(_shipped(tmp_path, version))
    Scripted.load_from_checkpoint(tmp_path / "deploy" / "net" / "2" / "model.ckpt", weights_only=True)
