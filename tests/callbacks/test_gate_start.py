"""What can be known before training is said before training."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate_callbacks._examples import ExampleInput
from fitgate_callbacks._roots import probe
from fitgate_callbacks._start import check_setup
from tests.callbacks._gated import Scripted, best, fit, published


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
    with pytest.raises(ValueError, match=r"GateCallback writes to local folders, and dirpath='(s3|file|gs):/.* is a URL"):
        GateCallback(["val_acc >= 0.8"], dirpath=url)
    with pytest.raises(ValueError, match="MetricsCallback writes to local folders"):
        MetricsCallback(url)


@pytest.mark.parametrize(
    ("strategy", "sharded"),
    [
        (FSDPStrategy(state_dict_type="sharded"), True),
        (FSDPStrategy(state_dict_type="full"), False),
        (ModelParallelStrategy(), True),
        (ModelParallelStrategy(save_distributed_checkpoint=False), False),
        (SingleDeviceStrategy(), False),
    ],
    ids=["fsdp sharded", "fsdp full", "parallel sharded", "parallel full", "one device"],
)
def test_a_strategy_that_says_it_saves_shards(tmp_path: Path, strategy: Any, sharded: bool) -> None:  # noqa: FBT001 - a parameter
    """Refused before training, where its ModelCheckpoint would be judged; a path to a whole file is no shard of it."""
    strategy.broadcast = lambda value: value  # the strategy of no running fit has no processes to talk to
    trainer: Any = SimpleNamespace(strategy=strategy, checkpoint_callbacks=[best(tmp_path)], is_global_zero=True)

    def check(which: str) -> bool:
        options: dict[str, Any] = {"formats": ["safetensors"], "timed": (), "example": ExampleInput(None), "model_dir": tmp_path / "deploy"}
        return check_setup(trainer, Scripted(), which=which, **options)

    if sharded:
        with pytest.raises(ValueError, match=f"{type(strategy).__name__} saves each checkpoint as a folder of shards"):
            check("best")
    else:
        assert not check("best")
    assert not check(str(tmp_path / "whole.ckpt"))
