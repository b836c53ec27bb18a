"""Whose weights ship: those of this run, of an attempt that counts, unpickled only where this run wrote them."""

import os
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from safetensors.torch import load_file

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate.gate import judge
from tests.callbacks._fits import QUIET, Net, OtherNet
from tests.callbacks._fits import loader as small_loader
from tests.callbacks._gated import STEPS, Scripted, best, best_path, fit, latest, loader, make_trainer, manifest, published


def _outcome(gate: GateCallback) -> tuple[str, str]:
    assert gate.decision is not None
    return gate.decision.verdict, " | ".join(gate.decision.reasons)


def _ships(tmp_path: Path, path: Path, version: int = 1) -> bool:
    kept = torch.load(path, weights_only=False)["state_dict"]
    shipped = load_file(tmp_path / "deploy" / "net" / str(version) / "model.safetensors")
    return all(torch.equal(kept[name], tensor) for name, tensor in shipped.items())


class SavesAt(pl.Callback):
    """Saves what a resume can go on from."""

    def __init__(self, step: int, path: Path) -> None:
        self._step, self._path = step, path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self._step:
            trainer.save_checkpoint(self._path)


@pytest.mark.parametrize("weights_only", [True, False])
def test_a_path_to_another_runs_weights(tmp_path: Path, weights_only: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Of the same step number as a good value here: an improve that says whose they are, where the file does; the same when judged again."""
    _, other = fit(tmp_path, module=Scripted((0.1, 0.1, 0.1), "x"), thresholds=["val_acc >= 0.99"])
    old = tmp_path / "old.ckpt"
    other.save_checkpoint(old, weights_only=weights_only)
    first = latest(tmp_path).id
    gate, _ = fit(tmp_path, module=Scripted((0.9, 0.9, 0.95), "x"), gate={"checkpoint": old})
    verdict, reasons = _outcome(gate)
    assert verdict == "improve"
    assert f"the checkpoint {old} was not written by this run" in reasons
    assert weights_only or f"it is {first}'s" in reasons
    assert "a folder of its own" in reasons
    assert published(tmp_path) == []
    assert judge(latest(tmp_path), ["val_acc >= 0.8"]).verdict == "improve"


@pytest.mark.parametrize("weights_only", [True, False])
def test_a_model_checkpoint_that_two_fits_share(tmp_path: Path, weights_only: bool) -> None:  # noqa: FBT001
    """Its best is still the first run's, whose accuracy was higher: not judged by the second run's value of that step."""
    keeper = best(tmp_path, save_weights_only=weights_only)
    fit(tmp_path, keeper, module=Scripted((0.7, 0.95, 0.6)), thresholds=["val_acc >= 0.99"])
    gate, _ = fit(tmp_path, keeper, module=Scripted((0.3, 0.85, 0.6)))
    verdict, reasons = _outcome(gate)
    assert verdict == "improve"
    # The first run's hyperparameters hold a Path, so that its file is not even asked whose it is.
    assert "not on record as written by this run, so it is not unpickled" in reasons
    assert "pathlib" in reasons
    assert published(tmp_path) == []


@pytest.mark.parametrize("weights_only", [True, False])
def test_an_abandoned_attempts_best(tmp_path: Path, weights_only: bool) -> None:  # noqa: FBT001
    """Step 10 of the first attempt, which the second left behind when it went on from step 6, is not step 10 of the second."""
    options: dict[str, Any] = {"filename": "best", "enable_version_counter": False, "save_weights_only": weights_only}
    middle = SavesAt(6, tmp_path / "middle.ckpt")
    fit(tmp_path, middle, best(tmp_path, **options), module=Scripted((0.5, 0.95)), max_epochs=2, thresholds=["val_acc >= 0.99"])
    kept = torch.load(tmp_path / "ckpt" / "best.ckpt", weights_only=False)
    assert kept["global_step"] == 2 * STEPS
    resumed: dict[str, Any] = {"max_epochs": 2, "ckpt_path": tmp_path / "middle.ckpt"}
    gate, trainer = fit(tmp_path, best(tmp_path, **options), module=Scripted((0.5, 0.45)), thresholds=["val_acc >= 0.42"], **resumed)
    chosen = torch.load(best_path(trainer), weights_only=False)
    assert torch.equal(chosen["state_dict"]["net.0.weight"], kept["state_dict"]["net.0.weight"])
    verdict, reasons = _outcome(gate)
    assert verdict == "improve"
    assert "holds step 10 of attempt 0, and attempt 1 went on from step 6" in reasons
    assert published(tmp_path) == []
    assert judge(latest(tmp_path), ["val_acc >= 0.42"]).verdict == "improve"


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_an_earlier_attempts_best_still_ships(tmp_path: Path, weights_only: bool, background: bool) -> None:  # noqa: FBT001
    """From before the step that the fit went on from: of this run, and, with a Path among its hyperparameters, on record as such."""

    def plugins() -> list[Any]:
        return [AsyncCheckpointIO(TorchCheckpointIO())] if background else []

    last = SavesAt(2 * STEPS, tmp_path / "last.ckpt")
    fit(
        tmp_path,
        last,
        best(tmp_path, save_weights_only=weights_only),
        module=Scripted((0.9, 0.5)),
        max_epochs=2,
        thresholds=["val_acc >= 0.99"],
        plugins=plugins(),
    )
    resumed: dict[str, Any] = {"ckpt_path": tmp_path / "last.ckpt", "plugins": plugins()}
    gate, trainer = fit(tmp_path, best(tmp_path), module=Scripted((0.9, 0.5, 0.4)), **resumed)
    assert _outcome(gate) == ("deploy", "")
    assert manifest(tmp_path)["source"]["global_step"] == STEPS
    assert _ships(tmp_path, best_path(trainer))


@pytest.mark.parametrize("background", [True, False])
def test_a_file_of_fixed_name_that_is_written_again(tmp_path: Path, background: bool) -> None:  # noqa: FBT001
    """Over another run's file, weights alone, in the background too: it is this run's now."""
    options: dict[str, Any] = {"filename": "best", "enable_version_counter": False, "save_weights_only": True}
    fit(tmp_path, best(tmp_path, **options), thresholds=["val_acc >= 0.99"])
    plugins = [AsyncCheckpointIO(TorchCheckpointIO())] if background else []
    gate, trainer = fit(tmp_path, best(tmp_path, **options), plugins=plugins)
    assert _outcome(gate) == ("deploy", "")
    assert _ships(tmp_path, best_path(trainer))


def test_a_file_that_somebody_writes_over(tmp_path: Path) -> None:
    """Another run's weights at the path that this run's ModelCheckpoint chose."""
    _, other = fit(tmp_path, module=Scripted(data="x"), thresholds=["val_acc >= 0.99"])

    class Overwrites(pl.Callback):
        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            other.save_checkpoint(best_path(trainer))

    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net")
    make_trainer(tmp_path, None, Overwrites(), gate, best(tmp_path)).fit(Scripted(data="x"), loader(), loader())
    assert _outcome(gate)[0] == "improve"
    assert "was not written by this run: it is" in _outcome(gate)[1]


@pytest.mark.parametrize(("library", "kind"), [(pl, Net), (lightning.pytorch, OtherNet)], ids=["pytorch_lightning", "lightning"])
def test_a_checkpoint_is_known_as_soon_as_it_is_written(tmp_path: Path, library: Any, kind: Any) -> None:
    """In either namespace Lightning's plain writer is done when it returns: what somebody puts there later is not taken for it."""
    marks: list[Any] = []

    class Looks(library.Callback):  # type: ignore[misc]
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            assert callback.recorder is not None
            marks.extend(written.mark for written in callback.recorder.info.checkpoints)

    callback = MetricsCallback(tmp_path / "runs")
    keeper = library.callbacks.ModelCheckpoint(tmp_path / "ckpt")
    options: dict[str, Any] = {**QUIET, "enable_checkpointing": True, "logger": False}
    library.Trainer(**options, callbacks=[callback, keeper, Looks()]).fit(kind(), small_loader())
    assert marks
    assert None not in marks


def test_a_last_checkpoint_that_is_a_link(tmp_path: Path) -> None:
    """`save_last="link"`: the link is the run's, since what it leads to is."""
    gate, trainer = fit(
        tmp_path, best(tmp_path, save_last="link", save_top_k=-1), gate={"checkpoint": "last"}, thresholds=["val_acc >= 0.5"]
    )
    last = Path(trainer.checkpoint_callback.last_model_path)  # type: ignore[union-attr]
    assert last.is_symlink()
    assert _outcome(gate) == ("deploy", "")
    assert manifest(tmp_path)["source"]["global_step"] == 3 * STEPS


def test_the_list_of_written_checkpoints_stays_short(tmp_path: Path) -> None:
    """A checkpoint at each of 80 steps: run.json lists 65 at most, the best among them, and the trainer is left as it was."""
    keeper = best(tmp_path, save_top_k=1)
    often = ModelCheckpoint(tmp_path / "often", every_n_train_steps=1, save_top_k=-1, save_weights_only=True)
    script = (0.9, *[0.5] * 15)
    gate, trainer = fit(tmp_path, keeper, often, module=Scripted(script), gate={"checkpoint": keeper}, max_epochs=16)
    assert _outcome(gate) == ("deploy", "")
    listed = latest(tmp_path).info.checkpoints
    assert len(listed) <= 66
    assert os.path.realpath(keeper.best_model_path) in {written.path for written in listed}
    assert "save_checkpoint" not in trainer.__dict__


class _Touches:
    """What a hostile checkpoint holds: loading it in full runs a command."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._path}",)


def test_a_path_from_a_crafted_checkpoint_is_not_unpickled(tmp_path: Path) -> None:
    """A resume's checkpoint of tensors and text names as best a file that runs code: it doesn't run, and the reason says what to do."""
    _, trainer = fit(
        tmp_path, best(tmp_path, save_last=True), module=Scripted((0.9, 0.6), "x"), max_epochs=2, thresholds=["val_acc >= 0.99"]
    )
    evil = torch.load(best_path(trainer), weights_only=True)
    evil["hyper_parameters"]["z"] = _Touches(tmp_path / "code-ran")
    torch.save(evil, tmp_path / "evil.ckpt")
    crafted = torch.load(trainer.checkpoint_callback.last_model_path, weights_only=True)  # type: ignore[union-attr]
    for key, state in crafted["callbacks"].items():
        if key.startswith("ModelCheckpoint"):
            state |= {"best_model_path": str(tmp_path / "evil.ckpt"), "best_model_score": torch.tensor(0.999)}
    torch.save(crafted, tmp_path / "resume.ckpt")
    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net")
    module = Scripted((0.9, 0.6, 0.5), "x")
    make_trainer(tmp_path, gate, best(tmp_path)).fit(module, loader(), loader(), ckpt_path=tmp_path / "resume.ckpt", weights_only=True)
    assert not (tmp_path / "code-ran").exists()
    verdict, reasons = _outcome(gate)
    assert verdict == "improve"
    assert "holds more than weights_only=True admits (posix.system), and is not on record as written by this run" in reasons
    assert published(tmp_path) == []


@pytest.mark.parametrize("run_id", ["../elsewhere", "/elsewhere", ".", "", 3])
def test_a_run_id_from_a_checkpoint_leads_nowhere_else(run_id: Any) -> None:
    """A crafted checkpoint can't make a run of a folder outside the store, and so no list of written checkpoints either."""
    with pytest.raises(fitgate.StoreError, match="is no run's id"):
        MetricsCallback().load_state_dict({"run_id": run_id, "logged": {}})
