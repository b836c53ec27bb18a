"""What a report reads beside its run: the run before, the champion, any file system; and runs that have little to show."""

import shlex
import sysconfig
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import fitgate
from fitgate._files import encode_json
from fitgate.gate import decision_as_dict, judge
from fitgate.report import build_report, previous_run, render_html, render_markdown, report_as_dict
from fitgate.store._run_file import Attempt, FitFacts, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

NOW = datetime(2026, 11, 23, 8, 40, 1, tzinfo=UTC)


def _run(
    root: Path, run_id: str, *, age: int = 0, name: str | None = None, hparams: dict[str, Any] | None = None, **metrics: list[float]
) -> fitgate.Run:
    """A run of so many minutes ago, with validation metrics, one value an epoch of 10 steps."""
    folder = root / run_id
    folder.mkdir(parents=True)
    writer = SegmentWriter(folder / "metrics", run_id=run_id)
    for epoch, values in enumerate(zip(*metrics.values(), strict=True)):
        writer.write([Record("validate", 10 * epoch + 9, 10 * epoch + 10, epoch, epoch, tuple(metrics), values)])
    writer.close()
    steps = 10 * max((len(v) for v in metrics.values()), default=0)
    created = NOW - timedelta(minutes=age)
    info = RunInfo(
        id=run_id, name=name or run_id, state="completed", created=created, updated=created, hparams=hparams or {},
        attempts=(Attempt(number=0, started=created),), fit=FitFacts(global_step=steps, steps=steps),
    )  # fmt: skip
    write_run_info(folder, info)
    return fitgate.Store(str(root)).run(run_id)


def _judge(run: fitgate.Run, thresholds: list[str]) -> None:
    (Path(run.path) / "gate.json").write_bytes(encode_json(decision_as_dict(judge(run, thresholds), run.id)))


def test_the_last_run_and_the_champion_stand_side_by_side(tmp_path: Path) -> None:
    """Hyperparameters that differ, judged values, and what moved, in JSON and on the page."""
    root = tmp_path / "runs"
    _run(root, "best", age=3, hparams={"lr": 0.3, "net": {"width": 8}}, val_acc=[0.5, 0.9])
    _run(root, "last", age=2, hparams={"lr": 0.1, "net": {"width": 8}, "old": 1}, val_acc=[0.5, 0.7])
    run = _run(root, "this", hparams={"lr": 0.2, "net": {"width": 8}}, val_acc=[0.5, 0.8])
    _run(root, "later", age=-5, val_acc=[0.1])
    _judge(run, ["val_acc >= 0.95"])
    manifest = {"metrics": {"val_acc": 0.9}, "source": {"run_id": "best"}, "version": 4}
    report = build_report(run, champion=manifest)
    changes = report_as_dict(report)["changes"]
    assert (changes["previous"], changes["champion"], changes["same_hparams"]) == ("last", "version 4", 1)
    assert {c["name"]: (c["this"], c["previous"], c["champion"]) for c in changes["hparams"]} == {
        "lr": (0.2, 0.1, 0.3),
        "old": (None, 1, None),
    }
    (metric,) = changes["metrics"]
    assert (metric["name"], metric["this"], metric["previous"], metric["champion"], metric["better_high"]) == (
        "val_acc",
        0.8,
        0.7,
        0.9,
        True,
    )
    html = render_html(report)
    assert "+0.1" in html
    assert "−0.1" in html
    assert "| val_acc | 0.8 | 0.7 (+0.1) | 0.9 (−0.1) |" in render_markdown(report)
    assert "In brackets: what this run gained or lost." in render_markdown(report)
    assert "The coloured number is what" in html


def test_a_bound_that_follows_from_the_champion_has_the_digits_of_the_values_beside_it(tmp_path: Path) -> None:
    """In the headline and in the table; a bound that somebody wrote stands as written."""
    run = _run(tmp_path, "r", val_loss=[0.9, 0.25], val_acc=[0.5, 0.75])
    decision = judge(run, ["val_loss <= champion * 1.5", "val_acc >= 0.812345"], champion={"val_loss": 0.1140557751})
    report = build_report(run, decision_as_dict(decision, run.id))
    assert report.headline == "val_loss is 0.25; at most 0.1711 is needed. One more check fails."
    source, page = render_markdown(report), render_html(report)
    assert r"| val_loss <= champion \* 1.5 | 0.1711 | 0.25 |" in source
    assert "| val_acc >= 0.812345 | 0.812345 | 0.75 |" in source
    assert "≤ 0.1711</td>" in page
    assert "≥ 0.812345</td>" in page


