"""What can be known before training is said before training."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch.strategies
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

import fitgate
from fitgate import Threshold
from fitgate._roots import probe
from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate_callbacks._examples import ExampleInput
from fitgate_callbacks._lightning import shards_weights
from fitgate_callbacks._settings import gate_settings
from fitgate_callbacks._start import check_setup
from tests.callbacks._gated import Scripted, best, fit, latest, loader, published


class NeverTrains(Scripted):
    """Fails the test when a step is run."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        pytest.fail("a step was run")


def test_a_deploy_folder_under_a_file(tmp_path: Path) -> None:
    """It can never be made: said before the first step, with the path that stands in the way."""
    (tmp_path / "deploy").write_text("a file")
    with pytest.raises(NotADirectoryError, match=rf"the deploy folder .* can't be written: {tmp_path / 'deploy'}"):
        fit(tmp_path, best(tmp_path), module=NeverTrains())


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.isdir("/proc/self/fd"), reason="root writes everywhere, and there is no /proc")
def test_a_deploy_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """Whether by its mode or, for root, by its file system."""
    if os.geteuid() == 0:
        folder = Path("/proc/self/fd/deploy/net")
    else:
        folder = tmp_path / "deploy" / "net"
        folder.parent.mkdir()
        folder.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OSError, match=r"the deploy folder .* can't be written"):
        probe(f"the deploy folder {folder}", folder)


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    """Neither a file nor a folder, and no fit that doesn't deploy does."""
    probe("the deploy folder", tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    fit(tmp_path, best(tmp_path), thresholds=["val_acc >= 0.99"])
    assert not (tmp_path / "deploy").exists()
    assert published(tmp_path) == []


@pytest.mark.parametrize("url", ["s3://bucket/deploy", "file:///tmp/deploy", Path("gs://bucket/deploy")])
def test_a_url_is_no_folder(url: Any) -> None:
    """Both callbacks write local folders: a URL would become one named `s3:`."""
    with pytest.raises(ValueError, match=r"GateCallback: dirpath must be a local folder, and '(s3|file|gs):/.* is a URL"):
        GateCallback(["val_acc >= 0.8"], dirpath=url)
    with pytest.raises(ValueError, match="MetricsCallback: dirpath must be a local folder"):
        MetricsCallback(url)
    with pytest.raises(ValueError, match="start_run: root must be a local folder"):
        fitgate.start_run(url)


def test_a_fit_that_can_not_be_judged_is_told_before_it_trains(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A validation of a part of the data, unless that is allowed; a ModelCheckpoint that keeps nothing."""
    told = "this fit will be an improve, whatever it comes to: limit_val_batches=1: "
    gate, _ = fit(tmp_path, best(tmp_path), limit_val_batches=1)
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert told in caplog.text
    caplog.clear()
    fit(tmp_path, best(tmp_path), limit_val_batches=1, gate={"allow": ["limit_val_batches"]})
    assert told not in caplog.text
    fit(tmp_path, best(tmp_path, save_top_k=0))
    assert (
        "this fit will be an improve, whatever it comes to: ModelCheckpoint(monitor='val_acc') saved no checkpoint: save_top_k=0"
        in caplog.text
    )


@pytest.mark.parametrize("argument", ["dirpath", "model_name"])
def test_a_wrong_kind_of_argument_is_named(argument: str) -> None:
    """Such as a name that was read from a config without one."""
    with pytest.raises(TypeError, match=f"GateCallback: {argument} must be a .*, got NoneType"):
        GateCallback(["val_acc >= 0.8"], **{argument: None})  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("strategy", "sharded"),
    [
        (FSDPStrategy(state_dict_type="sharded"), True),
        (FSDPStrategy(state_dict_type="full"), False),
        (ModelParallelStrategy(), True),
        (ModelParallelStrategy(save_distributed_checkpoint=False), False),
        (SingleDeviceStrategy(), False),
        (lightning.pytorch.strategies.FSDPStrategy(state_dict_type="sharded"), True),
        (lightning.pytorch.strategies.ModelParallelStrategy(), True),
        (lightning.pytorch.strategies.SingleDeviceStrategy(), False),
    ],
    ids=lambda value: value if isinstance(value, bool) else ".".join([type(value).__module__.split(".")[0], type(value).__name__]),
)
def test_a_strategy_that_says_it_saves_shards(tmp_path: Path, strategy: Any, sharded: bool) -> None:  # noqa: FBT001 - a parameter
    """Refused before training, where its ModelCheckpoint would be judged; a path to a whole file is no shard of it."""
    strategy.broadcast = lambda value: value  # the strategy of no running fit has no processes to talk to
    trainer: Any = SimpleNamespace(strategy=strategy, checkpoint_callbacks=[best(tmp_path)], is_global_zero=True)

    def check(which: str) -> bool:
        given = gate_settings(["val_acc >= 0.8"], dirpath=tmp_path, model_name="net", checkpoint=which, formats=["safetensors"], allow=())
        return check_setup(trainer, Scripted(), given, ExampleInput(None))

    if sharded:
        with pytest.raises(ValueError, match=f"{type(strategy).__name__} saves each checkpoint as a folder of shards"):
            check("best")
    else:
        assert not check("best")
    assert shards_weights(trainer) == (not type(strategy).__name__.startswith("Single"))
    (tmp_path / "whole.ckpt").touch()
    assert not check(str(tmp_path / "whole.ckpt"))


def _refused(tmp_path: Path, match: str, *callbacks: Any, **options: Any) -> str:
    """The message that a fit ends with before its first step."""
    with pytest.raises(ValueError, match=match) as caught:
        fit(tmp_path, *callbacks, module=NeverTrains(), num_sanity_val_steps=0, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("monitor", "mode", "threshold", "wanted"),
    [
        ("val_acc", "min", "val_acc >= 0.9", "max"),
        ("val_acc", "min", "val_acc > champion + 0.01", "max"),
        ("val_loss", "max", "val_loss <= 0.3", "min"),
        ("val_acc_epoch", "min", "val_acc >= 0.9", "max"),
    ],
)
def test_a_checkpoint_that_keeps_the_worst(tmp_path: Path, monitor: str, mode: str, threshold: str, wanted: str) -> None:
    """Lightning's default mode is "min": named are both, and what to write."""
    keeper = best(tmp_path, monitor=monitor, mode=mode)
    told = _refused(tmp_path, "the worst epoch would be judged and shipped", keeper, thresholds=[threshold, "f1 >= 0.1"])
    assert f"ModelCheckpoint(monitor={monitor!r}, mode={mode!r}) keeps the" in told
    assert repr(threshold) in told
    assert told.endswith(f"give ModelCheckpoint(monitor={monitor!r}, mode={wanted!r})")


@pytest.mark.parametrize(
    ("thresholds", "gate"),
    [
        (["val_acc >= 0.1", "val_acc <= 0.99"], {}),
        (["val_acc >= 0.1"], {"checkpoint": "last"}),
        (["other >= 0.1"], {}),
        (["other >= 0.1", Threshold("val_acc", ">=", 0.01, warn=True)], {}),
    ],
    ids=["both directions", "the last one", "another metric", "a warning"],
)
def test_a_direction_that_says_nothing(tmp_path: Path, thresholds: list[Any], gate: dict[str, Any]) -> None:
    """Thresholds on both sides, a checkpoint that no monitor chose, a monitor that nothing is asked of, or only a warning: no error."""
    callback, _ = fit(tmp_path, best(tmp_path, mode="min", save_last=True), thresholds=thresholds, gate=gate)
    assert callback.decision is not None


def test_the_mode_of_the_checkpoint_that_is_not_judged(tmp_path: Path) -> None:
    """Of several, only the one that was given is asked."""
    judged, other = best(tmp_path), best(tmp_path, "other", mode="min")
    callback, _ = fit(tmp_path, judged, other, gate={"checkpoint": judged})
    assert callback.version == 1


@pytest.mark.parametrize(
    ("checkpoint", "told"),
    [
        ("bset", r"'bset' is none of them: there is no such file; did you mean 'best'\?"),
        ("lst", "did you mean 'last'"),
        ("model", "'model' is none of them: there is no such file$"),
        ("nowhere/best.ckpt", r"nothing says that this fit writes into nowhere; ModelCheckpoint saves in .*/ckpt$"),
    ],
)
def test_a_checkpoint_that_can_not_be_there(tmp_path: Path, checkpoint: str, told: str) -> None:
    """A misspelt word, and a path into a folder that nobody makes."""
    _refused(tmp_path, told, best(tmp_path), gate={"checkpoint": checkpoint})


def test_a_checkpoint_that_the_fit_will_write(tmp_path: Path) -> None:
    """Under a ModelCheckpoint's folder, which is not there yet."""
    keeper = best(tmp_path, save_last=True)
    callback, _ = fit(tmp_path, keeper, gate={"checkpoint": tmp_path / "ckpt" / "last.ckpt"}, module=Scripted((0.7, 0.9, 0.9), "x"))
    assert callback.decision is not None
    assert callback.decision.verdict == "deploy", callback.decision.reasons


@pytest.mark.parametrize(
    ("thresholds", "told"),
    [
        (["val_acc >= champion + 0.005"], 'is waived: .val_acc >= champion . 0.005.; .* add one, such as "val_acc >= NUMBER"$'),
        (["val_acc >= champion", "artifact.size_mb <= 5"], "at least one absolute threshold on a recorded metric must stand"),
        ([Threshold("val_acc", ">=", 0.5, warn=True)], "every threshold only warns, so nothing decides: 'val_acc >= 0.5 .warn.'"),
    ],
)
def test_thresholds_by_which_nothing_could_deploy(tmp_path: Path, thresholds: list[Any], told: str) -> None:
    """Relative ones alone while nothing is live, or none that decides."""
    _refused(tmp_path, told, best(tmp_path), thresholds=thresholds)


def test_two_gates_on_one_trainer(tmp_path: Path) -> None:
    """One gate.json a run: the second would write over the first. Both are named."""
    second = GateCallback(["val_acc >= 0.9"], dirpath=tmp_path / "deploy", model_name="other")
    told = _refused(tmp_path, r"this Trainer has 2 .*, and a run has one gate\.json", best(tmp_path), second)
    for threshold, name in (("val_acc >= 0.8", "net"), ("val_acc >= 0.9", "other")):
        assert f"GateCallback([{threshold!r}], dirpath={str(tmp_path / 'deploy')!r}, model_name={name!r})" in told


@pytest.mark.parametrize("validated", [False, True], ids=["at once", "after a validation"])
@pytest.mark.parametrize("order", ["gate first", "metrics first"])
def test_an_error_before_the_first_step_is_only_its_message(
    tmp_path: Path,
    order: str,
    validated: bool,  # noqa: FBT001 - a case
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No verdict is printed above it, and none is written. run.json says that the fit failed, and why."""
    gate = GateCallback(["val_acc >= 0.9"], dirpath=tmp_path / "deploy", model_name="net")
    metrics = MetricsCallback(tmp_path / "runs")
    callbacks = [gate, metrics] if order == "gate first" else [metrics, gate]
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=1, enable_model_summary=False, callbacks=[*callbacks, best(tmp_path, mode="min")], **settings)
    if validated:
        trainer.validate(NeverTrains(), loader(), verbose=False)
    with pytest.raises(ValueError, match="the worst epoch"):
        trainer.fit(NeverTrains(), loader(), loader())
    assert "IMPROVE" not in capsys.readouterr().out
    assert "GateCallback" not in caplog.text
    run = latest(tmp_path)
    assert run.state == "failed"
    assert run.info.fit is not None
    assert "the worst epoch" in str(run.info.fit.failed)
    assert not (tmp_path / "runs" / run.id / "gate.json").exists()
    assert not (tmp_path / "runs" / run.id / "improve").exists()


def test_an_error_before_the_first_step_judges_no_earlier_run(tmp_path: Path) -> None:
    """What the same MetricsCallback recorded of another Trainer, without a gate, stays as it was."""
    metrics = MetricsCallback(tmp_path / "runs")
    settings: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False, "max_epochs": 1}
    settings |= {"enable_model_summary": False, "enable_checkpointing": True}
    pl.Trainer(**settings, callbacks=[metrics, best(tmp_path)]).fit(Scripted(), loader(), loader())
    ungated = latest(tmp_path)
    gate = GateCallback(["val_acc >= 0.9"], dirpath=tmp_path / "deploy", model_name="net")
    with pytest.raises(ValueError, match="the worst epoch"):
        pl.Trainer(**settings, callbacks=[gate, metrics, best(tmp_path, mode="min")]).fit(NeverTrains(), loader(), loader())
    assert fitgate.Store(tmp_path / "runs").run(ungated.id).state == "completed"
    assert not (Path(ungated.path) / "gate.json").exists()
    assert latest(tmp_path).state == "failed"
    assert gate.run_dir == Path(latest(tmp_path).path)
