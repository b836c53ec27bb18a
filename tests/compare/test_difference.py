"""Whether groups differ: against SciPy's intervals, and by simulation of groups whose truth is known."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_ind

import fitgate
from fitgate.compare import Difference, Group, MetricChoice, compare
from fitgate.compare._difference import differences, interval

MakeRun = Callable[..., fitgate.Run]
HIGH = MetricChoice(name="acc", stage="validate", mode="max", why=None, mode_why="")
LOW = MetricChoice(name="loss", stage="validate", mode="min", why=None, mode_why="")


def group(letter: str, values: Sequence[float]) -> Group:
    """A group of finished seeds."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    ids = tuple(f"{letter}{i}" for i in range(len(values)))
    return Group(letter=letter, label=letter, hparams={}, run_ids=ids, values=tuple(sorted(values)), mean=float(np.mean(values)), sd=sd)


def held(*groups: Sequence[float], metric: MetricChoice = HIGH) -> tuple[Difference, ...]:
    """The differences of groups A, B, … with these values."""
    return differences([group("ABCDEFGH"[i], values) for i, values in enumerate(groups)], metric)


def test_with_many_seeds_the_interval_is_scipys_bootstrap_and_welchs() -> None:
    """Where small-sample corrections vanish, the three agree."""
    generator = np.random.default_rng(0)
    one, two = generator.lognormal(0.0, 0.4, size=400), generator.normal(0.9, 0.2, size=300)
    low, high = interval(one.tolist(), two.tolist())
    welch = ttest_ind(one, two, equal_var=False).confidence_interval(0.95)
    plain = bootstrap(
        (one, two), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), method="percentile", rng=generator, n_resamples=20_000
    ).confidence_interval
    for reference in (welch, plain):
        assert low == pytest.approx(reference.low, abs=0.003)
        assert high == pytest.approx(reference.high, abs=0.003)


@pytest.mark.parametrize("sizes", [(3, 3), (4, 7), (5, 5), (12, 9)])
def test_with_few_seeds_the_interval_is_no_narrower_than_students(sizes: tuple[int, int]) -> None:
    """A plain bootstrap of three seeds is far too sure; Welch's interval is the least."""
    generator = np.random.default_rng(sum(sizes))
    for _ in range(20):
        one, two = generator.normal(size=sizes[0]), generator.normal(1.0, 2.0, size=sizes[1])
        low, high = interval(one.tolist(), two.tolist())
        welch = ttest_ind(one, two, equal_var=False).confidence_interval(0.95)
        width = welch.high - welch.low
        assert low <= welch.low + 0.02 * width
        assert high >= welch.high - 0.02 * width


def test_skewed_seeds_have_a_skewed_interval() -> None:
    """On the long side it reaches further than Student's, and than SciPy's bootstrap, which is too narrow for few seeds."""
    generator = np.random.default_rng(5)
    one, two = generator.lognormal(0.0, 1.5, size=12), generator.normal(0.0, 0.1, size=12)
    low, high = interval(one.tolist(), two.tolist())
    plain = bootstrap(
        (one, two), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), method="percentile", rng=generator, n_resamples=20_000
    ).confidence_interval
    welch = ttest_ind(one, two, equal_var=False).confidence_interval(0.95)
    width = welch.high - welch.low
    assert plain.high < high
    assert welch.high + 0.03 * width < high
    assert low == pytest.approx(welch.low, abs=0.02 * width)


@pytest.mark.parametrize("draw", ["normal", "lognormal", "uneven"])
@pytest.mark.parametrize(("seeds", "groups"), [(3, 2), (5, 2), (3, 4)])
def test_groups_without_a_difference_are_told_apart_by_chance_only(draw: str, seeds: int, groups: int) -> None:
    """Over 150 draws from one truth at most about 5 % find any difference, over all pairs together."""
    generator = np.random.default_rng(seeds * groups)
    found = 0
    for _ in range(150):
        values = generator.standard_normal((groups, seeds))
        if draw == "lognormal":
            values = np.exp(0.7 * values)
        elif draw == "uneven":
            values[0] *= 4
        found += any(d.better for d in held(*values.tolist()))
    assert found <= 13  # 5 % is 7.5, give or take its own chance


def test_a_clear_difference_is_found() -> None:
    """Also with three seeds each; the better one is that with the higher accuracy, or the lower loss."""
    (high,) = held([0.91, 0.915, 0.92], [0.70, 0.71, 0.70])
    assert high.better == "A"
    assert high.difference == pytest.approx(0.915 - 0.7033, abs=1e-4)
    assert high.low is not None
    assert 0 < high.low < 0.2117 < (high.high or 0)
    (low,) = held([0.91, 0.915, 0.92], [0.70, 0.71, 0.70], metric=LOW)
    assert low.better == "B"


@pytest.mark.parametrize(
    ("one", "two", "why"),
    [
        ([0.90, 0.92, 0.91, 0.93], [0.90, 0.91, 0.92, 0.90], "the interval of the difference holds 0"),
        ([0.90, 0.92, 0.91], [0.50, 0.51], "B has 2 finished seeds; at least 3 are needed"),
        ([0.90], [0.50, 0.51, 0.52], "A has 1 finished seed; at least 3 are needed"),
        ([0.9, 0.9, 0.9], [0.5, 0.5, 0.5], "the seed changes nothing, so its noise was not measured"),
    ],
)
def test_what_cannot_be_told_is_said(one: list[float], two: list[float], why: str) -> None:
    """Too few seeds, an interval over 0, no noise: never a verdict from nothing."""
    (difference,) = held(one, two)
    assert difference.better is None
    assert why in difference.reason


def test_more_groups_ask_for_more_evidence() -> None:
    """The confidence is shared over all pairs: what two groups show may be chance among six. Too small groups take no share."""
    one, two = [0.90, 0.915, 0.91, 0.92], [0.88, 0.89, 0.885, 0.90]
    others = [[0.5 + i / 100, 0.52 + i / 100, 0.53] for i in range(4)]
    assert held(one, two)[0].better == "A"
    assert held(one, two, *([v] for v in (0.1, 0.2, 0.3, 0.4)))[0].better == "A"
    assert held(one, two, *others)[0].better is None


def test_all_pairs_of_five_but_only_the_best_ones_of_six() -> None:
    """The list stays readable."""
    values = [[0.1 * i, 0.1 * i + 0.01, 0.1 * i + 0.02] for i in range(6, 0, -1)]
    assert len(held(*values[:5])) == 10
    assert [(d.first, d.second) for d in held(*values)] == [("A", letter) for letter in "BCDEF"]


def test_the_same_files_give_the_same_interval(make_run: MakeRun) -> None:
    """Draws are seeded, whichever order the runs come in."""
    values = {1: [0.5, 0.6, 0.7], 2: [0.3, 0.5, 0.4]}
    runs = [make_run(f"{lr}-{s}", {"x": [v]}, hparams={"lr": lr, "seed": s}) for lr in values for s, v in enumerate(values[lr])]
    assert compare(runs, "x").differences == compare(runs[::-1], "x").differences
