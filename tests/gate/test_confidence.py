"""Confident thresholds, against SciPy's intervals and by simulation of models whose truth is known."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from fitgate import Threshold, ThresholdError, evaluate
from fitgate.gate import Samples


@pytest.mark.parametrize("n", [1, 20, 200, 20_000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.85, 1.0])
@pytest.mark.parametrize("op", [">=", "<="])
def test_the_bound_of_a_proportion_is_wilsons(n: int, share: float, op: str) -> None:
    """The same number as SciPy's one-sided Wilson interval."""
    hits = round(share * n)
    threshold = Threshold("acc", op, 0.5, confidence=0.95)  # type: ignore[arg-type]
    (check,) = evaluate([threshold], {"acc": hits / n}, samples={"acc": Samples(n=n)}).checks
    interval = binomtest(hits, n, alternative="greater" if op == ">=" else "less").proportion_ci(0.95, method="wilson")
    assert check.bound == pytest.approx(interval.low if op == ">=" else interval.high)


@pytest.mark.parametrize("n", [200, 2_000, 20_000])
def test_a_model_just_under_the_threshold_is_deployed_by_luck_only_without_confidence(n: int) -> None:
    """Of models with a true accuracy just under 0.8, a plain threshold deploys about half, a confident one at most 5 %.

    Every count of hits that such a model can score is judged, and weighs as often as it comes.
    """
    truth = 0.8 - 1 / n
    models = 20_000
    hits, times = np.unique(np.random.default_rng(n).binomial(n, truth, size=models), return_counts=True)

    def deployed(threshold: Threshold) -> float:
        verdicts = (evaluate([threshold], {"val_acc": h / n}, samples={"val_acc": Samples(n=n)}).verdict for h in hits.tolist())
        return float(sum(t for v, t in zip(verdicts, times.tolist(), strict=True) if v == "deploy")) / models

    assert 0.4 < deployed(Threshold("val_acc", ">=", 0.80)) < 0.6
    assert deployed(Threshold("val_acc", ">=", 0.80, confidence=0.95)) <= 0.05


@pytest.mark.parametrize(
    ("batches", "models"),
    [
        *[(3, 20), (5, 20), (10, 400), (30, 150), (100, 40)],
        *[pytest.param(batches, 2_000, marks=[pytest.mark.stress, pytest.mark.timeout(600)]) for batches in (10, 15, 30, 100)],
    ],
)
@pytest.mark.parametrize("losses", ["normal", "exponential", "exponential of eight"])
@pytest.mark.parametrize("op", ["<=", ">="])
def test_a_mean_at_the_threshold_passes_at_most_one_time_in_twenty(batches: int, models: int, losses: str, op: str) -> None:
    """For few batches and for skewed ones, on either side; with fewer than ten nothing passes, and the reason says so."""
    generator = np.random.default_rng(batches)
    shape = {"normal": 1, "exponential": 1, "exponential of eight": 8}[losses]
    draw = generator.normal if losses == "normal" else lambda mean, _spread, size: generator.exponential(mean, size)
    threshold = Threshold("val_loss", op, 0.5, confidence=0.95, kind="mean")  # type: ignore[arg-type]
    deployed = 0
    for _ in range(models):
        values = draw(0.5, 0.1, (batches, shape)).mean(axis=1)
        samples = {"val_loss": Samples(batch_values=values.tolist(), batch_sizes=[shape] * batches)}
        decision = evaluate([threshold], {"val_loss": float(values.mean())}, samples=samples)
        deployed += decision.verdict == "deploy"
        assert batches >= 10 or "too few batches" in decision.reasons[0]
    # One-sided: by chance alone more than this come once in a thousand tests where the truth is 5 %.
    assert deployed <= binom.ppf(0.999, models, 0.05) * (batches >= 10)


def test_enough_samples_are_just_enough() -> None:
    """At the n that the check names the same accuracy passes, and with one sample fewer it doesn't."""
    threshold = Threshold("val_acc", ">=", 0.80, confidence=0.95)

    def judge(n: int) -> bool:
        return evaluate([threshold], {"val_acc": 0.85}, samples={"val_acc": Samples(n=n)}).checks[0].passed

    (check,) = evaluate([threshold], {"val_acc": 0.85}, samples={"val_acc": Samples(n=50)}).checks
    assert not check.passed
    assert check.n == 50
    assert check.n_needed is not None
    assert f"about {check.n_needed} samples would be enough" in check.reason
    assert judge(check.n_needed)
    assert not judge(check.n_needed - 1)


def test_the_bound_of_a_mean_covers_the_truth() -> None:
    """Over skewed batch losses of unequal sizes the 95 % bound holds the true mean about 95 times in 100."""
    generator = np.random.default_rng(1)
    sizes = np.array([32.0] * 39 + [7.0])
    truth = math.exp(0.5 * 0.25)
    covered = 0
    for _ in range(200):
        values = generator.lognormal(0.0, 0.5, size=len(sizes))
        value = float((values * sizes).sum() / sizes.sum())
        samples = {"loss": Samples(batch_values=values.tolist(), batch_sizes=sizes.tolist())}
        (check,) = evaluate([Threshold("loss", "<", 9.0, confidence=0.95, kind="mean")], {"loss": value}, samples=samples).checks
        assert check.bound is not None
        covered += check.bound >= truth
    assert 180 <= covered <= 199


