"""Each rule on curves whose answer is plain: found, not found a step away, and silent with too little to go by."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.spike import SpikeDetection, TrainingSpikeException
from scipy.optimize import curve_fit

from fitgate.diagnosis import RULES, Curve, Diagnosis, Evidence, Finding, Goal, diagnose_evidence
from fitgate.diagnosis._finding import NotEnough
from fitgate.diagnosis._saturation import fit_saturation

Values = npt.NDArray[np.floating[Any]] | list[float]
BATCHES = 10
RNG = np.random.default_rng(0)


def _curve(name: str, values: Values, *, stage: str, every: int) -> Curve:
    value = np.asarray(values, dtype=np.float64)
    global_step = every * (1 + np.arange(len(value)))
    epoch = (global_step - 1) // BATCHES
    return Curve(stage=stage, name=name, step=global_step - 1, global_step=global_step, epoch=epoch, value=value)


def _evidence(
    *,
    train: Mapping[str, Values] | None = None,
    validation: Mapping[str, Values] | None = None,
    goals: tuple[Goal, ...] = (),
    **facts: Any,
) -> Evidence:
    """Training curves have a point a step, validation curves one every ten steps."""
    curves = [_curve(n, v, stage="train", every=1) for n, v in (train or {}).items()]
    curves += [_curve(n, v, stage="validate", every=BATCHES) for n, v in (validation or {}).items()]
    return Evidence(curves={(c.stage, c.name): c for c in curves}, goals=goals, **facts)


def _at_least(required: float, metric: str = "val_acc") -> Goal:
    return Goal(metric=metric, better_high=True, required=required, text=f"{metric} >= {required}")


def _look(rule: str, evidence: Evidence) -> list[Finding] | None:
    outcome = next(r for r in RULES if r.name == rule).look(evidence)
    return None if isinstance(outcome, NotEnough) else list(outcome)


def _noisy(values: Values, spread: float = 0.01) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64) + np.random.default_rng(1).normal(0, spread, len(values))


FALLING = 2.3 * 0.985 ** np.arange(200) + 0.1
EPOCHS = np.arange(20)
RISING_ACC = 0.9 - 0.7 * 0.7**EPOCHS


def test_every_rule_says_when_it_has_too_little(subtests: pytest.Subtests) -> None:
    """No data at all: every rule is listed as not knowing, and nothing is found."""
    diagnosis = diagnose_evidence(_evidence())
    assert diagnosis == Diagnosis(not_enough_data=tuple(rule.name for rule in RULES))
    short = _evidence(
        train={"loss": [2.0, 1.0, 1.5], "acc": [0.5, 0.1]},
        validation={"val_loss": [1.0, 3.0], "val_acc": [0.9, 0.1]},
        goals=(_at_least(0.95),),
    )
    for rule in RULES:
        with subtests.test(rule.name):
            assert not _look(rule.name, short)
    assert set(diagnose_evidence(short).not_enough_data) == {r.name for r in RULES} - {"non_finite"} - {"missed_checkpoint"} | {
        "missed_checkpoint"
    }


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite(value: float) -> None:
    """The first bad step and the values before it; a curve that grew asks for a lower rate, a sudden one for a look at the batch."""
    grew = [1.0, 2.0, 8.0, 90.0, value, value]
    (finding,) = _look("non_finite", _evidence(train={"loss": grew})) or []
    assert finding.severity == "problem"
    assert finding.steps == (5, 6)
    assert finding.evidence["first_step"] == 5
    assert finding.evidence["values_before"] == [1.0, 2.0, 8.0, 90.0]
    assert finding.evidence["steps_before"] == [1, 2, 3, 4]
    assert finding.evidence["count"] == 2
    assert "learning rate" in finding.try_[0]
    (sudden,) = _look("non_finite", _evidence(train={"loss": [1.0, 0.9, 0.8, value, 0.7]})) or []
    assert "batch" in sudden.try_[0]
    assert _look("non_finite", _evidence(train={"loss": [1.0], "weight_norm": [value]})) == []
    late = _evidence(validation={"val_loss": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, value]})
    (finding,) = _look("non_finite", late) or []
    assert finding.evidence["values_before"] == [0.9, 0.8, 0.7, 0.6, 0.5]
    assert finding.evidence["steps_before"] == [20, 30, 40, 50, 60], "where each of the five was seen"


def test_a_non_finite_loss_hides_what_follows_from_it() -> None:
    """Beside it no rule complains about the part that is left."""
    flat = [2.3] * 30 + [np.nan] * 30
    assert [f.rule for f in diagnose_evidence(_evidence(train={"loss": flat})).findings] == ["non_finite"]


def test_loss_not_falling() -> None:
    """Flat within 0.1 % or rising is found; falling by 1 % is not, and under heavy noise nobody knows."""
    (flat,) = _look("loss_not_falling", _evidence(train={"loss": _noisy(np.full(400, np.log(10)))}, classes=10)) or []
    assert not flat.evidence["rising"]
    assert "guessing" in flat.summary
    (rising,) = _look("loss_not_falling", _evidence(train={"train_loss": np.linspace(1, 2, 100)})) or []
    assert rising.evidence["rising"]
    shot_up = np.concatenate([[2.3, 2.4, 1e3, 1e9, 1e20], np.linspace(60, 13, 145)])
    (left,) = _look("loss_not_falling", _evidence(train={"loss": shot_up})) or []
    assert left.evidence["rising"], "a huge first window is no measure of a fall"
    assert _look("loss_not_falling", _evidence(train={"loss": _noisy(np.linspace(2, 1.98, 2000), 0.002)})) == []
    assert _look("loss_not_falling", _evidence(train={"loss": _noisy(np.linspace(2.0, 1.99, 100), 0.2)})) is None


def test_a_loss_that_rests_low_is_no_problem() -> None:
    """Weights that were trained before have nothing left to fall: where the threshold is met, or the loss is far under ln(classes), a hint."""
    flat = _noisy([0.2] * 400, 0.0005)
    for facts in ({"goals": (_at_least(0.9),), "validation": {"val_acc": [0.93] * 8}}, {"classes": 10}):
        assert [f.severity for f in _look("loss_not_falling", _evidence(train={"loss": flat}, **facts)) or []] == ["hint"]
    assert _look("loss_not_falling", _evidence(train={"loss": _noisy([0.2] * 400, 0.02)})) is None


@pytest.mark.parametrize("seed", range(30))
def test_a_small_noisy_loss_that_rests_is_fine(seed: int) -> None:
    """As of weights that were trained before: skewed near 0, with a constant rate and the threshold met."""
    flat = np.random.default_rng(seed).lognormal(-6.5, 1.0, 800)
    evidence = _evidence(
        train={"loss": flat, "lr-SGD": [0.005] * 800}, validation={"val_acc": [0.97] * 40}, goals=(_at_least(0.9),), classes=10
    )
    assert [f for f in diagnose_evidence(evidence).findings if f.severity == "problem"] == []


def test_spike() -> None:
    """Three times the mean of the ten before, as Lightning's SpikeDetection counts: a hint when the loss comes back, else a problem."""
    once = FALLING.copy()
    once[120] = 20.0
    (finding,) = _look("spike", _evidence(train={"loss": once})) or []
    assert (finding.severity, finding.evidence["count"], finding.evidence["largest_step"]) == ("hint", 1, 121)
    assert finding.evidence["came_back"]
    stays = FALLING.copy()
    stays[120:] = 9.0
    (finding,) = _look("spike", _evidence(train={"loss": stays})) or []
    assert finding.severity == "problem"
    for steps, severity in ((400, "problem"), (4000, "hint")):
        thrice = np.full(steps, 1.0)
        thrice[[100, 200, 300]] = 9.0
        (finding,) = _look("spike", _evidence(train={"loss": _noisy(thrice)})) or []
        assert (finding.evidence["count"], finding.severity) == (3, severity)
    assert _look("spike", _evidence(train={"loss": FALLING * np.random.default_rng(2).gamma(4, 0.25, 200)})) == []
    small = FALLING.copy()
    small[180] = 3.0 * small[170:180].mean()
    assert _look("spike", _evidence(train={"loss": small})) == [], "near zero a hard batch is no spike"


