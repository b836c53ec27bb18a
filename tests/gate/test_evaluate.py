"""The verdict is a pure function of thresholds and numbers."""

import math
import operator
import struct

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
        ("val_acc == 0.8", "'==' is not an operator"),
        ("val_acc", "no operator"),
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


@given(
    value=st.floats(),
    bound=st.floats(allow_nan=False, allow_infinity=False),
    op=st.sampled_from(list(PYTHON_OPERATORS)),
)
def test_a_check_passes_exactly_when_python_says_so_and_the_value_is_finite(value: float, bound: float, op: str) -> None:
    """Agrees with Python's own comparison; NaN and infinities pass nothing."""
    decision = evaluate([Threshold("m", op, bound)], {"m": value})  # type: ignore[arg-type]
    expected = math.isfinite(value) and PYTHON_OPERATORS[op](value, bound)
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


def test_a_miss_by_rounding_shows_its_digits() -> None:
    """342 of 360 in float32 is less than 0.95, and the reason doesn't say that 0.95 misses 0.95."""
    value = struct.unpack("f", struct.pack("f", 342 / 360))[0]
    (reason,) = evaluate(["acc >= 0.95"], {"acc": value}).reasons
    assert reason == "acc >= 0.95: got 0.949999988, misses by 1.192e-08"


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
    assert margin(evaluate(thresholds, {"acc": 0.72, "size": 0.5})) == -math.inf
    for accuracy in (0.7, 0.9):
        assert margin(evaluate(["acc >= 0.8"], {"acc": accuracy}, ineligible=["interrupted"])) == -math.inf
    assert margin(evaluate(["acc >= champion"], {"acc": 0.9})) == -math.inf
