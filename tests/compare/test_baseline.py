"""One run against a baseline: worse by more than is allowed, or not."""

import math
from collections.abc import Callable

import numpy as np
import pytest

import fitgate
from fitgate.compare import BaselineCheck, ComparisonError, check_baseline, compare

MakeRun = Callable[..., fitgate.Run]


@pytest.fixture
def hold(make_run: MakeRun) -> Callable[..., BaselineCheck]:
    """Hold one run's values against a baseline's."""

    def hold(base: list[float], other: list[float], allowed: float, metric: str = "val_acc") -> BaselineCheck:
        runs = [make_run(name, {metric: values} if values else None) for name, values in (("base", base), ("other", other))]
        return check_baseline(compare(runs[1:], metric, baseline=runs[0]), allowed)

    return hold


@pytest.mark.parametrize(
    ("metric", "base", "other", "allowed", "worse"),
    [
        ("val_acc", 0.90, 0.88, 0.01, True),
        ("val_acc", 0.90, 0.895, 0.01, False),
        ("val_acc", 0.90, 0.95, 0.0, False),
        ("val_acc", 0.90, 0.90, 0.0, False),
        ("val_acc", 0.90, 0.899, 0.0, True),
        ("val_loss", 0.30, 0.32, 0.01, True),
        ("val_loss", 0.30, 0.305, 0.01, False),
        ("val_loss", 0.30, 0.10, 0.01, False),
        ("val_acc", 0.90, 0.89, 0.01, False),  # 0.90 - 0.89 is a little more than 0.01 in floats
        ("val_acc", float(np.float32(0.86)), float(np.float32(0.85)), 0.01, False),  # and so it is in single precision
        ("val_acc", 0.90, 0.8899, 0.01, True),
    ],
)
def test_worse_means_by_more_than_allowed(
    hold: Callable[..., BaselineCheck], metric: str, base: float, other: float, allowed: float, *, worse: bool
) -> None:
    """In the metric's unit and its direction; exactly as much is not more, whatever floats say."""
    check = hold([base], [other], allowed, metric)
    assert check.worse is worse
    assert check.worse_by == pytest.approx(base - other if metric == "val_acc" else other - base)


@pytest.mark.parametrize(("other", "why"), [([math.nan], "NaN"), ([math.inf, math.nan], "NaN"), ([], "never recorded")])
def test_a_run_without_a_value_is_worse(hold: Callable[..., BaselineCheck], other: list[float], why: str) -> None:
    """NaN, infinite or missing: no number saves it, and the reason says which."""
    check = hold([0.1], other, 1e9)
    assert check.worse
    assert check.worse_by is None
    assert why in check.reason


def test_best_is_held_against_best(hold: Callable[..., BaselineCheck]) -> None:
    """Not the last values."""
    assert not hold([0.9, 0.2], [0.91, 0.1], 0.0).worse


@pytest.mark.parametrize("base", [[math.nan], []])
def test_a_baseline_without_a_value_is_an_error(hold: Callable[..., BaselineCheck], base: list[float]) -> None:
    """Nothing could be worse than nothing."""
    with pytest.raises(ComparisonError, match="the baseline base has no val_acc to compare with"):
        hold(base, [0.5], 0.1)


@pytest.mark.parametrize("allowed", [-0.1, math.nan, math.inf])
def test_a_wrong_amount_is_named(hold: Callable[..., BaselineCheck], allowed: float) -> None:
    """A number from 0 up."""
    with pytest.raises(ComparisonError, match=r"such as 0\.01; got"):
        hold([0.5], [0.5], allowed)


def test_exactly_one_run_is_judged(make_run: MakeRun) -> None:
    """Several, none, or no baseline are wrong use, each with its own word."""
    runs = [make_run(name, {"x": [0.5]}) for name in "abc"]
    with pytest.raises(ComparisonError, match="held against the baseline a, and there are 2"):
        check_baseline(compare(runs, "x", baseline=runs[0]), 0.1)
    with pytest.raises(ComparisonError, match="held against the baseline a, and there is none"):
        check_baseline(compare([], "x", baseline=runs[0]), 0.1)
    with pytest.raises(ComparisonError, match="no baseline"):
        check_baseline(compare(runs[:2], "x"), 0.1)
