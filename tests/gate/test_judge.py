"""Judging a stored run from its files."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import fitgate
from fitgate.gate import judge
from fitgate.gate._eligibility import RULES_TO_ALLOW, ineligible
from fitgate.store._run_file import Attempt, CheckpointRef, FitFacts, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter


def _run(tmp_path: Path, fit: FitFacts | None, *, state: Any = "completed", age: timedelta = timedelta()) -> fitgate.Run:
    now = datetime.now(UTC) - age
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r")
    for epoch, accuracy in enumerate((0.7, 0.9, 0.6)):
        step = 10 * epoch + 9
        writer.write([Record("train", step, step + 1, epoch, 1000 * step, ("acc",), (1.0,))])
        writer.write([Record("validate", step, step + 1, epoch, 1000 * (step + 1), ("acc", "loss"), (accuracy, 1 - accuracy))])
    writer.close()
    attempts = (Attempt(number=0, started=now),)
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state=state, created=now, updated=now, attempts=attempts, fit=fit))
    return fitgate.Store(str(tmp_path)).run("r")


def test_the_checkpoints_metrics_are_judged_not_the_last_epochs(tmp_path: Path) -> None:
    """Best epoch good and last epoch bad deploys; at the end of fit it does not. Validate stands before train."""
    best = CheckpointRef(path="best.ckpt", global_step=20, epoch=1, monitor="acc")
    decision = judge(_run(tmp_path, FitFacts(global_step=30, steps=30, checkpoint=best)), ["acc >= 0.8"])
    assert decision.verdict == "deploy"
    assert decision.metrics == pytest.approx({"acc": 0.9, "loss": 0.1})
    last = judge(_run(tmp_path, FitFacts(global_step=30, steps=30)), ["acc >= 0.8"])
    assert last.verdict == "improve"
    assert last.checks[0].value == 0.6


def test_what_was_recorded_after_the_fit_is_not_its_evidence(tmp_path: Path) -> None:
    """A later validation at the same global_step, of whatever weights, changes no judgement."""
    ended = datetime.fromtimestamp(30e-3, UTC)
    facts = FitFacts(global_step=30, steps=30, ended=ended)
    run = _run(tmp_path, facts)
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r", attempt=1)
    writer.write([Record("validate", 30, 30, 3, 32_000, ("acc",), (0.95,))])
    writer.close()
    assert judge(run, ["acc >= 0.5"]).checks[0].value == 0.6


@pytest.mark.parametrize(
    ("step", "where"), [(25, "the nearest are at steps 20 and 30"), (35, "the nearest is at step 30"), (5, "the nearest is at step 10")]
)
def test_what_is_validated_is_never_taken_from_training(tmp_path: Path, step: int, where: str) -> None:
    """A checkpoint between two validations has no value of a name that both stages log, however good the training batch was."""
    run = _run(tmp_path, FitFacts(global_step=step, steps=step))
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r", attempt=1)
    writer.write([Record("train", step - 1, step, 3, 32_000, ("acc", "train_acc"), (1.0, 0.9))])
    writer.close()
    decision = judge(run, ["acc >= 0.9", "train_acc >= 0.9"])
    assert decision.reasons == (f"acc >= 0.9: not recorded for the judged weights: no validation at step {step}; {where}",)
    assert decision.metrics == {"train_acc": 0.9}, "what no validation records is training's to tell"


def test_a_name_that_is_validated_with_a_suffix_is_not_taken_from_training_either(tmp_path: Path) -> None:
    """With several loaders or with `on_step` Lightning gives the validation's values longer names than training's."""
    run = _run(tmp_path, FitFacts(global_step=30, steps=30))
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r", attempt=1)
    writer.write([Record("train", 29, 30, 3, 32_000, ("f1", "rate"), (1.0, 1.0))])
    writer.write([Record("validate", 29, 30, 3, 33_000, ("f1/dataloader_idx_0", "f1/dataloader_idx_1", "rate_epoch"), (0.1, 0.2, 0.3))])
    writer.close()
    decision = judge(run, ["f1 >= 0.9", "rate >= 0.9"])
    assert "it is validated as f1/dataloader_idx_0, f1/dataloader_idx_1, and a value of the training batches" in decision.reasons[0]
    assert "it is validated as rate_epoch" in decision.reasons[1]


@pytest.mark.parametrize(("age", "state"), [(timedelta(), "running"), (timedelta(hours=1), "lost")])
def test_a_run_that_has_not_ended_is_not_judged(tmp_path: Path, age: timedelta, state: str) -> None:
    """Resumed and still at it, or killed: the facts of the attempt before are not those of its weights."""
    decision = judge(_run(tmp_path, FitFacts(global_step=20, steps=20), state="running", age=age), ["acc >= 0.8"])
    (reason,) = decision.reasons
    assert reason.startswith(f"the run has not ended: it is {state}")
    assert ("was killed, or has written nothing after" in reason) is (state == "lost")


@pytest.mark.parametrize("age", [timedelta(), timedelta(hours=1)])
def test_how_far_a_run_is_that_has_not_ended(tmp_path: Path, age: timedelta) -> None:
    """Its checks have the values of the last validation; it is an improve whatever they say."""
    decision = judge(_run(tmp_path, None, state="running", age=age), ["acc >= 0.5", "loss <= 0.3"])
    assert decision.verdict == "improve"
    assert len(decision.reasons) == 2
    assert [(check.value, check.passed) for check in decision.checks] == [(0.6, True), (pytest.approx(0.4), False)]
    assert (decision.judged.global_step, decision.judged.source) == (30, "the last values so far")


def test_a_run_by_hand_is_judged_by_its_last_values(tmp_path: Path) -> None:
    """There is no checkpoint that would say which; logged at whatever steps, and marked so."""
    with fitgate.start_run(tmp_path, name="by-hand") as logged:
        logged.log_metrics({"accuracy": 0.95, "loss": 0.2}, step=7)
        logged.log_metric("accuracy", 0.85, step=9)
        logged.log_metric("accuracy", 0.99, step=3)
    run = fitgate.Store(tmp_path).run(logged.id)
    decision = judge(run, ["accuracy >= 0.8", "loss <= 0.3"])
    assert (decision.verdict, decision.metrics) == ("deploy", {"accuracy": 0.85, "loss": 0.2})
    assert (decision.judged.global_step, decision.judged.source) == (None, "the last value of each metric, logged by hand")
    missed = judge(run, ["accuracy >= 0.9", "f1 >= 0.5"])
    assert missed.reasons[0] == "accuracy >= 0.9: got 0.85, misses by 0.05"
    assert "recorded there: accuracy, loss" in missed.reasons[1]
    no_bound = judge(run, [fitgate.Threshold("accuracy", ">=", 0.8, confidence=0.95)])
    assert "no confidence bound" in no_bound.reasons[0]


@pytest.mark.parametrize(("error", "told"), [(RuntimeError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_run_by_hand_that_was_cut_short_is_not_judged(tmp_path: Path, error: type[BaseException], told: str) -> None:
    """However good its last values are."""
    logged = fitgate.start_run(tmp_path)
    logged.log_metric("accuracy", 1.0)
    logged.__exit__(error, error(), None)
    decision = judge(fitgate.Store(tmp_path).run(logged.id), ["accuracy >= 0.8"])
    (reason,) = decision.reasons
    assert reason.startswith(told)


def test_lost_points_of_a_run_by_hand(tmp_path: Path) -> None:
    """A rule that holds for every run, and can be set aside for every run."""
    with fitgate.start_run(tmp_path) as logged:
        logged.log_metric("accuracy", 1.0)
    run = fitgate.Store(tmp_path).run(logged.id)
    write_run_info(logged.path, replace(run.info, lost_points=3))
    run = fitgate.Store(tmp_path).run(logged.id)
    assert judge(run, ["accuracy >= 0.8"]).reasons == ("lost_points: 3 points could not be written",)
    assert judge(run, ["accuracy >= 0.8"], allow=["lost_points"]).verdict == "deploy"


def test_a_run_without_an_end_never_deploys(tmp_path: Path) -> None:
    """No facts of a fit, no deploy."""
    assert judge(_run(tmp_path, None), ["acc >= 0"]).verdict == "improve"


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        (FitFacts(steps=8, interrupted="SIGTERM"), "interrupted"),
        (FitFacts(steps=8, failed="RuntimeError"), "failed"),
        (FitFacts(steps=8, fast_dev_run=True), "fast_dev_run"),
        (FitFacts(steps=8, limit_val_batches=1), "limit_val_batches"),
        (FitFacts(steps=8, limit_val_batches=0.5), "limit_val_batches"),
        (FitFacts(steps=0), "no_step"),
        (FitFacts(steps=8, non_finite_stop="NaN in val_loss"), "non_finite_stop"),
        (FitFacts(steps=8, disagreeing="val_acc: 0.9 on rank 0, 0.1 on rank 1"), "ranks_disagree"),
        (FitFacts(steps=8, weights_changed="1 of 4 tensors, net.weight first, are not what was validated"), "weights_changed"),
    ],
)
def test_each_rule_blocks_and_only_some_can_be_set_aside(facts: FitFacts, rule: str) -> None:
    """The reason begins with the rule's name; interrupted and failed fits are never judged."""
    (reason,) = ineligible(facts)
    assert reason.startswith(rule)
    assert bool(ineligible(facts, allow=RULES_TO_ALLOW)) is (rule not in RULES_TO_ALLOW)
