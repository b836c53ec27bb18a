"""Accuracies in percent are judged like fractions, and spoken of in percent."""

from dataclasses import replace

import numpy as np
import pytest

from fitgate.diagnosis import Curve, Evidence, Finding, Goal, diagnose_evidence
from fitgate.diagnosis._units import in_fractions
from fitgate.report._charts import charts_of

BATCHES = 10
EPOCHS = np.arange(30)
FALLING = 2.3 * 0.985 ** np.arange(300) + 0.1
HEALTHY = 0.93 - 0.7 * 0.7**EPOCHS
IN_UNITS = {
    "accuracy_train", "accuracy_validation", "accuracy_gap", "accuracy_gap_limit", "best", "deepest", "gain_in_last_quarter", "gap",
    "greatest_gain", "judged_value", "least_fall", "least_gain", "left_over", "level", "level_high", "level_low", "margin", "passing_value",
    "required", "spread", "train_end", "typical", "validation_end", "value", "value_there", "whole_gain",
}  # fmt: skip
"""What a finding about an accuracy gives in the accuracy's own unit."""


def _noise(spread: float) -> np.ndarray:
    return np.random.default_rng(3).normal(0, spread, len(EPOCHS))


RUNS = {
    "healthy": (HEALTHY + 0.02, HEALTHY + _noise(0.004), 0.9),
    "overfits": (np.minimum(HEALTHY + 0.06, 0.99), HEALTHY - 0.12, 0.9),
    "underfits": (0.72 - 0.5 * 0.7**EPOCHS, 0.7 - 0.5 * 0.7**EPOCHS + _noise(0.003), 0.9),
    "oscillates": (HEALTHY, HEALTHY - 0.1 * (EPOCHS % 2), 0.9),
    "creeps": (0.3 + 0.004 * EPOCHS, 0.3 + 0.004 * EPOCHS, 0.9),
    "noise": (HEALTHY, HEALTHY + _noise(0.02), 0.002 + float((HEALTHY + _noise(0.02))[-1])),
    "passed and went on": (HEALTHY, np.concatenate([HEALTHY[:20], HEALTHY[20:] - 0.05]), 0.92),
    "starts near its best": (0.97 + _noise(0.003), 0.95 + _noise(0.004), 0.94),
    "stopped too early": (0.2 + 0.02 * EPOCHS, 0.2 + 0.02 * EPOCHS, 0.85),
}


