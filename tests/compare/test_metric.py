"""Which metric is compared, and which way is better: said, and right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fitgate
from fitgate.compare import ComparisonError, compare

MakeRun = Callable[..., fitgate.Run]


def chosen(*runs: fitgate.Run, metric: str | None = None, mode: str = "auto") -> tuple[str, str, str]:
    """Metric, stage and direction of a comparison."""
    choice = compare(runs, metric, mode).metric
    return choice.name, choice.stage, choice.mode


def test_what_most_runs_are_gated_on_comes_first(make_run: MakeRun) -> None:
    """Before the monitor and the accuracy; the choice says why."""
    curves = {"val_f1": [0.1], "val_acc": [0.2], "val_loss": [0.3]}
    runs = [
        make_run("a", curves, thresholds=["val_f1 >= 0.5", "artifact.size_mb <= 3"], monitor=("val_loss", "min")),
        make_run("b", curves, thresholds=["val_f1 >= 0.6"]),
        make_run("c", curves, thresholds=["val_loss <= 0.6"]),
    ]
    assert chosen(*runs) == ("val_f1", "validate", "max")
    assert compare(runs).metric.why == "2 of 3 runs are gated on it"


def test_a_threshold_that_only_warns_does_not_choose(make_run: MakeRun, tmp_path: Path) -> None:
    """Nor does one on the exported files; the checkpoint's monitor is next."""
    run = make_run("a", {"val_f1": [0.1], "val_loss": [0.3]}, thresholds=["artifact.size_mb <= 3"], monitor=("val_loss", "min"))
    gate = tmp_path / "a" / "gate.json"
    check = '{"metric": "val_f1", "op": ">=", "threshold": "val_f1 >= 0.5", "warn": true, "passed": true, "reason": ""}'
    gate.write_text('{"run_id": "a", "verdict": "deploy", "checks": [' + check + "]}")
    assert chosen(run) == ("val_loss", "validate", "min")
    assert "chosen by it" in str(compare([run]).metric.why)


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        ({"val_loss": [1.0], "val_acc": [0.5], ("train", "acc"): [0.9]}, ("val_acc", "validate", "max")),
        ({"loss": [1.0], "accuracy": [0.5], ("train", "accuracy"): [0.9]}, ("accuracy", "validate", "max")),
        ({("train", "val_accuracy"): [0.5], ("train", "loss"): [1.0]}, ("val_accuracy", "train", "max")),
        ({"bleu": [1.0], "val_loss": [1.0], ("train", "loss"): [1.0]}, ("val_loss", "validate", "min")),
        ({("train", "grad_norm"): [1.0], ("train", "loss"): [1.0]}, ("loss", "train", "min")),
        ({("test", "test_acc"): [0.5], ("train", "loss"): [1.0]}, ("loss", "train", "min")),
    ],
)
def test_without_gate_and_monitor_names_decide(make_run: MakeRun, curves: dict[Any, list[float]], expected: tuple[str, str, str]) -> None:
    """A validation accuracy, also of runs logged by hand; else the most common validation metric; else the loss."""
    assert chosen(make_run("a", curves)) == expected


def test_the_most_common_name_wins(make_run: MakeRun) -> None:
    """Not the one that a single run has."""
    runs = [make_run("a", {"val_acc": [1.0]}), *(make_run(name, {"top1/acc": [1.0]}) for name in "bc")]
    assert compare(runs).metric.name == "top1/acc"
    assert "recorded by 2 of 3 runs" in str(compare(runs).metric.why)


@pytest.mark.parametrize(
    ("options", "mode", "why"),
    [
        ({"thresholds": ["error_bars >= 3"], "monitor": ("error_bars", "min")}, "max", 'the threshold "error_bars >= 3" of r'),
        ({"thresholds": ["other <= 3"], "monitor": ("error_bars", "max")}, "max", "mode='max' of r"),
        ({"thresholds": ["error_bars >= 1", "error_bars <= 3"], "monitor": ("error_bars", "max")}, "max", "mode='max' of r"),
        ({}, "min", "by its name"),
    ],
)
def test_the_direction_comes_from_the_run_before_the_name(make_run: MakeRun, options: dict[str, Any], mode: str, why: str) -> None:
    """Its threshold, then its checkpoint's monitor; a run whose thresholds bound both sides says nothing by them."""
    choice = compare([make_run("r", {"error_bars": [1.0]}, **options)], "error_bars").metric
    assert choice.mode == mode
    assert why in choice.mode_why


@pytest.mark.parametrize(
    ("metric", "mode"),
    [("val_loss", "min"), ("Loss/total", "min"), ("top1_error", "min"), ("val_acc", "max"), ("perplexity", "max"), ("f1", "max")],
)
def test_names_with_loss_or_error_are_better_low(make_run: MakeRun, metric: str, mode: str) -> None:
    """All others high, and the outcome says that the name decided."""
    choice = compare([make_run("r", {metric: [1.0]})], metric).metric
    assert choice.mode == mode
    assert choice.mode_why.startswith("by its name")


def test_a_given_mode_overrides_the_run(make_run: MakeRun) -> None:
    """Whoever gives it wants it so."""
    run = make_run("r", {"val_acc": [0.1, 0.9]}, thresholds=["val_acc >= 0.5"])
    (row,) = compare([run], "val_acc", "min").rows
    assert row.best is not None
    assert row.best.value == 0.1
    with pytest.raises(ComparisonError, match="'min', 'max' or 'auto', got 'up'"):
        compare([run], "val_acc", "up")


def test_runs_that_contradict_each_other_are_named(make_run: MakeRun) -> None:
    """A guess would turn the order round."""
    runs = [make_run("up", {"x": [1.0]}, thresholds=["x >= 1"]), make_run("down", {"x": [1.0]}, thresholds=["x <= 1"])]
    with pytest.raises(ComparisonError, match=r"of down, high by .* of up; give mode"):
        compare(runs, "x")
    assert compare(runs, "x", "max").metric.mode == "max"


def test_a_misspelt_metric_is_answered_with_the_nearest(make_run: MakeRun) -> None:
    """Or, where none is near, with what there is."""
    runs = [make_run("a", {"val_acc": [1.0], ("train", "loss"): [1.0]})]
    with pytest.raises(ComparisonError, match="no run has recorded 'val_ac'; did you mean val_acc"):
        compare(runs, "val_ac")
    with pytest.raises(ComparisonError, match="recorded are: loss, val_acc"):
        compare(runs, "zzz")
    with pytest.raises(ComparisonError, match="none of the runs has recorded a metric"):
        compare([make_run("empty")])
    with pytest.raises(ComparisonError, match="no run to compare"):
        compare([])


def test_a_stage_is_one_for_all_runs(make_run: MakeRun) -> None:
    """Training values of a run that has not validated yet are not held against the others' validation."""
    runs = [make_run("done", {"acc": [0.5], ("train", "acc"): [0.9]}), make_run("begun", {("train", "acc"): [0.8]}, state="running")]
    comparison = compare(runs, "acc")
    assert comparison.metric.stage == "validate"
    assert [(row.facts.id, row.rank) for row in comparison.rows] == [("done", 1), ("begun", None)]
    assert comparison.rows[1].problem == "never recorded acc in validate, only in train"
    train = compare(runs, "acc", stage="train")
    assert [(row.facts.id, row.best and row.best.value) for row in train.rows] == [("done", 0.9), ("begun", 0.8)]
    with pytest.raises(ComparisonError, match="in stage 'test'; it is in train and validate"):
        compare(runs, "acc", stage="test")
