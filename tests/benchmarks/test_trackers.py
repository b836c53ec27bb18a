"""The harness behind the README's figures: its arithmetic, and the command itself on the smallest run."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.trackers import _measure
from benchmarks.trackers._all import choose
from benchmarks.trackers._builtin import BARE, BUILTIN, JUDGED, REFERENCE
from benchmarks.trackers._figures import Row, rows
from benchmarks.trackers._in_turns import above, held_up
from benchmarks.trackers._measure import Sample, measure
from benchmarks.trackers._table import table
from benchmarks.trackers._tracker import Tracker
from tests._process import run_module

ROOT = Path(__file__).resolve().parents[2]


def _rounds(costs: dict[str, list[float]], bare: list[float]) -> list[list[Sample]]:
    """One round for each value of the bare fit; a tracker's cost comes on top of it."""
    return [
        [Sample(tracker=BARE, metrics=2, cpu_us=own, wall_us=own)]
        + [Sample(tracker=name, metrics=2, cpu_us=own + cost[i], wall_us=own + cost[i]) for name, cost in costs.items()]
        for i, own in enumerate(bare)
    ]


def _by_name(found: list[Row]) -> dict[str, Row]:
    return {row.tracker: row for row in found}


def test_drift_of_the_machine_cancels_in_the_pairs() -> None:
    """A bare fit that doubles from round to round leaves the differences as they are."""
    found = _by_name(
        rows(_rounds({REFERENCE: [120.0] * 5, "ours": [30.0] * 5}, [500.0, 1000, 2000, 4000, 8000]), bare=BARE, reference=REFERENCE)
    )
    assert found["ours"].cpu.median == pytest.approx(30)
    assert found["ours"].cpu_ratio is not None
    assert found["ours"].cpu_ratio.median == pytest.approx(0.25)
    assert found[BARE].cpu.median == 2000
    assert found[BARE].cpu_ratio is None


def test_median_and_interval_agree_with_a_plain_bootstrap() -> None:
    """The interval is the 2.5 and 97.5 percentiles of medians of resampled rounds, and holds the median."""
    costs = np.random.default_rng(1).normal(100, 10, 15).tolist()
    row = _by_name(rows(_rounds({REFERENCE: costs}, [500.0] * 15), bare=BARE, reference=REFERENCE))[REFERENCE]
    assert row.cpu.median == pytest.approx(np.median(costs))
    drawn = np.random.default_rng(2).choice(costs, (20_000, 15))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    assert row.cpu.low == pytest.approx(low, abs=1.5)
    assert row.cpu.high == pytest.approx(high, abs=1.5)


def test_too_few_rounds_have_no_interval() -> None:
    """Two rounds give a median and say nothing of its spread."""
    row = _by_name(rows(_rounds({REFERENCE: [1.0, 3.0]}, [10.0, 10.0]), bare=BARE, reference=REFERENCE))[REFERENCE]
    assert row.cpu.median == 2
    assert np.isnan(row.cpu.low)


def test_a_tracker_that_failed_is_a_row_that_says_so() -> None:
    """An error takes the place of the figures; the other rows stand."""
    good = _rounds({REFERENCE: [120.0]}, [500.0])
    good[0].append(Sample(tracker="broken", metrics=2, error="ImportError: no"))
    found = _by_name(rows(good, bare=BARE, reference=REFERENCE))
    assert found["broken"].error == "ImportError: no"
    assert found[REFERENCE].rounds == 1


@pytest.mark.parametrize(
    ("cost", "spread", "word"), [(20.0, 0.1, "reached"), (29.0, 15.0, "median reaches it"), (40.0, 0.1, "missed")], ids=str
)
def test_the_target_is_reached_only_where_the_interval_shows_it(cost: float, spread: float, word: str) -> None:
    """A median below the target with an interval that goes past it is not called reached."""
    ours = (cost + np.linspace(-spread, spread, 9)).tolist()
    found = rows(_rounds({REFERENCE: [120.0] * 9, JUDGED: ours}, [500.0] * 9), bare=BARE, reference=REFERENCE)
    shown = table(found, versions={}, judged=JUDGED)
    assert list(shown.columns[-1].cells) == ["", "", word]


def test_instructions_are_shown_above_the_bare_fit() -> None:
    """The counted columns hold the difference and its ratio to the reference's."""
    found = rows(_rounds({REFERENCE: [120.0], JUDGED: [30.0]}, [500.0]), bare=BARE, reference=REFERENCE)
    shown = table(found, versions={}, judged=JUDGED, instructions={(BARE, 2): 1000, (REFERENCE, 2): 1400, (JUDGED, 2): 1080})
    cells = {str(column.header): list(column.cells) for column in shown.columns[6:8]}
    assert cells == {"instructions": ["1,000", "400", "80"], "x CSVLogger": ["", "1.00", "0.20"]}