def test_where_nothing_moved_no_sentence_explains_what_did(tmp_path: Path) -> None:
    """The same values as in the last run: there are no brackets, and no coloured number."""
    for run_id, age in (("last", 2), ("this", 0)):
        run = _run(tmp_path, run_id, age=age, val_acc=[0.5, 0.8])
    _judge(run, ["val_acc >= 0.95"])
    report = build_report(run)
    assert "Last run: `last`. No hyperparameter differs." in render_markdown(report)
    assert "gained or lost" not in render_markdown(report) + render_html(report)


def test_the_last_run_is_one_of_the_same_name_where_there_is_one(tmp_path: Path) -> None:
    """Several projects may share a store; the first run of all has none before it."""
    first = _run(tmp_path, "a-1", age=9, name="a", val_acc=[0.1])
    _run(tmp_path, "b-1", age=5, name="b", val_acc=[0.2])
    again = _run(tmp_path, "a-2", age=1, name="a", val_acc=[0.3])
    assert [r.id for r in [previous_run(again)] if r] == ["a-1"]
    assert previous_run(first) is None
    assert build_report(first).changes.previous is None


def test_a_run_that_has_nothing_to_compare_with_is_passed_over(tmp_path: Path) -> None:
    """One that failed before its first validation, or whose files are damaged, is not the last run; another name's stands in at last."""
    other = _run(tmp_path, "b-1", age=9, name="b", val_acc=[0.2])
    run = _run(tmp_path, "a-3", name="a", val_acc=[0.3])
    _run(tmp_path, "a-2", age=1, name="a")
    unlike = _run(tmp_path, "a-0", age=5, name="a", val_loss=[0.4])
    _judge(run, ["val_acc >= 0.95"])
    assert build_report(run).changes.previous == other.id
    assert [r.id for r in [previous_run(run)] if r] == [unlike.id], "without a threshold any value will do"
    before = _run(tmp_path, "a-1", age=4, name="a", val_acc=[0.25], val_f1=[0.2])
    assert build_report(run).changes.previous == before.id
    (segment,) = (Path(before.path) / "metrics").glob("*.parquet")
    segment.write_bytes(b"no Parquet")
    with pytest.warns(UserWarning, match=segment.name):
        assert build_report(run).changes.previous == other.id


def test_what_was_validated_after_the_fit_is_not_what_the_last_run_came_to(tmp_path: Path) -> None:
    """`trainer.validate` of other weights, at the same step: of a run that nobody judged too, the fit's own value stands."""
    last, run = _run(tmp_path, "last", age=2, val_acc=[0.5]), _run(tmp_path, "this", val_acc=[0.6])
    later = SegmentWriter(tmp_path / "last" / "metrics", run_id="last", attempt=1)
    later.write([Record("validate", 10, 10, 0, 60_000_000, ("val_acc",), (0.9,))])
    later.close()
    assert last.info.fit is not None
    ended = replace(last.info.fit, ended=datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC))
    write_run_info(tmp_path / "last", replace(last.info, fit=ended))
    _judge(run, ["val_acc >= 0.95"])
    (row,) = build_report(run).changes.metrics
    assert (row.this, row.previous) == (0.6, 0.5)


def test_the_last_values_of_a_fit_are_not_those_of_a_later_validation(tmp_path: Path) -> None:
    """Where nothing was recorded at the step that counts, the last values stand in: those of the fit."""
    last, run = _run(tmp_path, "last", age=2, val_acc=[0.5]), _run(tmp_path, "this", val_acc=[0.6])
    ended = datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    later = SegmentWriter(tmp_path / "last" / "metrics", run_id="last", attempt=1)
    later.write([Record("validate", 12, 12, 0, 60_000_000, ("val_acc",), (0.9,))])
    later.close()
    assert last.info.fit is not None
    write_run_info(tmp_path / "last", replace(last.info, fit=replace(last.info.fit, global_step=12, ended=ended)))
    _judge(run, ["val_acc >= 0.95"])
    (row,) = build_report(run).changes.metrics
    assert (row.this, row.previous) == (0.6, 0.5)


