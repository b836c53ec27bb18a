"""The diagnosis of a stored run: names found, partners paired, suggestions that a program can act on."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fitgate
from fitgate.diagnosis import RULES, Curve, Diagnosis, Evidence, Goal, diagnose, diagnose_evidence, goals_of, goals_of_checks, read_evidence
from fitgate.diagnosis._pairs import better_high, headline, pairs, windowed_train


def _curve(stage: str, name: str, steps: list[int], values: list[float]) -> Curve:
    at = np.array(steps)
    return Curve(stage=stage, name=name, step=at - 1, global_step=at, epoch=0 * at, value=np.array(values, dtype=np.float64))


def _evidence(*curves: Curve, **facts: Any) -> Evidence:
    return Evidence(curves={(c.stage, c.name): c for c in curves}, **facts)


@pytest.mark.parametrize(
    ("validation", "train"),
    [
        (("validate", "val_loss"), ("train", "loss")),
        (("validate", "val_loss"), ("train", "train_loss_step")),
        (("validate", "loss"), ("train", "loss")),
        (("validate", "val/loss_epoch"), ("train", "train/loss")),
        (("validate", "val_acc/dataloader_idx_1"), ("train", "train_accuracy")),
        (("train", "val_acc"), ("train", "acc")),
        (("validate", "valid.f1"), ("train", "train.f1")),
        (("validate", "valMulticlassAccuracy"), ("train", "trainMulticlassAccuracy")),
    ],
)
def test_partners_are_found_by_name(validation: tuple[str, str], train: tuple[str, str]) -> None:
    """Whatever the separator, the fork, the loader or the stage by hand."""
    evidence = _evidence(_curve(*validation, [2, 4], [1.0, 2.0]), _curve(*train, [1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0]))
    (pair,) = pairs(evidence)
    assert pair.train is not None
    assert (pair.validation.name, pair.train.name) == (validation[1], train[1])


def test_strangers_are_no_partners() -> None:
    """A term of the loss is not the loss, and a learning rate is neither's partner."""
    evidence = _evidence(
        _curve("validate", "val_loss", [2], [1.0]), _curve("train", "train_loss_kl", [1], [1.0]), _curve("train", "lr-SGD", [1], [0.1])
    )
    (pair,) = pairs(evidence)
    assert pair.train is None


def test_a_forked_validation_metric_counts_once() -> None:
    """Of val_loss_step and val_loss_epoch the epoch's values stand; the batches of one step alone are averaged."""
    step, epoch = (
        _curve("validate", "val_loss_step", [4, 4, 8, 8], [1.0, 2.0, 3.0, 4.0]),
        _curve("validate", "val_loss_epoch", [4, 8], [1.5, 3.5]),
    )
    (pair,) = pairs(_evidence(step, epoch))
    assert pair.validation.name == "val_loss_epoch"
    (pair,) = pairs(_evidence(step))
    assert pair.validation.value.tolist() == [1.5, 3.5]


def test_training_is_averaged_between_validations() -> None:
    """The mean of the steps after the last validation, up to and with this one; NaN where there is none."""
    evidence = _evidence(
        _curve("validate", "val_loss", [0, 2, 5], [9.0, 1.0, 2.0]),
        _curve("train", "loss", [1, 2, 3, 4, 5, 6], [1.0, 3.0, 5.0, 6.0, 10.0, 99.0]),
    )
    (pair,) = pairs(evidence)
    np.testing.assert_array_equal(windowed_train(pair), [np.nan, 2.0, 7.0])


def test_the_direction_comes_from_the_threshold_then_the_monitor_then_the_name() -> None:
    """A low perplexity is better if somebody says so."""
    goal = Goal(metric="val_perplexity", better_high=False, required=3.0, text="")
    assert not better_high(_evidence(goals=(goal,), modes={"val_perplexity": True}), "val_perplexity")
    assert not better_high(_evidence(modes={"val_perplexity": False}), "val_perplexity")
    assert better_high(_evidence(), "val_perplexity")
    assert not better_high(_evidence(), "val_error")