def test_once_a_fit_is_taken_off_and_the_end_of_fit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of setting up is not spread over the steps; work left for `finish`, in proportion to the steps, is."""
    clock = {"now": 0.0}
    done: list[int] = []

    def fit(steps: int, metrics: int, arguments: dict[str, Any]) -> None:
        assert (metrics, arguments) == (2, {"logger": "x"})
        clock["now"] += steps * 0.001
        done.append(steps)

    def build(_: Path) -> dict[str, Any]:
        clock["now"] += 1.0
        return {"logger": "x"}

    def finish() -> None:
        clock["now"] += done[-1] * 0.0005

    monkeypatch.setattr(_measure, "run_fit", fit)
    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])
    sample = measure(Tracker(name="t", build=build, finish=finish), metrics=2, steps=1000)
    assert sample.wall_us == pytest.approx(1500)
    assert sample.wall_once_ms == pytest.approx(1000)
    assert done == [100, 100, 1100]


def test_what_is_done_once_in_a_cycle_counts_in_turns_and_what_the_machine_does_now_and_then_does_not() -> None:
    """30 µs at each step and 5,000 once in a hundred, under noise and drift that both fits share and interruptions that they don't."""
    random = np.random.default_rng(0)
    shared = 2000 + 200 * random.standard_normal((40, 100)).cumsum(axis=0)
    bare, own = (shared + 5 * random.standard_normal(shared.shape) for _ in range(2))
    own += 30
    own[:, 70] += 5000
    for fit in (bare, own):
        fit[random.random(fit.shape) < 0.01] += 100_000
    assert above(own, bare) == pytest.approx(30 + 5000 / 100, abs=1)


def test_what_a_flush_takes_from_the_training_thread_is_told_from_a_machine_that_changes_its_speed() -> None:
    """2,000 µs for each flush, over the two steps that it overlaps with, under drift twice as large and interruptions."""
    random = np.random.default_rng(0)
    steps = 10_000 + 100 * random.standard_normal(1_000).cumsum() + 50 * random.standard_normal(1_000)
    ends_ns = (steps.cumsum() * 1e3).astype(np.int64)
    # Each begins amid one step and ends amid the next; those before the first step and after the last one cost none of them anything.
    flushes = [
        (0, 1),
        *((int(ends_ns[i] - 1_000), int(ends_ns[i] + 1_000)) for i in range(50, 950, 80)),
        (int(ends_ns[-1]) + 1, int(ends_ns[-1]) + 2),
    ]
    for i in range(50, 950, 80):
        steps[i : i + 2] += 1_000
    steps[130] += 1e6
    per_step = held_up(steps, ends_ns, flushes)
    assert per_step == pytest.approx(2_000 * len(range(50, 950, 80)) / 1_000, rel=0.1)


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_fits_in_turns_lose_no_points(tmp_path: Path) -> None:
    """The three run beside each other in one process; each leaves all its points, and a step of each has its time."""
    figures = tmp_path / "figures.json"
    options = ["--in-turns", "--repeats", "1", "--steps", "100", "--metrics", "2", "--json", str(figures)]
    done = run_module("benchmarks.trackers", *options, folder=ROOT, timeout_s=250)
    assert done.returncode == 0, done.stderr
    (samples,) = json.loads(figures.read_text())["rounds"]
    assert [sample["tracker"] for sample in samples] == [BARE, REFERENCE, JUDGED]
    assert [sample["error"] for sample in samples] == [None] * 3
    assert all(math.isfinite(sample["cpu_us"]) for sample in samples)


def test_a_tracker_that_drops_points_gets_no_figures() -> None:
    """The points are read back; a tracker is not quick for having lost some."""
    csv = next(tracker for tracker in BUILTIN if tracker.name == REFERENCE)
    assert csv.count is not None
    count = csv.count
    with pytest.raises(ValueError, match=r"CSVLogger kept 19 points of 20"):
        measure(replace(csv, count=lambda folder: count(folder) - 1), metrics=2, steps=10)


def test_only_chooses_by_a_part_of_the_name() -> None:
    """The bare fit and the reference are always there; an unknown part names what there is."""
    assert [tracker.name for tracker in choose(["NAIVE"])[0]] == [BARE, REFERENCE, "naive callback"]
    with pytest.raises(ValueError, match=r"no tracker's name holds 'nive'; there are: bare fit, CSVLogger"):
        choose(["nive"])


@pytest.mark.timeout(300)
def test_a_quick_run_measures_every_built_in_tracker(tmp_path: Path) -> None:
    """The command runs real fits of every built-in tracker, reads their points back, prints the table and writes the samples."""
    figures = tmp_path / "figures.json"
    options = ["--quick", "--steps", "20", "--metrics", "2", "--json", str(figures)]
    done = run_module("benchmarks.trackers", *options, folder=ROOT, timeout_s=250)
    assert done.returncode == 0, done.stderr
    record = json.loads(figures.read_text())
    (samples,) = record["rounds"]
    assert {sample["tracker"] for sample in samples} == {tracker.name for tracker in BUILTIN}
    assert [sample["error"] for sample in samples] == [None] * len(BUILTIN)
    assert all(math.isfinite(sample["cpu_us"]) and math.isfinite(sample["wall_us"]) for sample in samples)
    assert all(tracker.name in done.stdout for tracker in BUILTIN)
    assert "torch: " in done.stdout
