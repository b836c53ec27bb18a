"""Two processes: one verdict on both, or the same error on both, and never a wait without end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.callbacks._gated import manifest, published

_SCRIPT = """
import json, os, sys
from pathlib import Path
import fitgate_callbacks.gate as gate_module
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset
from fitgate import Threshold
from tests.callbacks import _gated
from tests.callbacks._gated import Scripted, best, fit
from tests.registry._versions import publish_version


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Fails(Scripted):
    def on_load_checkpoint(self, checkpoint):  # called on the copy that is exported
        raise ValueError("no export today")


def unpicklable(*_, **__):
    raise Unpicklable("this", "that")


def full(*_, **__):
    raise OSError("the disk is full")


class Publishes(pl.Callback):  # another publisher, between the verdict and the publication
    def on_fit_end(self, trainer, pl_module):
        if rank == 0:
            publish_version(root / "deploy" / "net", 0.95)


class Changes(pl.Callback):  # once all is validated
    def on_train_end(self, trainer, pl_module):
        with torch.no_grad():
            pl_module.net[0].weight.zero_()


class Unsynced(Scripted):
    def validation_step(self, batch, batch_idx):  # each rank has its own
        self.log("val_acc", 0.9 if rank == 0 else 0.1)


class Synced(Scripted):
    def validation_step(self, batch, batch_idx):
        self.log("val_acc", 0.98 if rank == 0 else 0.9, sync_dist=True)


rank = int(os.environ["RANK"])
judge_and_stage, release = gate_module.judge_and_stage, gate_module.release
found = {}
for name in ("deploy", "fails", "unpicklable", "full", "unsynced", "synced", "padded", "moved", "changed", "again", "finished", "refused"):
    root = Path(sys.argv[1]) / name
    gate_module.judge_and_stage = unpicklable if name == "unpicklable" and rank == 0 else judge_and_stage
    gate_module.release = full if name == "full" else release
    options = {}
    if name == "padded":  # 21 rows on two ranks: the sampler repeats one, so that both have eleven
        _gated.loader = lambda: DataLoader(TensorDataset(torch.zeros(21, 4), torch.arange(21) % 3), batch_size=4)
        options["thresholds"] = [Threshold("val_acc", ">=", 0.5, confidence=0.95)]
    others = []
    if name == "moved":
        options["thresholds"] = ["val_acc >= 0.5", "val_acc >= champion"]
        others = [Publishes()]
    keeper = [best(root)]
    if name == "changed":
        keeper, others = [], [Changes()]
    if name == "finished":  # a whole fit, and then its end again: with a sanity check, which a fit that goes on has too
        _, trainer = fit(root, best(root, "first"), gate={"formats": ["safetensors"]}, strategy="ddp", devices=2)
        trainer.save_checkpoint(root / "end.ckpt")
        options["ckpt_path"] = root / "end.ckpt"
    if name == "refused":
        keeper = [best(root, mode="min")]
    module = {"fails": Fails, "unsynced": Unsynced, "synced": Synced}.get(name, Scripted)()
    try:
        gate, _ = fit(root, *keeper, *others, module=module, gate={"formats": ["safetensors"]}, strategy="ddp", devices=2, **options)
        found[name] = {"verdict": gate.decision.verdict, "reasons": gate.decision.reasons, "version": gate.version}
        found[name]["value"] = gate.decision.checks[0].value
        if name == "padded":
            found[name]["n"] = gate.decision.checks[0].n
    except Exception as error:
        found[name] = {"error": type(error).__name__, "message": str(error)}
(Path(sys.argv[1]) / f"rank{rank}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Twelve fits on two processes, and what each rank ended in. Whoever waits for the other without end runs into the time limit."""
    root = tmp_path_factory.mktemp("ddp")
    (root / "script.py").write_text(_SCRIPT)
    top = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (top, top / "src", top / "callbacks"))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(root / "script.py"), str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=110)
    files = [root / "rank0.json", root / "rank1.json"]
    assert all(file.exists() for file in files), done.stderr[-3000:]
    return root, [json.loads(file.read_text()) for file in files]


@pytest.mark.parametrize("name", ["deploy", "again", "finished"])
def test_one_verdict_on_both(ranks: tuple[Path, list[dict[str, Any]]], name: str) -> None:
    """On the rank that exported nothing, too; also after fits that failed, and of a fit that had nothing left to do."""
    root, (zero, one) = ranks
    assert zero[name] == one[name] == {"verdict": "deploy", "reasons": [], "version": 1, "value": pytest.approx(0.9)}
    assert published(root / name) == ["1", "CURRENT", "history.jsonl"]
    assert manifest(root / name)["source"]["global_step"] == 6


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("fails", "ExportError", "the checkpoint's weights don't fit Fails: no export today"),
        ("unpicklable", "ExportError", "Unpicklable: this and that"),
        ("full", "OSError", "the disk is full"),
    ],
)
def test_one_error_on_both(ranks: tuple[Path, list[dict[str, Any]]], name: str, error: str, message: str) -> None:
    """Rank 0 fails in the export, with an error that can't be pickled, or while it publishes: both raise, nothing is live."""
    root, (zero, one) = ranks
    assert zero[name] == one[name] == {"error": error, "message": message}
    assert published(root / name) == []


def test_a_refusal_before_training_is_on_both(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """Neither waits for the other."""
    _, (zero, one) = ranks
    assert zero["refused"] == one["refused"]
    assert zero["refused"]["error"] == "ValueError"
    assert "the worst epoch would be judged and shipped" in zero["refused"]["message"]


def test_a_metric_that_each_rank_has_for_itself_is_not_judged(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """0.9 on rank 0, which is what gets recorded, and 0.1 on the other: improve, on both, and the reason says what to do."""
    root, (zero, one) = ranks
    assert zero["unsynced"] == one["unsynced"]
    assert zero["unsynced"]["verdict"] == "improve"
    (reason,) = zero["unsynced"]["reasons"]
    assert reason == "ranks_disagree: val_acc is 0.9 on rank 0, 0.1 on rank 1; log it with sync_dist=True"
    assert published(root / "unsynced") == []
    assert zero["synced"]["verdict"] == one["synced"]["verdict"] == "deploy"
    assert zero["synced"]["value"] == pytest.approx(0.94)


def test_samples_of_all_ranks_are_counted_once(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """A bound rests on the 21 samples of the data set: not on the eleven of rank 0, nor on the 22 that the sampler makes of them."""
    _, (zero, one) = ranks
    assert zero["padded"]["n"] == one["padded"]["n"] == 21


def test_a_champion_that_moved_is_one_verdict_on_both(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """A better version goes live before rank 0 publishes: improve, on both, and the better one stays live."""
    root, (zero, one) = ranks
    assert zero["moved"] == one["moved"]
    assert (zero["moved"]["verdict"], zero["moved"]["version"]) == ("improve", None)
    assert zero["moved"]["reasons"][0] == "val_acc >= champion: got 0.9, misses by 0.05"
    assert published(root / "moved") == ["1", "CURRENT", "history.jsonl"]


def test_changed_weights_are_one_verdict_on_both(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """Rank 0 compares the weights with those that were validated, and both hear of it."""
    root, (zero, one) = ranks
    assert zero["changed"] == one["changed"]
    assert zero["changed"]["verdict"] == "improve"
    assert zero["changed"]["reasons"][0].startswith("weights_changed: ")
    assert published(root / "changed") == []