@pytest.mark.parametrize(("times", "found"), [(2.99, False), (3.01, True)])
def test_a_spike_is_where_lightning_sees_one(tmp_path: Path, times: float, *, found: bool) -> None:
    """Off the mean of the ten before by twice that mean, as the SpikeDetection that the rule is named after has it by default."""
    losses = _noisy(np.ones(60))
    losses[50] = times * losses[40:50].mean()
    detection = SpikeDetection(exclude_batches_path=tmp_path)
    seen = []
    for index, loss in enumerate(losses.tolist()):
        try:
            detection.on_train_batch_end(Fabric(accelerator="cpu"), torch.tensor(loss), None, index)
        except TrainingSpikeException:
            seen.append(index)
    assert bool(seen) is found
    assert [f.steps for f in _look("spike", _evidence(train={"loss": losses})) or []] == [(51, 51)] * found


def test_overfit_by_the_loss() -> None:
    """Validation loss rises while training falls on, for three validations; before that, or with both falling, nothing."""
    up = np.concatenate([np.linspace(1.5, 0.8, 8), np.linspace(0.85, 1.6, 12)])
    (finding,) = _look("overfit", _evidence(train={"loss": FALLING}, validation={"val_loss": up})) or []
    assert (finding.severity, finding.evidence["metric"], finding.evidence["train_metric"]) == ("problem", "val_loss", "loss")
    assert finding.steps[0] == pytest.approx(80, abs=10)
    assert finding.evidence["rise"] == pytest.approx(1.53 / 0.85 - 1, abs=0.02), "the median of the last three over the smoothed best"
    once = np.concatenate([np.linspace(1.5, 0.8, 17), [0.8, 0.8, 1.6]])
    assert _look("overfit", _evidence(train={"loss": FALLING}, validation={"val_loss": once})) == [], "one bad validation is no rise"
    assert "train mode" in finding.evidence["note"]
    assert _look("overfit", _evidence(train={"loss": FALLING}, validation={"val_loss": np.linspace(2.3, 0.5, 20)})) == []
    both = np.concatenate([FALLING[:80], FALLING[80] + 0.01 * np.arange(120)])
    assert _look("overfit", _evidence(train={"loss": both}, validation={"val_loss": up})) == [], "training rises too: that is no overfit"
    assert _look("overfit", _evidence(validation={"val_loss": up})) is None


