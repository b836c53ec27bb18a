"""`fitgate show`."""

import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from rich.console import Console

import fitgate
from fitgate.cli._curves import curve_of, round_ticks, rows_for
from fitgate.report import Chart, Line
from fitgate.store._run_file import FitFacts, write_run_info
from tests.registry._versions import publish_version

RUN = "net-20261123-090000-sad-fox"


def test_counts_last_and_best_are_those_that_duckdb_finds(root: Path, invoke: Any) -> None:
    """Of every metric and stage; best is low for a loss, high for an accuracy."""
    rows = duckdb.execute(
        "select stage, name, count(*), arg_max(value, step), max(step), min(value), max(value), arg_min(step, value), arg_max(step, value) "  # noqa: S608 - a path of our own
        f"from read_parquet('{root}/{RUN}/metrics/*.parquet') group by all"
    ).fetchall()
    found = {(m["stage"], m["name"]): m for m in json.loads(invoke("show", RUN, "--root", root, "--json").stdout)["metrics"]}
    assert len(found) == len(rows) == 3
    for stage, name, count, last, last_step, low, high, at_low, at_high in rows:
        metric = found[stage, name]
        assert (metric["count"], metric["last"], metric["last_step"]) == (count, last, last_step)
        best, best_step = (low, at_low) if name.endswith("loss") else (high, at_high)
        assert (metric["best"], metric["best_step"]) == (best, best_step)


def test_a_threshold_says_which_way_is_better(root: Path, invoke: Any, judge_run: Any) -> None:
    """Against the name: here the loss is to be high."""
    run = fitgate.Store(str(root)).run(RUN)
    judge_run(run, ["val_loss >= 0.1"])
    found = {m["name"]: m for m in json.loads(invoke("show", RUN, "--root", root, "--json").stdout)["metrics"]}
    assert (found["val_loss"]["better"], found["val_loss"]["best"]) == ("high", pytest.approx(0.7))
    assert found["train_loss"]["better"] == "low"


def test_the_page_has_metrics_curves_and_each_check(root: Path, invoke: Any) -> None:
    """In that order; the judged step and the one of the best value are counted alike."""
    text = invoke("show", RUN, "--root", root).stdout
    parts = [
        "lr 0.1",
        "val_acc    ",
        "┈┈ val_acc >= 0.95",
        "IMPROVE",
        "misses by 0.05",
        "passes by 0.2",
        "best by val_acc: epoch 2, step 30",
    ]
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)
    line = next(line for line in text.splitlines() if line.split()[:2] == ["val_acc", "validate"])
    assert line.split()[2:] == ["4", "0.8", "0.9", "↑", "30"]


def test_only_the_curves_that_are_asked_for_are_drawn(root: Path, invoke: Any) -> None:
    """`--metric`, also of one that is a partner's line."""
    text = invoke("show", RUN, "--root", root, "-m", "val_loss").stdout
    assert "━━ val_loss" in text
    assert "━━ val_acc" not in text


def test_any_metric_can_be_drawn_when_it_is_asked_for(tmp_path: Path, invoke: Any) -> None:
    """A training metric that no threshold and no default asks for."""
    with fitgate.start_run(tmp_path) as run:
        for step in range(4):
            run.log_metrics({"val_loss": 1.0 / (1 + step), "grad_norm": 2.0 + step}, step=step)
    assert "━━ grad_norm" not in invoke("show", "latest", "--root", tmp_path).stdout
    assert "·· grad_norm" in invoke("show", "latest", "--root", tmp_path, "-m", "grad_norm").stdout


def test_a_run_without_points_says_so(tmp_path: Path, invoke: Any) -> None:
    """And draws nothing."""
    with fitgate.start_run(tmp_path):
        pass
    done = invoke("show", "latest", "--root", tmp_path)
    assert done.exit_code == 0
    assert "Nothing has been logged yet" in done.stdout


def test_a_run_of_nothing_but_nan_can_be_shown(tmp_path: Path, invoke: Any) -> None:
    """There is no best, and no curve."""
    with fitgate.start_run(tmp_path) as run:
        for _ in range(3):
            run.log_metric("loss", float("nan"))
    text = invoke("show", "latest", "--root", tmp_path).stdout
    line = next(line for line in text.splitlines() if line.strip().startswith("loss"))
    assert line.split() == ["loss", "train", "3", "nan", "–", "–"]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (3, 345), (-0.02, 0.07), (1e-8, 3e-8), (0, 123_456_789), (5, 5), (-3, -1)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    """A few of them, evenly spaced."""
    ticks = np.array(round_ticks(low, high))
    assert 1 <= len(ticks) <= 7
    assert ticks.min() >= low - 1e-12
    assert ticks.max() <= high + 1e-12
    if len(ticks) > 2:
        assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