def test_the_headline_is_what_the_run_is_judged_by() -> None:
    """A threshold's metric, else the monitor's, else the validation loss."""
    curves = [_curve("validate", name, [1, 2], [1.0, 2.0]) for name in ("val_f1", "val_acc", "val_loss")]
    names = [
        headline(_evidence(*curves, goals=goals_of(["val_f1 > 0.5"]), modes={"val_acc": True})),
        headline(_evidence(*curves, modes={"val_acc": True})),
        headline(_evidence(*curves)),
    ]
    assert [pair.validation.name for pair in names if pair] == ["val_f1", "val_acc", "val_loss"]


def _overfitting(hparams: dict[str, Any]) -> Evidence:
    epochs = np.arange(1, 21)
    up = np.concatenate([np.linspace(1.5, 0.8, 8), np.linspace(0.9, 2.0, 12)])
    train = _curve("train", "loss", list(range(1, 201)), (2.0 * 0.98 ** np.arange(200)).tolist())
    return _evidence(train, _curve("validate", "val_loss", (10 * epochs).tolist(), up.tolist()), hparams=hparams)


def test_the_strongest_finding_leads() -> None:
    """A problem goes before a hint, whichever rule is the first to look; among equals the rules' order stands."""
    noise = np.random.default_rng(1).normal(0, 0.003, 230)
    loss = 0.3 + 2.0 * 0.7 ** np.arange(200) + noise[:200]
    loss[90] = 5.0
    train = _curve("train", "loss", list(range(1, 201)), loss.tolist())
    levels = 0.8 - 0.5 * np.exp(-np.arange(1, 31) / 6) + noise[200:]
    validation = _curve("validate", "val_acc", (6 * np.arange(1, 31)).tolist(), levels.tolist())
    findings = diagnose_evidence(_evidence(train, validation, goals=goals_of(["val_acc >= 0.95"]))).findings
    assert {("spike", "hint"), ("out_of_reach", "problem")} <= {(f.rule, f.severity) for f in findings}
    order = [rule.name for rule in RULES]
    assert order.index("spike") < order.index("out_of_reach"), "the hint's rule looks first"
    assert [f.severity for f in findings] == sorted((f.severity for f in findings), reverse=True)
    for severity in ("problem", "hint"):
        ranks = [order.index(f.rule) for f in findings if f.severity == severity]
        assert ranks == sorted(ranks)


def test_suggestions_name_the_runs_own_hyperparameters() -> None:
    """By their recorded, dotted names; what is 0 has no factor, and dropout stays a probability."""
    hparams = {
        "lr": 0.1,
        "optimizer": {"weight_decay": 1e-4},
        "dropout": 0.7,
        "net": {"hidden_dim": 64},
        "wd": 0.0,
        "seed": 3,
        "nesterov": True,
    }
    diagnosis = diagnose_evidence(_overfitting(hparams))
    assert [f.rule for f in diagnosis.findings] == ["overfit"]
    assert [(s.parameter, s.direction, s.factor) for s in diagnosis.suggestions] == [
        ("optimizer.weight_decay", "increase", 3.0),
        ("dropout", "increase", pytest.approx(0.8 / 0.7, abs=1e-3)),
        ("net.hidden_dim", "decrease", 0.5),
    ]
    assert all(s.why.startswith("overfit: val_loss rose by") for s in diagnosis.suggestions)
    assert diagnose_evidence(_overfitting({"seed": 3})).suggestions == ()


def test_a_factor_agrees_with_its_direction(subtests: pytest.Subtests) -> None:
    """More than 1 increases, less than 1 decreases, and each parameter is named once."""
    nan = _curve("train", "loss", [1, 2, 3], [1.0, 9.0, np.nan])
    rising = _curve("train", "loss", list(range(1, 101)), np.linspace(1, 2, 100).tolist())
    flat = _curve("train", "loss", list(range(1, 101)), [2.3] * 100)
    longer = _curve("validate", "val_loss", list(range(1, 21)), np.linspace(2, 1, 20).tolist())
    for curve, expected in ((nan, "decrease"), (rising, "decrease"), (flat, "increase")):
        with subtests.test(str(curve.value[-1])):
            (suggestion,) = diagnose_evidence(_evidence(curve, hparams={"learning_rate": 0.1})).suggestions
            assert (suggestion.parameter, suggestion.direction) == ("learning_rate", expected)
            assert (suggestion.factor > 1) == (expected == "increase")
    (suggestion,) = diagnose_evidence(_evidence(longer)).suggestions
    assert (suggestion.parameter, suggestion.factor) == ("max_epochs", 1.5)
    (suggestion,) = diagnose_evidence(_evidence(longer, hparams={"epochs": 5})).suggestions
    assert suggestion.parameter == "epochs"