@pytest.mark.parametrize(("end", "found"), [(1.64, False), (1.66, True)])
def test_overfit_by_the_loss_needs_a_gap(end: float, *, found: bool) -> None:
    """(validation - training) / training above .1 at the end: a validation loss that rose to the training's is no overfit yet."""
    train = np.concatenate([np.linspace(2.5, 1.5, 140), np.full(60, 1.5)])
    rose = np.concatenate([np.linspace(2.0, 1.2, 8), np.linspace(1.25, end, 8), np.full(4, end)])
    findings = _look("overfit", _evidence(train={"loss": train}, validation={"val_loss": rose})) or []
    assert [f.evidence["gap"] for f in findings] == [pytest.approx((end - 1.5) / 1.5)] * found


@pytest.mark.parametrize(
    ("train", "validation", "found"), [(0.88, 0.79, False), (0.88, 0.77, True), (0.95, 0.89, False), (0.95, 0.87, True)]
)
def test_overfit_by_the_accuracy(train: float, validation: float, *, found: bool) -> None:
    """A gap of .10, or of .07 where training is above .9."""
    evidence = _evidence(train={"train_acc": np.full(100, train)}, validation={"val_acc": np.full(10, validation)})
    assert bool(_look("overfit", evidence)) is found


def test_a_gap_says_what_dropout_does() -> None:
    """With dropout among the hyperparameters the evidence names it, and underfit is only a hint."""
    low = {"val_acc": _noisy(0.6 + 0 * EPOCHS, 0.005)}
    evidence = _evidence(
        train={"train_acc": _noisy(np.full(200, 0.62))}, validation=low, goals=(_at_least(0.9),), hparams={"net": {"dropout": 0.4}}
    )
    (finding,) = _look("underfit", evidence) or []
    assert finding.severity == "hint"
    assert "net.dropout=0.4" in finding.evidence["note"]