def test_the_bound_of_a_mean_agrees_with_the_normal_one_for_many_batches() -> None:
    """Where the central limit theorem holds, the bootstrap gives its bound; the batches' sizes are weights."""
    values = np.random.default_rng(2).normal(0.3, 0.05, size=2_000)
    samples = {"loss": Samples(batch_values=values.tolist(), batch_sizes=[16] * len(values))}
    expected = values.mean() + norm.ppf(0.95) * values.std(ddof=1) / math.sqrt(len(values))
    threshold = Threshold("loss", "<=", 0.31, confidence=0.95, kind="mean")
    (check,) = evaluate([threshold], {"loss": float(values.mean())}, samples=samples).checks
    assert check.bound == pytest.approx(expected, abs=2e-4)
    assert check.passed
    assert check.n == 32_000


@pytest.mark.parametrize("op", ["<=", ">="])
def test_the_batches_of_a_mean_weigh_as_many_samples_as_they_hold(op: str) -> None:
    """The spread of a ratio of two sums, by its textbook formula: single samples scatter much and weigh little beside batches of 25."""
    sizes = np.tile([1.0, 25.0], 1_000)
    values = np.random.default_rng(3).normal(0.3, 0.1 / np.sqrt(sizes))
    mean, n = float(np.average(values, weights=sizes)), len(sizes)
    error = math.sqrt(n / (n - 1) * np.sum((sizes * (values - mean)) ** 2)) / sizes.sum()
    assert error < 0.5 * values.std(ddof=1) / math.sqrt(n)  # so that counting each batch once would show
    samples = {"loss": Samples(batch_values=values.tolist(), batch_sizes=sizes.tolist())}
    (check,) = evaluate([Threshold("loss", op, 0.3, confidence=0.95, kind="mean")], {"loss": mean}, samples=samples).checks  # type: ignore[arg-type]
    assert check.bound is not None
    assert check.bound - mean == pytest.approx((1 if op == "<=" else -1) * norm.ppf(0.95) * error, rel=0.1)
    assert check.n == 26_000


@pytest.mark.parametrize(
    ("kind", "samples", "why"),
    [
        ("proportion", None, "the number of validation samples behind it was not recorded"),
        ("mean", None, "nothing was seen per batch"),
        ("mean", Samples(n=300), "nothing was seen per batch"),
        ("mean", Samples(batch_values=[0.4], batch_sizes=[32]), "too few batches: 1 was seen"),
        ("mean", Samples(batch_values=[0.4, 0.5] * 4, batch_sizes=[32] * 8), "too few batches: 8 were seen"),
        ("mean", Samples(batch_values=[0.4] * 12, batch_sizes=[32] * 12), "no spread"),
        ("proportion", Samples(n=300, problem="it was told otherwise"), "it was told otherwise"),
        ("mean", Samples(batch_values=[0.4, math.nan], batch_sizes=[32, 32]), "NaN"),
    ],
)
def test_no_bound_is_a_miss_that_says_why(kind: str, samples: Samples | None, why: str) -> None:
    """Never an interval of no width."""
    threshold = Threshold("x", "<", 0.9, confidence=0.95, kind=kind)  # type: ignore[arg-type]
    decision = evaluate([threshold], {"x": 0.4}, samples={"x": samples} if samples else {})
    assert decision.verdict == "improve"
    assert why in decision.reasons[0]
    assert decision.checks[0].bound is None


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("val_acc", "proportion"),
        ("val/accuracy", "proportion"),
        ("acc_epoch", "proportion"),
        ("val.Acc/dataloader_idx_1", "proportion"),
        ("val_loss", None),
        ("accelerate", None),
        ("acc_spread", None),
    ],
)
def test_what_a_metric_is_follows_from_its_last_name_part(metric: str, kind: str | None) -> None:
    """`acc` and `accuracy` are proportions, Lightning's own suffixes aside; of others one must say it."""
    assert Threshold(metric, ">=", 0.5).bound_kind == kind
    if kind is None:
        with pytest.raises(ThresholdError, match=r'kind="proportion"'):
            Threshold(metric, ">=", 0.5, confidence=0.95)


@pytest.mark.parametrize("confidence", [0.0, 0.2, 1.0, 95, "0.95", True, math.nan])
def test_a_wrong_confidence_is_named(confidence: object) -> None:
    """95 instead of 0.95 is the usual slip."""
    with pytest.raises(ThresholdError, match=r"such as 0\.95"):
        Threshold("acc", ">=", 0.8, confidence=confidence)  # type: ignore[arg-type]
    with pytest.raises(ThresholdError, match="'proportion' or 'mean'"):
        Threshold("acc", ">=", 0.8, kind="share")  # type: ignore[arg-type]
