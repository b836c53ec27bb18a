"""Suggestions that a program can act on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fitgate
from fitgate.diagnosis import diagnose_evidence, read_evidence
from fitgate.diagnosis._evidence import Curve, Evidence, Goal
from fitgate.diagnosis._finding import Finding
from fitgate.diagnosis._suggest import suggest
from fitgate.store._run_file import FitFacts, RunInfo, write_run_info


def _suggested(rule: str, hparams: dict[str, Any]) -> dict[str, float]:
    finding = Finding(rule=rule, severity="problem", steps=(0, 1), evidence={}, summary="", try_=())
    return {each.parameter: each.factor for each in suggest([finding], Evidence(curves={}, hparams=hparams))}


@pytest.mark.parametrize(
    ("rule", "hparams"),
    [
        ("overfit", {"dropout": 0.9}),
        ("stopped_too_early", {"max_steps": -1}),
        ("overfit", {"num_layers": 1}),
        ("overfit", {"channels": 3}),
        ("overfit", {"width": 224, "height": 224}),
    ],
)
def test_no_change_that_is_wrong_or_does_nothing_is_suggested(rule: str, hparams: dict[str, Any]) -> None:
    """A factor on the wrong side of 1, of -1, of a whole number that can't shrink, or of a picture's size is left out."""
    assert _suggested(rule, hparams) == {}


def test_a_change_that_helps_is_suggested() -> None:
    """What the run has and a factor moves as wanted is named."""
    assert _suggested("overfit", {"dropout": 0.2, "width": 64}) == {"dropout": 1.5, "width": 0.5}


def test_the_length_of_a_run_that_was_stopped_is_no_measure() -> None:
    """An interrupted run is to go on; only of one that came to its end is a greater length suggested."""
    steps = np.arange(10, 210, 10)
    curve = Curve(stage="validate", name="val_loss", step=steps - 1, global_step=steps, epoch=steps // 10, value=np.linspace(2, 1, 20))
    whole = Evidence(curves={("validate", "val_loss"): curve}, hparams={"epochs": 20})
    assert [s.parameter for s in diagnose_evidence(whole).suggestions] == ["epochs"]
    stopped = diagnose_evidence(replace(whole, ended=False))
    (finding,) = (f for f in stopped.findings if f.rule == "stopped_too_early")
    assert stopped.suggestions == ()
    assert "ckpt_path" in finding.try_[0]
    assert not any("max_epochs" in thing for thing in finding.try_)


def _levels_off(*, required: float) -> Evidence:
    """An accuracy that comes to rest at .8, in validation and in training, with a loss that rests too; `required` is asked of it."""
    steps, noise = np.arange(10, 310, 10), np.random.default_rng(0).normal(0.0, 0.002, (3, 30))
    level = 0.8 - 0.5 * np.exp(-steps / 60)
    values = {("validate", "val_acc"): level, ("train", "acc"): level + 0.01, ("validate", "val_loss"): np.full(30, 0.7)}
    curves = {
        (stage, name): Curve(stage=stage, name=name, step=steps - 1, global_step=steps, epoch=steps // 10, value=value + noise[i])
        for i, ((stage, name), value) in enumerate(values.items())
    }
    goal = Goal(metric="val_acc", better_high=True, required=required, text=f"val_acc >= {required}")
    return Evidence(curves=curves, goals=(goal,), hparams={"epochs": 30, "width": 8})


def test_where_a_threshold_is_out_of_reach_no_finding_advises_to_train_longer() -> None:
    """Each other finding goes along with the one that says so, and a program is told the same."""
    found = diagnose_evidence(_levels_off(required=0.95))
    assert {f.rule for f in found.findings} >= {"out_of_reach", "underfit"}
    assert not [thing for f in found.findings for thing in f.try_ if "longer" in thing.lower() or "max_epochs" in thing]
    assert found.findings[0].try_ == ("A larger model, or less regularisation", "Train with a higher learning rate")
    assert [s.parameter for s in found.suggestions] == ["width"]


def test_a_second_metric_that_is_on_its_way_makes_no_longer_run_worth_while() -> None:
    """The one that is out of reach would still be missed."""
    evidence = _levels_off(required=0.95)
    (goal,) = evidence.goals
    late = 0.6 - 0.4 * np.exp(-np.arange(10, 310, 10) / 100) + np.random.default_rng(1).normal(0.0, 0.0005, 30)
    late_curve = replace(evidence.curves["validate", "val_acc"], name="val_f1", value=late)
    goals = (replace(goal, metric="val_f1", required=0.585, text="val_f1 >= 0.585"), goal)
    alone = replace(evidence, curves={**evidence.curves, ("validate", "val_f1"): late_curve}, goals=goals[:1])
    assert [s.parameter for s in diagnose_evidence(alone).suggestions] == ["epochs"]
    found = diagnose_evidence(replace(alone, goals=goals))
    assert {"out_of_reach", "within_reach"} <= {f.rule for f in found.findings}
    assert [f.try_ for f in found.findings if f.rule == "within_reach"] == [()]
    assert "epochs" not in [s.parameter for s in found.suggestions]


@pytest.mark.parametrize(
    ("state", "facts", "ended"),
    [
        ("completed", {}, True),
        ("improve", {}, True),
        ("improve", {"interrupted": "SIGTERM"}, False),
        ("interrupted", {"interrupted": "KeyboardInterrupt"}, False),
        ("failed", None, False),
        ("completed", None, True),
    ],
)
def test_whether_a_run_ended_is_on_record(tmp_path: Path, state: Any, facts: dict[str, str] | None, ended: bool) -> None:  # noqa: FBT001 - a parameter
    """In its state and in the facts of its fit; a run by hand has no fit."""
    now = datetime.now(UTC)
    fit = None if facts is None else FitFacts(**facts)  # type: ignore[arg-type]  # two of its texts
    (tmp_path / "r").mkdir()
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state=state, created=now, updated=now, fit=fit))
    assert read_evidence(fitgate.Store(str(tmp_path)).run("r")).ended == ended