def test_a_run_that_nobody_judged_is_offered_a_threshold_that_can_be_read(tmp_path: Path) -> None:
    """Also where its metric's name is no plain one."""
    metrics: dict[str, Any] = {"top 1 acc": [0.5, 0.7]}
    report = build_report(_run(tmp_path, "r", **metrics))
    (command,) = (command for command, what in report.reproduce.commands if what.startswith("judge it"))
    *_, option, text = shlex.split(command)
    assert (option, fitgate.Threshold.parse(text)) == ("-t", fitgate.Threshold("top 1 acc", ">=", 0.7))


def test_of_a_curve_in_training_alone_the_name_says_which_way_is_better(tmp_path: Path) -> None:
    """An error is better low, as in `fitgate show` and `compare`: the best is the lowest, and so is the threshold that is offered."""
    with fitgate.start_run(tmp_path, tensorboard=False) as by_hand:
        for step, error in enumerate([0.5, 0.25, 0.375]):
            by_hand.log_metric("error", error, step)
    report = build_report(fitgate.Store(tmp_path).latest())
    (chart,) = report.charts
    assert (chart.better_high, chart.best_value) == (False, 0.25)
    assert any(command.endswith("-t 'error <= 0.25'") for command, _ in report.reproduce.commands)


def test_a_report_needs_no_local_files(tmp_path: Path) -> None:
    """From a store in another file system: the same report, and commands with that store's address."""
    root = tmp_path / "runs"
    _run(root, "last", age=2, val_acc=[0.5, 0.7])
    run = _run(root, "this", val_acc=[0.5, 0.8])
    _judge(run, ["val_acc >= 0.95"])
    memory = fsspec.filesystem("memory")
    memory.put(str(root), "/report-test/runs", recursive=True)
    try:
        report = build_report(fitgate.Store("memory://report-test/runs").run("this"))
        local = build_report(run)
    finally:
        memory.rm("/report-test", recursive=True)
    assert (report.headline, report.checks, report.charts, report.changes) == (local.headline, local.checks, local.charts, local.changes)
    assert any("memory://" in command for command, _ in report.reproduce.commands)


@pytest.mark.parametrize("values", [[], [0.5], [np.nan, np.nan], [np.inf], [0.0] * 30])
def test_little_to_show_is_still_a_report(tmp_path: Path, values: list[float]) -> None:
    """No point at all, one point, nothing but NaN, all the same: every form is made, and nothing is found that isn't there."""
    run = _run(tmp_path, "r", val_loss=values)
    _judge(run, ["val_loss <= 0.1"])
    report = build_report(run)
    assert report.verdict == ("deploy" if len(values) > 1 and values[0] == 0 else "improve")
    assert {f.rule for f in report.diagnosis.findings} <= {"non_finite", "overtraining"}
    spoilt = bool(values) and not np.isfinite(values[-1])
    assert not spoilt or f">{values[-1]}</td>" in render_html(report)
    assert ("| nan |" in render_markdown(report)) == (spoilt and bool(np.isnan(values[-1])))
    assert report_as_dict(report)["checks"][0]["best"] == (values[0] if values and np.isfinite(values[0]) else None)


@pytest.mark.parametrize(
    ("what", "reason"), [("judged", "interrupted: the fit was stopped by SIGTERM"), ("published", "artifact differs: model.onnx")]
)
def test_a_run_that_was_not_fit_to_be_judged_says_why(tmp_path: Path, what: str, reason: str) -> None:
    """Eligibility stands in the headline, before any number; of one that was judged, why its export can't be published."""
    run = _run(tmp_path, "r", val_acc=[0.99])
    gate = decision_as_dict(judge(run, ["val_acc >= 0.5"]), run.id)
    report = build_report(run, {**gate, "verdict": "improve", "reasons": [reason]})
    assert report.headline == f"Not fit to be {what}: {reason}."
    assert reason in render_html(report)


