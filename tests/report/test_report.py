"""The report of a stored run, in its three forms."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fitgate
from fitgate._files import encode_json
from fitgate.gate import decision_as_dict, judge
from fitgate.report import build_report, render_html, render_markdown, report_as_dict, write_report
from fitgate.store._run_file import Attempt, CheckpointRef, FitFacts, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

EPOCHS, BATCHES = 12, 5
VAL_ACC = [0.5, 0.62, 0.7, 0.74, 0.76, 0.77, 0.765, 0.76, 0.758, 0.75, 0.745, 0.74]
VAL_LOSS = [1.5, 1.1, 0.9, 0.82, 0.8, 0.83, 0.9, 0.99, 1.08, 1.15, 1.24, 1.3]
Make = Callable[..., fitgate.Run]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes an overfitting run as MetricsCallback would: train points each step, validation each epoch."""

    def _make(
        run_id: str = "r", *, age_s: int = 0, hparams: dict[str, Any] | None = None, val_acc: list[float] | None = None
    ) -> fitgate.Run:
        created = datetime(2026, 11, 23, 8, 40, 1, tzinfo=UTC) - timedelta(seconds=age_s)
        folder = tmp_path / "runs" / run_id
        writer = SegmentWriter(folder / "metrics", run_id=run_id)
        for step in range(EPOCHS * BATCHES):
            epoch = step // BATCHES
            loss = 2.0 * 0.93**step
            writer.write([Record("train", step, step + 1, epoch, 2 * step, ("loss", "train_acc"), (loss, 1 - 0.5 * 0.95**step))])
            if (step + 1) % BATCHES == 0:
                values = ((val_acc or VAL_ACC)[epoch], VAL_LOSS[epoch])
                writer.write([Record("validate", step, step + 1, epoch, 2 * step + 1, ("val_acc", "val_loss"), values)])
        writer.close()
        fit = FitFacts(
            global_step=60,
            epoch=12,
            steps=60,
            checkpoint=CheckpointRef(path="c.ckpt", global_step=30, epoch=5, monitor="val_acc", mode="max"),
        )
        info = RunInfo(
            id=run_id, name=run_id, state="completed", created=created, updated=created, hparams=hparams or {"lr": 0.1},
            attempts=(Attempt(number=0, started=created),), fit=fit, versions={"python": "3.11"},
        )  # fmt: skip
        write_run_info(folder, info)
        return fitgate.Store(str(tmp_path / "runs")).run(run_id)

    return _make


def _judged(run: fitgate.Run, thresholds: list[str]) -> dict[str, Any]:
    gate = decision_as_dict(judge(run, thresholds), run.id)
    (Path(run.path) / "gate.json").write_bytes(encode_json(gate))
    return gate


def test_report_json_is_the_contracts(make: Make) -> None:
    """The keys of the contract lead; each check has what was needed, got and missed, and the best ever seen with its step."""
    run = make()
    _judged(run, ["val_acc >= 0.8", "val_loss <= 0.9"])
    content = report_as_dict(build_report(run))
    assert list(content)[:5] == ["verdict", "checks", "findings", "not_enough_data", "suggestions"]
    assert content["verdict"] == "improve"
    accuracy, loss = content["checks"]
    assert (accuracy["required"], accuracy["value"], accuracy["passed"]) == (0.8, 0.77, False)
    assert accuracy["margin"] == pytest.approx(-0.03)
    assert (accuracy["best"], accuracy["best_step"], accuracy["best_passes"]) == (max(VAL_ACC), 5 * int(np.argmax(VAL_ACC)) + 5, False)
    assert (loss["best"], loss["best_step"], loss["best_passes"]) == (min(VAL_LOSS), 5 * int(np.argmin(VAL_LOSS)) + 5, True)
    assert content["headline"] == "val_acc is 0.77; at least 0.8 is needed."
    for finding in content["findings"]:
        assert {"rule", "severity", "steps", "evidence", "try"} <= set(finding)
        assert finding["severity"] in ("problem", "hint")
        assert len(finding["try"]) <= 2
    assert "overfit" in [f["rule"] for f in content["findings"]]
    assert content["judged"]["global_step"] == 30


def test_a_gate_that_is_passed_in_stands_before_the_file(make: Make) -> None:
    """The callback reports before gate.json is written; dataclasses inside are taken as they are."""
    run = make()
    gate = decision_as_dict(judge(run, ["val_acc >= 0.7"]), run.id)
    report = build_report(run, gate)
    assert report.verdict == "deploy"
    assert report.headline == "val_acc >= 0.7 holds, with 0.07 to spare."
    assert report.judged is not None
    assert report.judged.global_step == 30


def test_a_run_that_nobody_judged_still_gives_a_report(make: Make) -> None:
    """No gate.json: the verdict is null, there are no checks, and the curves are there."""
    report = build_report(make())
    content = report_as_dict(report)
    assert content["verdict"] is None
    assert content["checks"] == []
    assert [c["title"] for c in content["curves"]] == ["val_loss", "val_acc"]
    assert "Not judged" in render_html(report)
    assert "Not judged" in render_markdown(report)