def test_underfit() -> None:
    """Both low and close; not when training reaches the threshold, when they are apart, or when there is no threshold."""
    low = {"val_acc": _noisy(0.6 + 0 * EPOCHS, 0.005)}

    def look(train: float, goal: float | None = 0.9) -> list[Finding] | None:
        goals = () if goal is None else (_at_least(goal),)
        return _look("underfit", _evidence(train={"accuracy": _noisy(np.full(200, train))}, validation=low, goals=goals))

    (finding,) = look(0.62) or []
    assert (finding.severity, finding.evidence["train_metric"]) == ("problem", "accuracy")
    assert look(0.95) == []
    assert look(0.75) == []
    assert look(0.62, goal=0.55) == []
    assert look(0.62, goal=None) is None
    climbing = {"val_acc": np.linspace(0.1, 0.7, 20)}
    assert _look("underfit", _evidence(train={"acc": np.linspace(0.1, 0.7, 200)}, validation=climbing, goals=(_at_least(0.9),))) == []


def test_overtraining() -> None:
    """Ten validations without a gain of .01 are found, nine are not; small gains add up."""
    gain_until = {n: np.concatenate([np.linspace(0.1, 0.8, 10), np.full(n, 0.805)]) for n in (9, 10)}
    assert _look("overtraining", _evidence(validation={"val_acc": gain_until[9]}, goals=(_at_least(0.9),))) == []
    (finding,) = _look("overtraining", _evidence(validation={"val_acc": gain_until[10]}, goals=(_at_least(0.9),))) or []
    assert (finding.evidence["validations_since"], finding.evidence["last_gain_step"]) == (10, 100)
    slow = 0.5 + 0.002 * np.arange(40)
    assert _look("overtraining", _evidence(validation={"val_acc": slow}, goals=(_at_least(0.9),))) == []


def test_oscillation() -> None:
    """Falls of .05 over a quarter of the epochs; falls of .04 are none, nor is what 20 samples do by chance."""
    saw = np.where(EPOCHS % 2, 0.70, 0.763)
    (finding,) = _look("oscillation", _evidence(validation={"val_acc": saw})) or []
    assert (finding.severity, finding.evidence["falls"]) == ("problem", 10)
    assert _look("oscillation", _evidence(validation={"val_acc": np.where(EPOCHS % 2, 0.70, 0.743)})) == []
    assert _look("oscillation", _evidence(validation={"val_acc": (13 + EPOCHS % 2 + (EPOCHS > 5) + (EPOCHS > 12)) / 20})) is None, (
        "one of 20 samples, more or less"
    )
    assert _look("oscillation", _evidence(validation={"val_acc": RISING_ACC})) == []


def test_slow_convergence() -> None:
    """No epoch gains .01 while the accuracy is low; a good start or one real gain is not slow. Several validations an epoch count as one."""
    creep = 0.1 + 0.005 * EPOCHS
    (finding,) = _look("slow_convergence", _evidence(validation={"val_acc": creep}, goals=(_at_least(0.9),))) or []
    assert finding.severity == "problem"
    assert finding.evidence["greatest_gain"] == pytest.approx(0.005)
    assert _look("slow_convergence", _evidence(validation={"val_acc": 0.9 + 0.001 * EPOCHS}, goals=(_at_least(0.9),))) == []
    assert _look("slow_convergence", _evidence(validation={"val_acc": creep + 0.02 * (EPOCHS > 9)}, goals=(_at_least(0.9),))) == []
    often = _curve("val_acc", 0.1 + 0.004 * np.arange(40), stage="validate", every=2)
    assert _look("slow_convergence", Evidence(curves={("validate", "val_acc"): often}, goals=(_at_least(0.9),))) == []


def test_best_step() -> None:
    """In the last quarter with a real gain, or in the first tenth with a real loss after it; else neither."""

    def look(values: Values) -> list[str]:
        return [f.rule for r in ("stopped_too_early", "ran_too_long") for f in _look(r, _evidence(validation={"val_loss": values})) or []]

    assert look(np.linspace(2, 1, 20)) == ["stopped_too_early"]
    assert look(np.concatenate([[1.0], np.linspace(1.1, 2, 19)])) == ["ran_too_long"]
    assert look(np.concatenate([np.linspace(2, 1, 10), np.linspace(1, 1.3, 10)])) == []
    assert look(_noisy(np.full(20, 1.0))) == []


