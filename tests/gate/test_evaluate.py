"""The verdict is a pure function of thresholds and numbers."""

import dataclasses
import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitgate import Threshold, ThresholdError, evaluate, margin
from fitgate.gate import Champion

PYTHON_OPERATORS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("val_acc => 0.8", 'Write it as "val_acc >= 0.8"'),
        ("val_acc =< 0.8", 'Write it as "val_acc <= 0.8"'),
        ("val_acc == 0.9", "'==' is not an operator"),
        ("val_acc == 0.9", 'Write it as "val_acc >= 0.9" where high is good, "val_acc <= 0.9" where low is.'),
        ("top_1 != champion", '"top_1 >= champion"'),
        ("val_acc 0.93", 'Write it as "val_acc >= 0.93" where'),
        ("val_acc == very good", 'Write it as "val_acc >= 0.8"'),
        ("val_acc", "no operator"),
        ("val_acc >=", "expected a metric's name, an operator"),
        ("0.8 <= acc <= 1", '"acc >= 0.8", "acc <= 1"'),
        ("__import__('os') >= 1", 'Write it as "val_acc >= 0.8"'),
        ("val_acc >= nan", "neither a finite number"),
        ("val_acc >= 1e999", "neither a finite number"),
        ("val_acc >= champion / 2", "neither a finite number"),
        ("", 'Write it as "val_acc >= 0.8"'),
    ],
)
def test_unreadable_threshold_shows_text_and_a_right_example(text: str, shown: str) -> None:
    """A threshold that can't be read is a ValueError with the offending text and how to write it."""
    with pytest.raises(ValueError, match="threshold") as caught:
        evaluate([text], {})
    assert repr(text) in str(caught.value)
    assert shown in str(caught.value)


@pytest.mark.parametrize("thresholds", [[], "val_acc >= 0.8", 3, ["a >= 1", "a >= 1"]])
def test_no_list_of_thresholds_is_an_error(thresholds: object) -> None:
    """Nothing to judge by, one bare text, and the same condition twice are refused."""
    with pytest.raises(ThresholdError):
        evaluate(thresholds, {"a": 1.0})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0.9", "good", [0.9], object(), np.zeros(3)], ids=["number in text", "text", "list", "object", "array"])
@pytest.mark.parametrize("whose", ["the run's", "the champion's"])
def test_what_is_no_number_is_refused_with_the_metrics_name(value: object, whose: str) -> None:
    """A text that reads as a number too: it would pass or miss by chance."""
    both: dict[str, object] = {"the run's": 0.9, "the champion's": 0.9, whose: value}
    with pytest.raises((TypeError, ValueError), match=rf"metric 'acc': the value must be .*, got {type(value).__name__}"):
        evaluate(["acc >= champion"], {"acc": both["the run's"]}, champion={"acc": both["the champion's"]})  # type: ignore[dict-item]


def test_a_margin_of_no_decision_is_refused() -> None:
    """Such as a gate's before its fit."""
    with pytest.raises(TypeError, match=r"margin takes a Decision, such as GateCallback.decision after the fit, got NoneType"):
        margin(None)  # type: ignore[arg-type]  # on purpose


def test_metrics_that_are_no_mapping_are_refused() -> None:
    """Such as a list of values in the thresholds' order."""
    with pytest.raises(TypeError, match=r"metrics must be a mapping of names to values, .*, got list: \[0.9\]"):
        evaluate(["acc >= 0.8"], [0.9])  # type: ignore[arg-type]  # on purpose


def test_none_is_a_missing_value() -> None:
    """It fails its threshold, as a metric that isn't there; no metric is offered as its own nearest name."""
    decision = evaluate(["acc >= 0.8"], {"acc": None, "loss": 0.1})
    assert decision == evaluate(["acc >= 0.8"], {"loss": 0.1})
    assert decision.reasons == ("acc >= 0.8: not recorded for the judged weights; recorded there: loss",)


@given(
    value=st.floats(),
    bound=st.floats(allow_nan=False, allow_infinity=False),
    op=st.sampled_from(list(PYTHON_OPERATORS)),
)
def test_a_check_passes_exactly_when_python_says_so_and_the_value_is_finite(value: float, bound: float, op: str) -> None:
    """Agrees with Python's own comparison, the float32 of the bound being the bound; NaN and infinities pass nothing."""
    decision = evaluate([Threshold("m", op, bound)], {"m": value})  # type: ignore[arg-type]
    with np.errstate(over="ignore"):
        rounded = float(np.float32(bound))
    on_it = value == rounded and math.isclose(value, bound, rel_tol=2.0**-24)
    expected = math.isfinite(value) and PYTHON_OPERATORS[op](bound if on_it else value, bound)
    assert (decision.verdict == "deploy") is expected
    assert decision.checks[0].passed is expected
    assert bool(decision.reasons) is not expected