def test_a_fit_that_failed_before_anything_was_recorded_says_why(tmp_path: Path) -> None:
    """And nothing of rules that found no fault."""
    now = datetime(2026, 11, 23, tzinfo=UTC)
    fit = FitFacts(global_step=0, failed="NotADirectoryError: the deploy folder can't be written")
    (tmp_path / "r").mkdir()
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="failed", created=now, updated=now, fit=fit))
    report = build_report(fitgate.Store(str(tmp_path)).run("r"))
    for page in (render_markdown(report), render_html(report)):
        assert "NotADirectoryError: the deploy folder can" in page
        assert "Nothing was recorded that could be drawn" in page
        assert "found no fault" not in page


def test_what_stands_for_several_points_says_so(tmp_path: Path) -> None:
    """A long training curve is drawn as means of its parts, and the table gives those."""
    with fitgate.start_run(tmp_path, name="long") as run:
        for step in range(300):
            run.log_metric("loss", 1 / (step + 1), step=step)
    page = render_markdown(build_report(fitgate.Store(tmp_path).run(run.id)))
    assert "| loss (training, means of 5 points each) |" in page


def test_the_three_files_are_written_whole(make: Make, tmp_path: Path) -> None:
    """report.html, report.md and report.json, and nothing else; the JSON is what report_as_dict gives."""
    run = make()
    _judged(run, ["val_acc >= 0.8"])
    report = build_report(run)
    paths = write_report(report, tmp_path / "improve")
    assert {kind: path.name for kind, path in paths.items()} == {"html": "report.html", "md": "report.md", "json": "report.json"}
    assert sorted(p.name for p in (tmp_path / "improve").iterdir()) == ["report.html", "report.json", "report.md"]
    assert json.loads(paths["json"].read_bytes()) == report_as_dict(report)
    assert paths["html"].read_text() == render_html(report)


@pytest.mark.parametrize(
    ("hparams", "said"), [({"dropout": 0.4}, "taken with dropout=0.4 on"), ({"lr": 0.1}, "in train mode: with dropout")]
)
def test_a_gap_is_shown_with_how_far_it_can_be_trusted(make: Make, hparams: dict[str, Any], said: str) -> None:
    """That training values are taken with dropout on is read without opening anything, in print too, and in Markdown."""
    report = build_report(make(hparams=hparams))
    assert "overfit" in [f.rule for f in report.diagnosis.findings]
    in_view = re.sub(r"<details>.*?</details>", "", render_html(report), flags=re.DOTALL)
    assert said in in_view
    assert said in render_markdown(report).replace("\\", "")


class _Page(HTMLParser):
    """Collects what a browser would run or fetch, and the text it shows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for key, value in attrs if key == "id"]
        self.addresses += [value or "" for key, value in attrs if key in ("href", "src", "xlink:href", "action", "data", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_from_outside(make: Make) -> None:
    """No script, no address but those within the page, no identifier twice; threshold and judged value are in it as text."""
    run = make()
    _judged(run, ["val_acc >= 0.8", "val_loss <= 0.9"])
    html = render_html(build_report(run))
    page = _Page(html)
    assert "script" not in page.tags
    assert all(address.startswith("#") for address in page.addresses)
    assert "://" not in html
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("svg") == 2
    assert "≥ 0.8" in page.text
    assert "0.77" in page.text


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    """Markup in a metric's name or a hyperparameter is shown as text, in HTML and in a Markdown table."""
    evil = "<script>alert(1)</script>|x"
    with fitgate.start_run(tmp_path / "runs", tensorboard=False, hparams={"note": evil}) as run:
        for step in range(10):
            run.log_metric(f"val_loss{evil}", 1.0 / (step + 1), step)
    report = build_report(fitgate.Store(str(tmp_path / "runs")).latest())
    page = _Page(render_html(report))
    assert "script" not in page.tags
    assert "<script>" in page.text
    rows = [line for line in render_markdown(report).splitlines() if "alert" in line and line.startswith("|")]
    assert rows
    for row in rows:
        assert row.replace("\\|", "").count("|") == 6


def test_the_same_run_gives_the_same_bytes(make: Make) -> None:
    """Nothing in a report depends on when or how often it is made."""
    run = make()
    _judged(run, ["val_acc >= 0.8"])
    assert render_html(build_report(run)) == render_html(build_report(run))


def test_without_drawing_no_plotting_library_is_loaded(make: Make) -> None:
    """Building a report and its JSON and Markdown loads neither matplotlib nor torch nor Lightning."""
    run = make()
    code = (
        "import sys, fitgate\n"
        "from fitgate.report import build_report, render_markdown, report_as_dict\n"
        f"report = build_report(fitgate.Store({str(Path(run.path).parent)!r}).latest())\n"
        "report_as_dict(report), render_markdown(report)\n"
        "print([m for m in ('torch', 'pytorch_lightning', 'lightning', 'matplotlib') if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
