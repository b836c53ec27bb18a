"""Judging a stored run from its files."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

import fitgate
from fitgate.gate import judge
from fitgate.gate._eligibility import RULES_TO_ALLOW, ineligible
from fitgate.store._run_file import Attempt, CheckpointRef, FitFacts, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter


def _run(tmp_path: Path, fit: FitFacts | None) -> fitgate.Run:
    now = datetime.now(UTC)
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r")
    for epoch, accuracy in enumerate((0.7, 0.9, 0.6)):
        step = 10 * epoch + 9
        writer.write([Record("train", step, step + 1, epoch, 1000 * step, ("acc",), (1.0,))])
        writer.write([Record("validate", step, step + 1, epoch, 1000 * (step + 1), ("acc", "loss"), (accuracy, 1 - accuracy))])
    writer.close()
    attempts = (Attempt(number=0, started=now),)
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="completed", created=now, updated=now, attempts=attempts, fit=fit))
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