def _curve(stage: str, name: str, values: np.ndarray, every: int) -> Curve:
    at = every * (1 + np.arange(len(values)))
    return Curve(stage=stage, name=name, step=at - 1, global_step=at, epoch=(at - 1) // BATCHES, value=np.asarray(values, dtype=np.float64))


def _run(train: np.ndarray, validation: np.ndarray, required: float, *, units: tuple[float, float] = (1.0, 1.0)) -> Evidence:
    """A loss and an accuracy in both stages. `units` are by what the accuracies are multiplied: training's and validation's."""
    curves = [
        _curve("train", "train_loss", FALLING, 1),
        _curve("train", "train_acc", np.repeat(train, BATCHES) * units[0], 1),
        _curve("validate", "val_loss", FALLING[::BATCHES] + 0.05, BATCHES),
        _curve("validate", "val_acc", validation * units[1], BATCHES),
    ]
    goal = Goal(metric="val_acc", better_high=True, required=required * units[1], text=f"val_acc >= {required * units[1]:g}")
    return Evidence(curves={(c.stage, c.name): c for c in curves}, goals=(goal,), judged_step=BATCHES * len(EPOCHS))


def _about_accuracy(finding: Finding) -> dict[str, float]:
    asked = finding.evidence.get("accuracy_metric", finding.evidence["metric"]) == "val_acc"
    return {k: v for k, v in finding.evidence.items() if asked and k in IN_UNITS and isinstance(v, float)}


@pytest.mark.parametrize("units", [(100.0, 100.0), (1.0, 100.0), (100.0, 1.0)])
@pytest.mark.parametrize("name", RUNS)
def test_percent_is_judged_as_fractions_are(name: str, units: tuple[float, float]) -> None:
    """The same rules, as strong, at the same steps, whichever of the two accuracies is in percent; numbers in validation's own unit."""
    plain, scaled = (diagnose_evidence(_run(*RUNS[name], units=u)) for u in ((1.0, 1.0), units))
    assert [(f.rule, f.severity, f.steps) for f in scaled.findings] == [(f.rule, f.severity, f.steps) for f in plain.findings]
    assert scaled.not_enough_data == plain.not_enough_data
    for ours, theirs in zip(scaled.findings, plain.findings, strict=True):
        expected = {key: value * units[1] for key, value in _about_accuracy(theirs).items()}
        assert _about_accuracy(ours) == pytest.approx(expected, rel=1e-6, abs=1e-9), ours.rule


def test_these_runs_have_what_their_names_say() -> None:
    """Else the comparison above would compare nothing with nothing."""
    found = {name: {f.rule for f in diagnose_evidence(_run(*run, units=(100.0, 100.0))).findings} for name, run in RUNS.items()}
    problems = [
        f.rule for n in ("healthy", "starts near its best") for f in diagnose_evidence(_run(*RUNS[n])).findings if f.severity == "problem"
    ]
    assert problems == []
    assert "overfit" in found["overfits"]
    assert "underfit" in found["underfits"]
    assert "oscillation" in found["oscillates"]
    assert "slow_convergence" in found["creeps"]
    assert "noise" in found["noise"]
    assert "missed_checkpoint" in found["passed and went on"]
    assert found["stopped too early"] & {"stopped_too_early", "within_reach"}


def test_a_summary_speaks_in_percent() -> None:
    """As the run recorded it, the threshold included."""
    (finding,) = (f for f in diagnose_evidence(_run(*RUNS["underfits"], units=(100.0, 100.0))).findings if f.rule == "underfit")
    assert "val_acc >= 90 on its own training data: 72 there, 70" in finding.summary
    assert finding.evidence["required"] == 90


def test_a_hopeless_run_in_percent_is_told_by_its_threshold() -> None:
    """Under one percent all along: that a threshold asks for 90 says what the unit is."""
    evidence = in_fractions(_run(0.005 + 0 * EPOCHS, 0.004 + 0 * EPOCHS, 0.9, units=(100.0, 100.0)))
    assert evidence.curves["validate", "val_acc"].value[0] == pytest.approx(0.004)
    assert evidence.goals[0].required == pytest.approx(0.9)


@pytest.mark.parametrize("count", [500.0, -3.0])
def test_what_is_no_share_is_no_accuracy(count: float) -> None:
    """A number of right answers, whatever its name: limits in hundredths of an accuracy say nothing of it."""
    run = replace(_run(*RUNS["oscillates"], units=(count, count)), goals=())
    assert "oscillation" not in {f.rule for f in diagnose_evidence(run).findings}
    mixed = replace(_run(*RUNS["healthy"], units=(count, 1.0)), goals=())
    assert [f.rule for f in diagnose_evidence(mixed).findings if f.severity == "problem"] == []


def test_a_goal_is_met_as_the_gate_takes_it() -> None:
    """A float32 that is nearest to the bound counts as the bound, in percent too."""
    for unit, required in ((1.0, 0.899), (100.0, 0.899)):
        recorded = np.full(len(EPOCHS), float(np.float32(required * unit)))
        scaled = in_fractions(_run(HEALTHY, recorded, required * unit, units=(unit, 1.0)))
        value, (goal,) = float(scaled.curves["validate", "val_acc"].value[-1]), scaled.goals
        assert value == pytest.approx(required)
        assert goal.met_by(value)
        assert not replace(goal, strict=True).met_by(value)


def test_a_chart_has_one_unit() -> None:
    """Training's accuracy is drawn in the unit of validation's, whose values stay as they were recorded."""
    run = _run(*RUNS["healthy"], units=(1.0, 100.0))
    (chart,) = (c for c in charts_of(run, ()) if c.title == "val_acc")
    train, validation = chart.lines
    assert max(train.values) == pytest.approx(95, abs=1)
    assert list(validation.values) == run.curves["validate", "val_acc"].value.tolist()