def test_a_value_close_under_its_bound_is_not_rounded_onto_it(tmp_path: Path) -> None:
    """0.79999 is not shown as 0.8 beside a threshold of 0.8."""
    run = _run(tmp_path, "r", val_acc=[0.79999])
    _judge(run, ["val_acc >= 0.8"])
    report = build_report(run)
    assert report.headline == "val_acc is 0.79999; at least 0.8 is needed."
    assert "0.79999</td>" in render_html(report)


def test_a_long_curve_is_thinned_and_its_spread_kept(tmp_path: Path) -> None:
    """A hundred thousand points make a page of moderate size; the drawn means are numpy's."""
    values = np.random.default_rng(0).normal(1.0, 0.1, 100_000)
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r")
    writer.write([Record("train", i, i + 1, 0, i, ("loss",), (float(v),)) for i, v in enumerate(values)])
    writer.close()
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="completed", created=NOW, updated=NOW))
    report = build_report(fitgate.Store(str(tmp_path)).run("r"))
    (chart,) = report.charts
    (line,) = chart.lines
    assert line.points == 100_000
    np.testing.assert_allclose(line.values, [part.mean() for part in np.array_split(values, len(line.values))])
    np.testing.assert_allclose(line.low[0], np.percentile(np.array_split(values, len(line.values))[0], 10))
    assert len(render_html(report)) < 200_000


def test_git_and_the_checkpoint_are_in_how_to_reproduce(tmp_path: Path) -> None:
    """Where they are known: from the caller, or from run.json; with the command and the folder that the run was started by."""
    run = _run(tmp_path, "r", val_acc=[0.9])
    gate = {
        **decision_as_dict(judge(run, ["val_acc >= 0.95"]), run.id),
        "judged": {"global_step": 10, "epoch": 0, "checkpoint": "ckpt/a b.ckpt", "source": "x"},
    }
    git = {"commit": "0123abcd", "dirty": True}
    start = replace(run.info.attempts[0], command="python -m nets.train --lr 0.1", cwd="/home/a b", git=git)
    write_run_info(Path(run.path), replace(run.info, attempts=(start,)))
    recorded = fitgate.Store(str(tmp_path)).run("r")
    for report in (build_report(run, gate, git=git), build_report(recorded, gate)):
        html = render_html(report)
        assert "git checkout 0123abcd" in html
        assert "not committed" in html
        assert "ckpt/a b.ckpt" in html
    assert "git checkout" not in render_html(build_report(run, gate))
    report = build_report(recorded, gate)
    for text in (render_html(report), render_markdown(report)):
        assert text.index("cd &#39;/home/a b&#39;" if "<html" in text else "cd '/home/a b'") < text.index("python -m nets.train --lr 0.1")
    content = report_as_dict(report)["reproduce"]
    assert (content["cwd"], content["git"], content["commands"][0]) == ("/home/a b", git, ["python -m nets.train --lr 0.1", "train again"])


def test_fitgates_own_commands_are_shown_as_they_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the script's folder where PATH does not lead to it, from the folder where the run was started, not from where one reads."""
    scripts = Path(sysconfig.get_path("scripts"))
    run = _run(tmp_path / "runs", "r", val_acc=[0.9])
    _judge(run, ["val_acc >= 0.95"])
    start = replace(run.info.attempts[0], command="fitgate demo --api-key …", cwd=str(tmp_path))
    write_run_info(Path(run.path), replace(run.info, attempts=(start,)))
    recorded = fitgate.Store(tmp_path / "runs").run("r")

    def commands() -> list[str]:
        return [command for command, _ in build_report(recorded).reproduce.commands]

    monkeypatch.setenv("PATH", str(scripts))
    bare = ["fitgate demo --api-key …", "fitgate gate r", "fitgate show r", "fitgate report r --html report.html", "fitgate tensorboard"]
    assert commands() == bare
    monkeypatch.setenv("PATH", str(tmp_path))
    typed = shlex.quote(str(scripts / "fitgate"))  # its folder may have a space
    assert commands() == [command.replace("fitgate", typed, 1) for command in bare]
    start = replace(start, cwd=str(scripts.parent))
    write_run_info(Path(run.path), replace(run.info, attempts=(start,)))
    recorded = fitgate.Store(tmp_path / "runs").run("r")
    assert commands()[:2] == ["bin/fitgate demo --api-key …", f"bin/fitgate gate r --root {tmp_path / 'runs'}"]