def test_bad_start() -> None:
    """A first loss above 1.5 ln C is far; one below is where a default or a trained net starts. Without the class count nobody knows."""
    assert _look("bad_start", _evidence(train={"loss": [1.6 * np.log(10), 1.0]}, classes=10)) != []
    assert _look("bad_start", _evidence(train={"loss": [1.4 * np.log(10), 1.0]}, classes=10)) == []
    assert _look("bad_start", _evidence(train={"loss": [0.1, 0.1]}, classes=10)) == []
    assert _look("bad_start", _evidence(train={"loss": [9.0, 1.0]})) is None


def test_learning_rate() -> None:
    """A loss that turned as the rate rose; one that fell only once it was cut; a constant rate and a falling loss are fine."""
    ramp = np.linspace(0.001, 1.0, 200)
    turned = np.concatenate([np.linspace(2.3, 0.5, 80), np.linspace(0.5, 2.3, 60), np.full(60, 2.3)])
    (finding,) = _look("learning_rate", _evidence(train={"loss": turned, "lr-SGD": ramp})) or []
    assert (finding.severity, finding.evidence["rate"]) == ("problem", "lr-SGD")
    assert finding.evidence["rate_there"] == pytest.approx(0.4, abs=0.06)
    cut = np.where(np.arange(200) < 140, 1.0, 0.01)
    stuck = np.concatenate([np.linspace(2.3, 1.0, 40), _noisy(np.full(100, 1.0)), np.linspace(0.6, 0.4, 60)])
    (finding,) = _look("learning_rate", _evidence(train={"loss": stuck, "lr-Adam": cut})) or []
    assert (finding.severity, finding.evidence["cut_step"]) == ("hint", pytest.approx(140, abs=10))
    assert _look("learning_rate", _evidence(train={"loss": FALLING, "lr-SGD": np.full(200, 0.1)})) == []
    assert _look("learning_rate", _evidence(train={"loss": turned})) is None


def test_noise() -> None:
    """A spread as wide as the margin is a hint, on either side of the threshold; a wide margin is not."""
    wide = _noisy(np.full(20, 0.80), 0.02)

    def look(required: float) -> list[Finding] | None:
        return _look("noise", _evidence(validation={"val_acc": wide}, goals=(_at_least(required),)))

    near = float(wide[-1])
    assert look(near + 0.005)
    assert look(near - 0.005)
    assert look(near + 0.1) == []
    steady = np.linspace(0.5, 0.8, 20)
    assert _look("noise", _evidence(validation={"val_acc": steady}, goals=(_at_least(0.805),))) == [], "a trend is no noise"


def test_missed_checkpoint() -> None:
    """Every threshold held at a step that was not judged; not when they held at different steps, or when the judged one passes."""
    accuracy, loss = [0.7, 0.85, 0.8, 0.75], [0.9, 0.5, 0.4, 0.8]
    goals = (_at_least(0.8), Goal(metric="val_loss", better_high=False, required=0.6, text="val_loss <= 0.6"))

    def look(judged: int, acc: Values = accuracy) -> list[Finding] | None:
        return _look("missed_checkpoint", _evidence(validation={"val_acc": acc, "val_loss": loss}, goals=goals, judged_step=judged))

    (finding,) = look(40) or []
    assert (finding.severity, finding.evidence["passing_step"], finding.evidence["judged_step"]) == ("problem", 20, 40)
    assert finding.try_ == ("Keep the weights that pass: ModelCheckpoint(monitor='val_acc', mode='max')",)
    assert look(20) == []
    assert look(40, acc=[0.9, 0.7, 0.7, 0.9]) == []
    apart = _evidence(validation={"val_acc": accuracy}, goals=goals, judged_step=40)
    often = _curve("val_loss", [0.4] * 8, stage="validate", every=5)
    apart = replace(apart, curves={**apart.curves, ("validate", "val_loss"): often})
    (finding,) = _look("missed_checkpoint", apart) or []
    assert finding.evidence["passing_validations"] == 2, "only where every threshold's metric was recorded"