@given(st.text())
def test_any_text_is_a_threshold_or_one_clear_error(text: str) -> None:
    """The grammar never fails in another way."""
    try:
        threshold = Threshold.parse(text)
    except ThresholdError as error:
        assert repr(text) in str(error)
    else:
        assert Threshold.parse(str(threshold)).metric == threshold.metric


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_TYPED = st.builds(
    Threshold,
    st.text(min_size=1).filter(str.strip),
    st.sampled_from(list(PYTHON_OPERATORS)),
    _NUMBERS | st.builds(Champion, st.sampled_from(["+", "*"]), _NUMBERS),
    confidence=st.none() | st.floats(min_value=0.5, max_value=1, exclude_max=True),
    kind=st.sampled_from(["proportion", "mean"]),
    warn=st.booleans(),
)


@given(_TYPED)
def test_the_text_of_a_threshold_means_the_same_threshold(typed: Threshold) -> None:
    """Copied from gate.json or a report and given again, with all that a typed one has, to the last digit."""
    again = Threshold.parse(str(typed))
    assert str(again) == str(typed)
    assert dataclasses.replace(again, kind=typed.kind) == typed
    assert typed.confidence is None or again.bound_kind == typed.bound_kind


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("val_acc >= 0.95 (95 % confidence)", Threshold("val_acc", ">=", 0.95, confidence=0.95)),
        ("val_loss <= 0.3 (99.9 % confidence, mean)", Threshold("val_loss", "<=", 0.3, confidence=0.999, kind="mean")),
        ("loss < 0.1 (warn)", Threshold("loss", "<", 0.1, warn=True)),
        ('"top 1" > champion * 0.98', Threshold("top 1", ">", "champion * 0.98")),  # type: ignore[arg-type]
    ],
)
def test_a_typed_threshold_reads_well(text: str, typed: Threshold) -> None:
    """What is usual is left out of its text, and what is not plain stands in quotes."""
    assert str(typed) == text
    assert Threshold.parse(text) == typed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("acc >= 0.8 (95 % sure)", "'95 % sure' in brackets is none of"),
        ("acc >= 0.8 (warn, warn)", "warn is given twice"),
        ("acc >= 0.8 ()", "in brackets is none of"),
        ("acc >= 0.8 (105 % confidence)", "expected a number from 0.5"),
        ("loss <= 0.8 (95 % confidence)", "does not tell what it is"),
        ('"acc >= 0.8', "can't read the threshold"),
    ],
)
def test_what_stands_in_brackets_is_read_or_refused(text: str, shown: str) -> None:
    """Never passed over: a confidence that is misspelt must not become a threshold without one."""
    with pytest.raises(ThresholdError) as caught:
        Threshold.parse(text)
    assert repr(text) in str(caught.value)
    assert shown in str(caught.value)


def test_missing_metric_fails_and_names_the_nearest() -> None:
    """A misspelt name is never a pass."""
    decision = evaluate(["val_ac >= 0.8"], {"val_acc": 0.9, "loss": 0.1})
    assert decision.verdict == "improve"
    assert "did you mean val_acc" in decision.reasons[0]


def test_ineligible_run_is_not_judged_on_its_numbers() -> None:
    """Eligibility comes first, whatever the numbers say."""
    decision = evaluate(["acc >= 0.8"], {"acc": 0.9}, ineligible=["interrupted by SIGTERM"])
    assert decision.verdict == "improve"
    assert decision.reasons == ("interrupted by SIGTERM",)
    assert decision.checks[0].passed


@given(st.floats(min_value=1e-3, max_value=1e6))
def test_a_value_recorded_as_float32_at_the_bound_is_on_the_bound(bound: float) -> None:
    """It passes `>=` and `<=`, and misses `>` and `<`, whichever way float32 rounds; its neighbours don't count as the bound."""
    value = float(np.float32(bound))
    for op, passes in ((">=", True), ("<=", True), (">", False), ("<", False)):
        check = evaluate([Threshold("m", op, bound)], {"m": value}).checks[0]  # type: ignore[arg-type]
        assert check.passed is passes
        assert check.margin == 0
    above, below = (float(np.nextafter(np.float32(bound), np.float32(to))) for to in (np.inf, -np.inf))
    assert evaluate([Threshold("m", ">", bound)], {"m": above}).verdict == "deploy"
    assert evaluate([Threshold("m", ">=", bound)], {"m": below}).verdict == "improve"


@pytest.mark.parametrize(("bound", "value"), [(1e-50, 0.0), (1e39, math.inf), (-1e39, -math.inf), (1e-44, float(np.float32(1e-44)))])
def test_what_float32_can_not_hold_is_not_on_the_bound(bound: float, value: float) -> None:
    """Too small or too large a bound is compared as it stands."""
    assert Threshold("m", ">=", bound).holds(value, bound) is (value >= bound)
    assert Threshold("m", "<=", bound).holds(value, bound) is (value <= bound)