def test_a_stored_run_by_hand_is_diagnosed(tmp_path: Path) -> None:
    """Names alone tell training from validation; thresholds are given as text; the class count comes from the hyperparameters."""
    with fitgate.start_run(tmp_path, tensorboard=False, hparams={"num_classes": 10, "lr": 0.1}) as run:
        for step in range(1, 41):
            run.log_metrics({"train_loss": 5.0 / step, "train_acc": 0.62, "val_acc": 0.6}, step)
    stored = fitgate.Store(str(tmp_path)).latest()
    found = {f.rule: f for f in diagnose(stored, thresholds=["val_acc >= 0.9"]).findings}
    assert found["underfit"].evidence["required"] == 0.9
    assert found["bad_start"].evidence["classes"] == 10
    assert "underfit" in diagnose(stored).not_enough_data
    assert read_evidence(stored).curves["train", "train_loss"].value.tolist() == [5.0 / step for step in range(1, 41)]
    relative = diagnose(stored, thresholds=["val_acc >= champion + 0.1"], champion={"val_acc": 0.8})
    assert {f.rule for f in relative.findings} >= {"underfit"}
    with pytest.raises(ValueError, match="no operator"):
        diagnose(stored, thresholds=["val_acc"])


def test_diagnosing_loads_no_heavy_library(tmp_path: Path) -> None:
    """Neither torch nor Lightning nor a plotting library, nor scipy."""
    with fitgate.start_run(tmp_path, tensorboard=False) as run:
        for step in range(1, 41):
            run.log_metric("val_acc", 0.9 - 0.5 / step, step)
    code = (
        "import sys, fitgate\n"
        "from fitgate.diagnosis import diagnose\n"
        f"diagnose(fitgate.Store({str(tmp_path)!r}).latest(), thresholds=['val_acc >= 0.95'])\n"
        "print([m for m in ('torch', 'pytorch_lightning', 'lightning', 'matplotlib', 'scipy') if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def _with_a_missed_threshold(*, warn: bool) -> Diagnosis:
    """Weights that pass lie before the judged ones, training and validation rest under .97, and the margin is narrow."""
    epochs = np.arange(1, 31)
    accuracy = 0.9 - 0.6 * np.exp(-epochs / 4) + np.random.default_rng(2).normal(0, 0.02, 30)
    accuracy[20] = 0.99
    train = _curve("train", "train_acc", (10 * epochs).tolist(), (0.9 - 0.6 * np.exp(-epochs / 4)).tolist())
    goal = Goal(metric="val_acc", better_high=True, required=0.97, text="val_acc >= 0.97 (warn)", warn=warn)
    return diagnose_evidence(
        _evidence(train, _curve("validate", "val_acc", (10 * epochs).tolist(), accuracy.tolist()), goals=(goal,), judged_step=300)
    )


def test_a_threshold_that_only_warns_is_no_goal() -> None:
    """Nothing is in the way of what blocks nothing; it still says which way is better."""
    assert "missed_checkpoint" in {f.rule for f in _with_a_missed_threshold(warn=False).findings}
    warned = _with_a_missed_threshold(warn=True)
    assert [f.rule for f in warned.findings if f.severity == "problem"] == []
    assert {"missed_checkpoint", "underfit", "noise", "out_of_reach", "within_reach"} <= set(warned.not_enough_data)
    assert goals_of([fitgate.Threshold("val_acc", ">=", 0.9, warn=True)])[0].warn
    assert goals_of_checks([{"metric": "a", "op": ">=", "required": 1.0, "threshold": "a >= 1 (warn)", "warn": True}])[0].warn
    low = Goal(metric="val_perplexity", better_high=False, required=3.0, text="", warn=True)
    rising = _curve("validate", "val_perplexity", list(range(1, 21)), [1.0, *np.linspace(2.0, 9.0, 19).tolist()])
    found = {f.rule for f in diagnose_evidence(_evidence(rising, goals=(low,), modes={"val_perplexity": True})).findings}
    assert found == {"ran_too_long", "overtraining"}, "better low, as the threshold has it"
