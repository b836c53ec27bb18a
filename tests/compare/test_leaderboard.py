"""The order of runs, over stores with a known winner."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest

import fitgate
from fitgate.compare import compare

MakeRun = Callable[..., fitgate.Run]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_order_is_duckdbs(make_run: MakeRun, tmp_path: Path, mode: str) -> None:
    """Forty runs of random values, NaN and infinities among them: the same order and best values as one SQL query."""
    generator = np.random.default_rng(7)
    for index in range(40):
        values = generator.normal(size=generator.integers(1, 30))
        values[generator.random(len(values)) < 0.2] = generator.choice([math.nan, math.inf, -math.inf])
        make_run(f"r{index:02d}", {"score": values.tolist()})
    query = f"""
        select run_id, {mode}(value) as best, arg_{mode}(step, value)
        from read_parquet('{tmp_path}/*/metrics/*.parquet') where isfinite(value) group by run_id order by best {"desc" if mode == "max" else ""}
    """  # noqa: S608 - names of this test's own
    expected = duckdb.connect().execute(query).fetchall()
    comparison = compare(fitgate.Store(str(tmp_path)).runs(), "score", mode)
    ranked = [(row.facts.id, row.best.value, row.best.step) for row in comparison.rows if row.best is not None]
    assert ranked == expected
    assert [row.rank for row in comparison.rows[: len(expected)]] == list(range(1, len(expected) + 1))
    assert all(row.rank is None for row in comparison.rows[len(expected) :])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_value_that_is_not_finite_never_wins(make_run: MakeRun, wrong: float, mode: str) -> None:
    """Neither against others nor against the run's own finite values; it is shown as the last value."""
    runs = [make_run("mixed", {"x": [0.5, wrong]}), make_run("only", {"x": [wrong, wrong]}), make_run("one", {"x": [wrong]})]
    rows = compare(runs, "x", mode).rows
    assert [(row.facts.id, row.rank) for row in rows] == [("mixed", 1), ("one", None), ("only", None)]
    assert rows[0].best is not None
    assert rows[0].best.value == 0.5
    assert rows[0].series is not None
    assert rows[0].series.last.value == pytest.approx(wrong, nan_ok=True)
    assert [row.problem for row in rows[1:]] == ["its one value is NaN or infinite", "all 2 values are NaN or infinite"]


def test_runs_without_the_metric_are_listed_as_such(make_run: MakeRun) -> None:
    """Last, without a rank, with the reason; so is one whose files are damaged, which doesn't end the rest."""
    runs = [make_run("has", {"x": [0.5]}), make_run("other", {"y": [0.5]}), make_run("empty"), make_run("torn", {"x": [0.9]})]
    for path in Path(runs[3].path).glob("metrics/*.parquet"):
        path.write_bytes(path.read_bytes()[:-9])
    rows = compare(runs, "x").rows
    assert [row.facts.id for row in rows if row.rank] == ["has"]
    problems = {row.facts.id: row.problem for row in rows if row.problem}
    assert problems["other"] == problems["empty"] == "never recorded x"
    assert "torn/metrics/" in str(problems["torn"])
    assert "can't be read" in str(problems["torn"])


def test_equal_values_share_a_rank(make_run: MakeRun) -> None:
    """1, 1, 3: all of the best ones are the best."""
    runs = [make_run(name, {"x": values}) for name, values in (("a", [0.5]), ("b", [0.1, 0.5]), ("c", [0.4]))]
    assert [(row.facts.id, row.rank) for row in compare(runs, "x").rows] == [("a", 1), ("b", 1), ("c", 3)]


def test_a_running_run_is_shown_with_what_it_has(make_run: MakeRun) -> None:
    """It may lead; its state says that it goes on, and a note too."""
    comparison = compare([make_run("done", {"x": [0.5]}), make_run("live", {"x": [0.6]}, state="running")], "x")
    assert [(row.facts.id, row.facts.state) for row in comparison.rows] == [("live", "running"), ("done", "completed")]
    assert comparison.notes[0].startswith("1 run still running")


def test_a_run_that_is_written_right_now_is_read(tmp_path: Path) -> None:
    """While its recorder holds it open, between two flushes."""
    with fitgate.start_run(tmp_path, name="live", tensorboard=False) as run:
        run.log_metric("x", 0.5)
        run.flush()
        (row,) = compare(fitgate.Store(str(tmp_path)).runs(), "x").rows
        assert (row.facts.state, row.best and row.best.value) == ("running", 0.5)


def test_verdict_time_and_what_differs_are_in_the_row(make_run: MakeRun, tmp_path: Path) -> None:
    """From gate.json, from the files' statistics, from run.json; nested hyperparameters by dotted names, seeds last."""
    one = {"seed": 1, "opt": {"lr": 0.1, "name": "sgd"}, "same": [1, 2]}
    two = {"seed": 2, "opt": {"lr": 0.2, "name": "sgd"}, "same": [1, 2.0], "extra": True}
    runs = [
        make_run("a", {"x": [0.1, 0.2]}, hparams=one, thresholds=["x >= 0.1"], verdict="deploy"),
        make_run("b", {"x": [0.1]}, hparams=two),
    ]
    comparison = compare(runs, "x")
    assert comparison.differing == ("opt.lr", "extra", "seed")
    row = comparison.row("a")
    assert (row.facts.verdict, row.points.epochs, row.points.steps, row.points.seconds) == ("deploy", 2, 20, 2.0)
    with pytest.raises(KeyError):
        comparison.row("c")
    (tmp_path / "a" / "gate.json").write_text("{ torn")
    assert compare(runs, "x").row("a").facts.verdict is None


def test_a_run_that_comes_twice_counts_once(make_run: MakeRun) -> None:
    """Such as by its id and by `latest`; progress tells of each run once."""
    run, told = make_run("a", {"x": [0.5]}), list[tuple[str, int, int]]()
    assert len(compare([run, run], "x", baseline=run, progress=lambda *step: told.append(step)).rows) == 1
    assert told == [("facts", 1, 1), ("points", 1, 1)]


def test_changes_are_counted_from_the_baseline(make_run: MakeRun) -> None:
    """In the metric's own unit, with its sign; the baseline is compared even if it is not among the runs."""
    base, other = make_run("base", {"val_loss": [0.5, 0.75]}), make_run("other", {"val_loss": [0.25]})
    comparison = compare([other], "val_loss", baseline=base)
    assert [(row.facts.id, row.change) for row in comparison.rows] == [("other", -0.25), ("base", None)]
    shutil.rmtree(Path(other.path) / "metrics")
    assert compare([other], "val_loss", baseline=base).row("other").change is None