def test_a_near_miss_shows_its_digits() -> None:
    """The reason doesn't say that 0.95 misses 0.95."""
    value = float(np.nextafter(np.float32(0.95), np.float32(0)))
    (reason,) = evaluate(["acc >= 0.95"], {"acc": value}).reasons
    assert reason == "acc >= 0.95: got 0.949999928, misses by 7.153e-08"


def test_champion_bounds() -> None:
    """A relative bound moves with the champion; without one it is waived, and an absolute one must stand."""
    relative = "val_loss <= champion * 0.98"
    assert Threshold.parse(relative).value == Champion("*", 0.98)
    assert evaluate([relative], {"val_loss": 0.5}, champion={"val_loss": 0.52}).verdict == "deploy"
    assert evaluate([relative], {"val_loss": 0.5}, champion={"val_loss": 0.505}).verdict == "improve"
    first = evaluate([relative, "val_loss <= 1"], {"val_loss": 0.5})
    assert first.verdict == "deploy"
    assert first.checks[0].waived
    assert evaluate([relative], {"val_loss": 0.5}).verdict == "improve"


def test_a_missing_metric_is_not_waived_on_the_first_deployment() -> None:
    """Without a champion, a misspelt or NaN metric still fails, and a champion without the metric blocks."""
    first = evaluate(["val_los <= champion", "val_acc >= 0.5"], {"val_loss": 0.5, "val_acc": 0.9})
    assert first.verdict == "improve"
    assert "did you mean val_loss" in first.reasons[0]
    assert evaluate(["val_loss <= champion", "val_acc >= 0.5"], {"val_loss": math.nan, "val_acc": 0.9}).verdict == "improve"
    odd = evaluate(["val_loss <= champion"], {"val_loss": 0.5}, champion={"val_acc": 0.9})
    assert odd.verdict == "improve"
    assert "waived" not in odd.reasons[0]


@pytest.mark.parametrize("artifact", ["artifact.size_mb <= 20", "artifact.size_mb <= champion * 1.1"])
def test_the_first_deployment_does_not_stand_on_the_size_of_its_files(artifact: str) -> None:
    """Where what is relative is waived, one absolute threshold on a recorded metric must stand."""
    metrics = {"val_acc": 0.01, "artifact.size_mb": 3.0}
    first = evaluate(["val_acc >= champion", artifact, Threshold("val_acc", ">=", 0, warn=True)], metrics)
    assert first.verdict == "improve"
    assert "nothing stands to judge by" in first.reasons[-1]
    assert evaluate(["val_acc >= champion", artifact, "val_acc >= 0"], metrics).verdict == "deploy"
    live = {"val_acc": 0.005, "artifact.size_mb": 3.0}
    assert evaluate(["val_acc >= champion", artifact], metrics, champion=live).verdict == "deploy"


def test_a_warning_threshold_reports_without_blocking() -> None:
    """`warn=True` never turns a deploy into an improve."""
    decision = evaluate(["acc >= 0.8", Threshold("loss", "<", 0.1, warn=True)], {"acc": 0.9, "loss": 0.5})
    assert decision.verdict == "deploy"
    assert not decision.checks[1].passed


def test_the_margin_of_a_decision_is_the_worst_relative_one() -> None:
    """At least 0 for a deploy, below for a miss, -inf for what can't be judged; warnings and waived checks don't count."""
    thresholds: list[str | Threshold] = ["acc >= 0.8", "loss <= 0.5", Threshold("size", "<=", 1, warn=True)]
    passing = evaluate(thresholds, {"acc": 0.88, "loss": 0.48, "size": 9.0})
    assert margin(passing) == pytest.approx(0.02 / 0.5)
    assert margin(evaluate(thresholds, {"acc": 0.72, "loss": 0.48, "size": 0.5})) == pytest.approx(-0.1)
    assert margin(evaluate(["x > 0"], {"x": 0.25})) == 0.25
    assert margin(evaluate(["x >= 0.8"], {"x": 0.8})) == 0
    on_it = margin(evaluate(["x > 0.8", "y > 0"], {"x": 0.8, "y": 1.0}))
    assert -1e-300 < on_it < 0, "an improve, by as little as there is"
    assert margin(evaluate(thresholds, {"acc": 0.72, "size": 0.5})) == -math.inf
    for accuracy in (0.7, 0.9):
        assert margin(evaluate(["acc >= 0.8"], {"acc": accuracy}, ineligible=["interrupted"])) == -math.inf
    assert margin(evaluate(["acc >= champion"], {"acc": 0.9})) == -math.inf