@pytest.mark.parametrize(("value", "text"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_value_that_is_no_number_was_recorded(tmp_path: Path, value: float, text: str) -> None:
    """In the headline, the checks and what changed; from the gate in memory and from the file, whose null stands for it, the same."""
    _run(tmp_path, "before", age=2, val_acc=[0.5, 0.7], val_loss=[0.5, value])
    run = _run(tmp_path, "r", val_acc=[0.5, value], val_loss=[0.5, 0.4])
    decision = judge(run, ["val_acc >= 0.8", "val_loss <= 0.5", "val_f1 >= 0.5"])
    in_memory = build_report(run, decision_as_dict(decision, run.id))
    _judge(run, ["val_acc >= 0.8", "val_loss <= 0.5", "val_f1 >= 0.5"])
    report = build_report(run)
    assert report_as_dict(report) == report_as_dict(in_memory)
    html = render_html(report)
    assert html == render_html(in_memory)
    assert html.count("not recorded for the judged weights") == 1, "of the metric that really was not"
    assert report.headline == f"val_acc is {text}; at least 0.8 is needed. One more check fails."
    assert [row.non_finite for row in report.checks] == [text, None, None]
    rows = {row.name: (str(row.this), str(row.previous)) for row in report.changes.metrics}
    assert rows == {"val_acc": (text, "0.7"), "val_loss": ("0.4", text)}
    assert "+nan" not in html + render_markdown(report)


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path) -> None:
    """In a chart too, whose library would make a formula of it."""
    curves: dict[str, Any] = {r"val_$\undefined$": [0.1, 0.2]}
    run = _run(tmp_path, "r", **curves)
    gate = decision_as_dict(
        judge(run, [fitgate.Threshold(r"$val_$\undefined$", ">=", 0.5), fitgate.Threshold(r"val_$\undefined$", ">=", 0.5)]), run.id
    )
    assert r"val_$\undefined$" in render_html(build_report(run, gate))


def test_what_stands_in_the_way_is_told_apart_from_checks_that_pass(tmp_path: Path) -> None:
    """In a part of its own, before the checks; not there where nothing but checks decides."""
    run = _run(tmp_path, "r", val_acc=[0.99])
    gate = decision_as_dict(judge(run, ["val_acc >= 0.5"]), run.id)
    reason = "interrupted: the fit was stopped by SIGTERM"
    stopped = build_report(run, {**gate, "verdict": "improve", "reasons": [reason]})
    for text in (render_html(stopped), render_markdown(stopped)):
        assert (
            text.index("What makes it an improve")
            < text.rindex(reason)
            < text.index("This alone is an improve")
            < text.index("Best ever seen".lower() if text.startswith("#") else "Best ever seen")
        )
    missed = build_report(run, decision_as_dict(judge(run, ["val_acc >= 0.995"]), run.id))
    assert "What makes it an improve" not in render_html(missed) + render_markdown(missed)


def test_two_checks_are_both(tmp_path: Path) -> None:
    """As one says it."""
    run = _run(tmp_path, "r", val_acc=[0.99], val_loss=[0.1], val_f1=[0.9])
    both = build_report(run, decision_as_dict(judge(run, ["val_acc >= 0.5", "val_loss <= 0.5"]), run.id))
    assert both.headline.startswith("Both checks pass; the tightest is val_loss <= 0.5")
    three = build_report(run, decision_as_dict(judge(run, ["val_acc >= 0.5", "val_loss <= 0.5", "val_f1 >= 0.5"]), run.id))
    assert three.headline.startswith("All 3 checks pass")


def test_the_legend_names_what_is_drawn(tmp_path: Path) -> None:
    """Of a run that recorded no training there is no word of it."""
    assert "</i>training" not in render_html(build_report(_run(tmp_path, "r", val_acc=[0.5, 0.7])))