@pytest.mark.parametrize("steps", [(1, 2, 3), (2, 2, 2)])
@pytest.mark.parametrize("required", [(), ((9.0, "acc >= 9"),)])
def test_a_flat_curve_is_drawn_without_a_word_of_the_plotting_library(
    steps: tuple[int, ...], required: tuple[tuple[float, str], ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """Also one that stands still, as under gradient accumulation; a threshold far away is on the canvas."""
    line = Line(role="validation", stage="validate", name="acc", steps=steps, values=(0.5, 0.5, 0.5), points=3)
    chart = Chart(title="acc", better_high=True, lines=(line,), required=required)
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(curve_of(chart, width=80, colour=False))
    assert ("┈" * 20 in console.export_text()) is bool(required)
    assert capfd.readouterr() == ("", "")


def test_colours_leave_the_terminals_ground_alone() -> None:
    """Lines, threshold and mark are coloured in front only, so that they show on dark and light."""
    line = Line(role="validation", stage="validate", name="acc", steps=(1, 2, 3), values=(0.5, 0.7, 0.6), points=3)
    chart = Chart(title="acc", better_high=True, lines=(line,), required=((0.65, "acc >= 0.65"),), judged_step=2, judged_value=0.7)
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="256", record=True)
    console.print(curve_of(chart, width=80, colour=True))
    text = console.export_text(styles=True)
    codes = {code for sequence in re.findall(r"\x1b\[([0-9;]*)m", text) for code in sequence.split(";")}
    assert {"31", "32"} <= codes
    assert not codes & {"48", *map(str, range(40, 48)), *map(str, range(100, 108))}
    assert text.count("◆") == 2


@pytest.mark.parametrize(
    ("low", "high"), [(0.107, 2.165), (0.0, 1.0), (0.9701, 0.9842), (-3.2, 41.0), (1.2e-6, 9.1e-5), (3e4, 1.7e5), (-0.0031, -0.0009)]
)
def test_numbers_beside_a_curve_stand_on_evenly_spaced_rows(low: float, high: float) -> None:
    """As far apart on the screen as they are in value; a point lies in the row that a line between the numbers gives it."""
    steps = tuple(range(1, 101))
    values = tuple(np.linspace(low, high, 100).tolist())
    chart = Chart(
        title="x", better_high=True, lines=(Line(role="validation", stage="validate", name="x", steps=steps, values=values, points=100),)
    )
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(curve_of(chart, width=80, colour=False))
    lines = console.export_text().splitlines()
    ticks = [(row, float(line.split("┤")[0])) for row, line in enumerate(lines) if "┤" in line]
    assert len(ticks) >= 2
    assert len({below - above for (above, _), (below, _) in itertools.pairwise(ticks)}) == 1
    slope, offset = np.polyfit([value for _, value in ticks], [row for row, _ in ticks], 1)
    drawn = [row for row, line in enumerate(lines) if re.search("[\u2801-\u28ff]", line)]
    expected = sorted(slope * value + offset for value in (low, high))
    assert (min(drawn), max(drawn)) == pytest.approx(expected, abs=0.8)
    assert len(drawn) >= 7, "little is left over"


def test_one_step_is_one_step(root: Path, invoke: Any) -> None:
    """In the terminal and in the report; of several there are several."""
    run = fitgate.Store(root).run(RUN)
    assert "40 steps, 4 epochs" in invoke("show", RUN, "--root", root).stdout
    write_run_info(Path(run.path), replace(run.info, fit=FitFacts(global_step=1, epoch=1, steps=1)))
    assert "1 step, 1 epoch\n" in "\n".join(line.rstrip() for line in invoke("show", RUN, "--root", root).stdout.splitlines())
    assert " UTC, 1 step; judged" in invoke("report", RUN, "--root", root).stdout


@pytest.mark.parametrize("value", [0.0, 0.5, -1e9])
def test_what_is_as_good_as_flat_lies_in_the_middle(value: float) -> None:
    """Its number beside it."""
    assert rows_for(value, value + abs(value) * 1e-15).ticks == (value,)


def test_a_step_that_people_are_shown_is_the_checkpoints(root: Path, invoke: Any) -> None:
    """The same in show, report, compare and gate; only beside a point's own `step`, the loggers', is it called by its name."""
    where = ("--root", root)
    shown = next(m for m in json.loads(invoke("show", RUN, *where, "--json").stdout)["metrics"] if m["name"] == "val_acc")
    assert (shown["best_step"], shown["best_global_step"]) == (29, 30)
    assert re.search(r"val_acc +validate +4 +0\.8 +0\.9 ↑ +30", invoke("show", RUN, *where).stdout)
    compared = json.loads(invoke("compare", RUN, "--metric", "val_acc", *where, "--json").stdout)["runs"][0]["best"]
    assert compared == {"step": 29, "global_step": 30, "value": 0.9}
    lines = invoke("compare", RUN, "--metric", "val_acc", *where).stdout.splitlines()
    head, row = next((head, row) for head, row in itertools.pairwise(lines) if "at step" in head)
    assert row[: head.index("at step") + len("at step")].split()[-1] == "30"
    report = json.loads(invoke("report", RUN, *where, "--json").stdout)
    assert next(check["best_step"] for check in report["checks"] if check["metric"] == "val_acc") == 30
    assert json.loads(invoke("gate", RUN, "-t", "val_acc >= 0.8", *where, "--json").stdout)["judged"]["global_step"] == 30


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_metric_that_nobody_logged_is_wrong_use(options: list[str], root: Path, tmp_path: Path, invoke: Any) -> None:
    """With --json too, which draws nothing; the nearest names are given, or that there are none."""
    done = invoke("show", RUN, "-m", "nope", "-m", "val_acc", "--root", root, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "fitgate: nobody has logged 'nope'; did you mean train_loss or val_acc or val_loss?\n"
    with fitgate.start_run(tmp_path):
        pass
    done = invoke("show", "latest", "-m", "nope", "--root", tmp_path, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nothing has been logged yet" in done.stderr


def test_without_colours_lines_are_told_apart_by_their_signs(root: Path, invoke: Any) -> None:
    """NO_COLOR on a terminal: training is dotted, validation is not, and the legend says which."""
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"}
    text = invoke("show", RUN, "--root", root, env={**terminal, "NO_COLOR": "1"}).stdout
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", text), "no colour"
    assert "·· train_loss" in text
    assert "···" in text.split("·· train_loss", 1)[1]
    assert "·· train_loss" not in invoke("show", RUN, "--root", root, env=terminal).stdout


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_narrow_terminal_shows_all_of_it(columns: int, root: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name and no number is broken or cut off, in the table, the legend and the checks."""
    monkeypatch.setattr("fitgate.cli._common.PIPED_WIDTH", 1)
    text = invoke("show", RUN, "--root", root, env={"COLUMNS": str(columns)}).stdout
    for part in ("val_acc", "train_loss", "validate", "0.1423", "0.9 ↑", "0.3 ↓", "┈┈ val_acc >= 0.95", "◆ judged: 0.9", "misses by 0.05"):
        assert part in text, part
    run_line = next(line for line in text.splitlines() if line.split()[:2] == ["val_acc", "validate"])
    assert len(run_line.rstrip()) <= columns


def test_names_that_rich_would_read_as_markup_are_shown_as_they_are(tmp_path: Path, invoke: Any) -> None:
    """Of a store, a run, a metric, a hyperparameter, a model and its run: in every command."""
    store = tmp_path / "[bold]runs"
    with fitgate.start_run(store, name="[red]x", hparams={"[b]lr": "[/]"}) as run:
        for step in range(3):
            run.log_metrics({"[i]loss": 1.0 - step / 4, "val[/]acc": step / 4}, step=step)
    shown = invoke("show", "latest", "--root", store, "-m", "[i]loss").stdout
    assert all(text in shown for text in (run.id, "[b]lr [/]", "[i]loss", "val[/]acc"))
    assert run.id in invoke("runs", store).stdout
    assert "[i]loss 0.5" in invoke("runs", store).stdout
    judged = invoke("gate", "latest", "--root", store, "-t", '"[i]loss" <= 0.4').stdout
    assert '"[i]loss" <= 0.4' in judged
    assert run.id in judged
    empty = tmp_path / "[blue]empty"
    empty.mkdir()
    assert f"No runs in {empty} yet." in invoke("runs", empty).stdout
    assert f"No models in {empty} yet." in invoke("models", empty).stdout
    model = tmp_path / "[dim]deploy" / "digits"
    publish_version(model, 0.9, source={"run_id": run.id}, metrics={"[u]acc": 0.9}, checks=[{"metric": "[u]acc"}])
    text = invoke("models", model.parent).stdout
    assert all(part in text for part in (str(model), run.id, "[u]acc 0.9"))
    assert f"{model}: version 1 was live already" in invoke("promote", model, "1").stdout
    compared = invoke("compare", "--root", store, "--metric", "[i]loss").stdout
    assert run.id.split("-")[-1] in compared
    assert "[i]loss" in compared


def test_models_on_a_narrow_terminal(tmp_path: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's id stays in one piece, to be copied."""
    monkeypatch.setattr("fitgate.cli._common.PIPED_WIDTH", 1)
    run_id = "digits-20261123-100000-glad-hen"
    for accuracy in (0.8, 0.9):
        publish_version(tmp_path / "digits", accuracy, source={"run_id": run_id})
    for columns in (40, 60, 79, 80):
        text = invoke("models", tmp_path, env={"COLUMNS": str(columns)}).stdout
        assert text.count(run_id) == 2
        assert text.count("live") == 2
        assert "val_acc 0.8" in text


def test_a_run_that_failed_before_it_was_judged_says_why(root: Path, invoke: Any) -> None:
    """Such as by an argument that can't be: there is no decision that would."""
    run = fitgate.Store(str(root)).run("net-20261123-080000-old-owl")
    why = "ValueError: GateCallback: [this] can't be"
    write_run_info(Path(run.path), replace(run.info, state="failed", fit=FitFacts(failed=why)))
    assert f"failed       {why}" in invoke("show", run.id, "--root", root).stdout
