"""Two processes: one verdict on both, or the same error on both, and never a wait without end."""

from pathlib import Path
from typing import Any

import pytest

from tests._process import run_on_two_ranks
from tests.callbacks import _gate_ddp_fits
from tests.callbacks._gated import manifest, published


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Twelve fits on two processes, and what each rank ended in. Whoever waits for the other without end runs into the time limit."""
    root = tmp_path_factory.mktemp("ddp")
    return root, run_on_two_ranks(_gate_ddp_fits.main, root, folder=root)


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
