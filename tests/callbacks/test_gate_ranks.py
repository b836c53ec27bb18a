"""Two processes: what is judged is of all ranks together, or of ranks that are known to agree."""

from typing import Any

import pytest

from tests._process import run_on_two_ranks
from tests.callbacks import _gate_rank_fits


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Fifteen fits on two processes, and what both ranks ended in."""
    root = tmp_path_factory.mktemp("ranks")
    zero, one = run_on_two_ranks(_gate_rank_fits.main, root, folder=root)
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