def test_reach() -> None:
    """Levelling off at .8 puts .95 out of reach and .81 not; .79 is on its way. A straight line says nothing."""
    steps = np.arange(1.0, 31.0)
    levels = _noisy(0.8 - 0.5 * np.exp(-steps / 6), 0.003)
    resting = {"val_loss": _noisy(np.full(30, 0.7), 0.001)}
    (finding,) = _look("out_of_reach", _evidence(validation={"val_acc": levels, **resting}, goals=(_at_least(0.95),))) or []
    assert finding.evidence["level"] == pytest.approx(0.8, abs=0.01)
    assert finding.evidence["level_low"] <= 0.8 + 0.005
    assert _look("out_of_reach", _evidence(validation={"val_acc": levels, **resting}, goals=(_at_least(0.81),))) == []
    early = _noisy(0.8 - 0.5 * np.exp(-steps[:18] / 6), 0.002)
    on_its_way = _evidence(validation={"val_acc": early}, goals=(_at_least(0.79),))
    assert _look("out_of_reach", on_its_way) == []
    (finding,) = _look("within_reach", on_its_way) or []
    real = 10 * float(-6 * np.log(0.01 / 0.5))
    assert finding.evidence["crossing_step_low"] <= real <= finding.evidence["crossing_step_high"]
    straight = np.linspace(0.1, 0.6, 30)
    for rule in ("out_of_reach", "within_reach"):
        assert not _look(rule, _evidence(validation={"val_acc": straight}, goals=(_at_least(0.95),)))


def test_a_crossing_is_told_in_epochs_too() -> None:
    """With its interval, in the sentence and the numbers, counted from 0 as Lightning does: step 230 is the last of epoch 22 at ten steps each."""
    steps = np.arange(1.0, 19.0)
    values = _noisy(0.8 - 0.5 * np.exp(-steps / 6), 0.002)
    evidence = _evidence(validation={"val_acc": values}, goals=(_at_least(0.79),))
    (finding,) = _look("within_reach", evidence) or []
    saw = finding.evidence
    for end in ("", "_low", "_high"):
        assert saw[f"crossing_epoch{end}"] == (round(saw[f"crossing_step{end}"]) - 1) // BATCHES
    real = 10 * float(-6 * np.log(0.01 / 0.5))
    assert saw["crossing_epoch_low"] < saw["crossing_epoch"] < saw["crossing_epoch_high"]
    assert saw["crossing_epoch_low"] <= (real - 1) // BATCHES <= saw["crossing_epoch_high"]
    middle, low, high = (saw[f"crossing_epoch{end}"] for end in ("", "_low", "_high"))
    assert f"in epoch {middle} ({low} to {high}, counted from 0)" in finding.summary
    assert f"at step {round(saw['crossing_step'])} (" in finding.summary, "a step at which the metric is taken"
    curve = evidence.curves["validate", "val_acc"]
    by_hand = replace(evidence, curves={("validate", "val_acc"): replace(curve, epoch=0 * curve.epoch)})
    (finding,) = _look("within_reach", by_hand) or []
    assert "epoch" not in finding.summary, "where nobody counted epochs there are none to tell"
    assert finding.evidence["crossing_epoch"] is None


def test_the_fit_is_scipys() -> None:
    """Level and error of the best exponential agree with scipy's nonlinear least squares from the true parameters."""
    steps = np.arange(1.0, 41.0)
    values = _noisy(0.9 - 0.6 * np.exp(-steps / 5), 0.004)
    ours = fit_saturation(steps, values, better_high=True, required=0.99)
    assert ours is not None
    parameters, _ = curve_fit(lambda x, a, b, c: a - b * np.exp(-c * x), steps, values, p0=(0.9, 0.6, 0.2))
    left = values - (parameters[0] - parameters[1] * np.exp(-parameters[2] * steps))
    assert ours.level == pytest.approx(parameters[0], abs=5e-4)
    assert ours.left_over == pytest.approx(float(np.sqrt((left**2).sum() / 37)), rel=0.01)
    mirrored = fit_saturation(steps, -values, better_high=False, required=-0.99)
    assert mirrored is not None
    assert mirrored.level == pytest.approx(-ours.level)
