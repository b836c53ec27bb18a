"""Seed groups: who is in them, what counts, and their mean and band, against NumPy."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fitgate
from fitgate.compare import compare
from fitgate.compare._facts import facts_of
from fitgate.compare._leaderboard import rank
from fitgate.compare._points import read_points

MakeRun = Callable[..., fitgate.Run]


@pytest.mark.parametrize("seed_name", ["seed", "random_state", "trainer.seed_everything", "data/split_seed", "PyTorchSeed"])
def test_runs_that_differ_in_the_seed_alone_are_a_group(make_run: MakeRun, seed_name: str) -> None:
    """Whatever the seed is called; mean and standard deviation are NumPy's."""
    best = {"a": [0.5, 0.6, 0.7, 0.65], "b": [0.1, 0.2]}
    runs = [
        make_run(f"{name}{seed}", {"x": [0.0, value]}, hparams={"lr": lr, seed_name: seed})
        for name, lr in (("a", 0.1), ("b", 1))
        for seed, value in enumerate(best[name])
    ]
    one, two = compare(runs, "x").groups
    assert (one.letter, one.label, two.letter, two.label) == ("A", "lr=0.1", "B", "lr=1")
    assert sorted(one.run_ids) == ["a0", "a1", "a2", "a3"]
    assert one.values == tuple(sorted(best["a"]))
    assert one.mean == pytest.approx(np.mean(best["a"]))
    assert one.sd == pytest.approx(np.std(best["a"], ddof=1))


def test_the_best_mean_leads_whichever_way_is_better(make_run: MakeRun) -> None:
    """For a loss the lowest."""
    runs = [make_run(f"{lr}-{s}", {"val_loss": [lr + s / 10]}, hparams={"lr": lr, "seed": s}) for lr in (1, 2) for s in (1, 2)]
    assert [group.hparams for group in compare(runs, "val_loss").groups] == [{"lr": 1}, {"lr": 2}]
    assert [group.hparams for group in compare(runs, "val_loss", "max").groups] == [{"lr": 2}, {"lr": 1}]


def test_runs_without_hyperparameters_are_in_no_group(make_run: MakeRun) -> None:
    """Nothing says that they are the same; a note does."""
    comparison = compare([make_run(name, {"x": [0.5]}) for name in "abc"], "x")
    assert comparison.groups == ()
    assert "3 runs recorded no hyperparameters" in comparison.notes[0]


def test_a_run_alone_is_no_group(make_run: MakeRun) -> None:
    """Different values of anything but a seed set runs apart; 1 and 1.0 are equal."""
    hparams: list[dict[str, Any]] = [{"lr": 1, "n": [1, {"a": 2}]}, {"lr": 1.0, "n": [1.0, {"a": 2}]}, {"lr": 2}, {"lr": 2, "wd": None}]
    runs = [make_run(f"r{i}", {"x": [0.5]}, hparams=h) for i, h in enumerate(hparams)]
    (group,) = compare(runs, "x").groups
    assert group.run_ids == ("r0", "r1")


def test_runs_that_did_not_end_do_not_count(make_run: MakeRun) -> None:
    """What they reached is not what they would have reached; they are named with their state."""
    states = ("completed", "deployed", "improve", "running", "failed", "interrupted", "lost")
    runs = [make_run(s, {"x": [0.5]}, hparams={"lr": 1, "seed": i}, state=s) for i, s in enumerate(states)]
    runs.append(make_run("other", {"y": [0.5]}, hparams={"lr": 1, "seed": 9}))
    (group,) = compare(runs, "x").groups
    assert len(group.values) == 3
    assert group.left_out == {s: s for s in states[3:]} | {"other": "never recorded x"}


def test_a_seed_that_comes_twice_counts_once(make_run: MakeRun) -> None:
    """By the mean of its runs: a repeat of the same seed says nothing of the noise. Without a seed on record each run counts."""
    values = {("a", 1): 0.5, ("b", 1): 0.7, ("c", 2): 0.9}
    runs = [make_run(name, {"x": [v]}, hparams={"lr": 1, "seed": s}) for (name, s), v in values.items()]
    assert list(compare(runs, "x").groups[0].values) == pytest.approx([0.6, 0.9])
    unseeded = [make_run(f"{name}-", {"x": [v]}, hparams={"lr": 1, "seed": None}) for (name, _), v in values.items()]
    assert compare(unseeded, "x").groups[0].values == (0.5, 0.7, 0.9)


def test_a_seed_beside_the_hyperparameters_counts_too(make_run: MakeRun) -> None:
    """Where run.json records the seed by itself."""
    runs = [make_run(name, {"x": [v]}, hparams={"lr": 1}) for name, v in (("a", 0.5), ("b", 0.7), ("c", 0.9))]
    metric = compare(runs, "x").metric
    facts = [replace(facts_of(run, {}), seed=seed) for run, seed in zip(runs, (1, 1, 2), strict=True)]
    (group,) = rank(facts, [read_points(run, "x") for run in runs], metric).groups
    assert list(group.values) == pytest.approx([0.6, 0.9])


def test_a_diverged_seed_is_not_passed_over(make_run: MakeRun) -> None:
    """The mean of the others would flatter the group, so it is named and nothing is concluded."""
    runs = [make_run(f"{lr}-{s}", {"x": [lr + s / 100]}, hparams={"lr": lr, "seed": s}) for lr in (1, 2) for s in range(4)]
    runs.append(make_run("gone", {"x": [math.nan]}, hparams={"lr": 2, "seed": 4}))
    comparison = compare(runs, "x")
    assert comparison.groups[0].diverged == ("gone",)
    (difference,) = comparison.differences
    assert difference.better is None
    assert "never gave a finite value" in difference.reason


def test_the_band_is_numpys(make_run: MakeRun) -> None:
    """Mean, lowest and highest at every step of any run, interpolated, as far as all runs go."""
    curves = {"a": (10, [1.0, 2.0, 4.0, 3.0]), "b": (15, [2.0, 1.0, math.nan, 5.0, 6.0])}
    runs = [make_run(name, {"x": v}, hparams={"lr": 1, "seed": name}, every=every) for name, (every, v) in curves.items()]
    (group,) = compare(runs, "x").groups
    assert group.curve is not None
    grid = [15.0, 20.0, 30.0, 40.0]
    lines = np.array([np.interp(grid, [10, 20, 30, 40], [1, 2, 4, 3]), np.interp(grid, [15, 30, 60, 75], [2, 1, 5, 6])])
    assert group.curve.steps.tolist() == grid
    assert group.curve.values.tolist() == pytest.approx(lines.mean(axis=0).tolist())
    assert group.curve.low.tolist() == pytest.approx(lines.min(axis=0).tolist())
    assert group.curve.high.tolist() == pytest.approx(lines.max(axis=0).tolist())


def test_what_one_group_lacks_is_in_its_label(make_run: MakeRun) -> None:
    """A group is told apart by what the others have and it hasn't; one group alone goes by the runs' name."""
    hparams: list[dict[str, Any]] = [{"lr": 1, "dropout": 0.5}, {"lr": 1}]
    runs = [make_run(f"{i}-{s}", {"x": [i + s]}, hparams={**h, "seed": s}, name="mlp") for i, h in enumerate(hparams) for s in range(2)]
    assert [group.label for group in compare(runs, "x").groups] == ["no dropout", "dropout=0.5"]
    assert [group.label for group in compare(runs[:2], "x").groups] == ["mlp"]
