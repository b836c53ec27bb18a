"""What the report's pictures show, read back from the SVG within the page: where a curve's own points lie is the measure."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import fitgate
from fitgate.gate import decision_as_dict, judge
from fitgate.report import Mark, Report, build_report, render_html
from fitgate.store._run_file import Attempt, CheckpointRef, FitFacts, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

STEPS = 10 * np.arange(1, 21)
VALUES = np.concatenate([np.linspace(0.3, 0.75, 12), np.linspace(0.74, 0.5, 8)])
JUDGED = 120
Place = Callable[[float, float], tuple[float, float]]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Of a run that overfits after its best step, judged there, with a threshold that it missed."""
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r")
    for step in range(1, 201):
        writer.write([Record("train", step - 1, step, (step - 1) // 10, step, ("loss", "train_acc"), (0.98**step, 1 - 0.5 * 0.98**step))])
        if step in STEPS:
            value = float(VALUES[step // 10 - 1])
            writer.write([Record("validate", step - 1, step, (step - 1) // 10, step, ("val_acc", "val_loss"), (value, 2 * (1 - value)))])
    writer.close()
    began = datetime(2026, 11, 23, 8, 40, 1, tzinfo=UTC)
    best = CheckpointRef(path="best.ckpt", global_step=JUDGED, epoch=11, monitor="val_acc", mode="max")
    fit = FitFacts(global_step=200, epoch=20, steps=200, checkpoint=best)
    attempts = (Attempt(number=0, started=began),)
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="completed", created=began, updated=began, attempts=attempts, fit=fit))
    run = fitgate.Store(str(tmp_path)).run("r")
    return build_report(run, decision_as_dict(judge(run, ["val_acc >= 0.8"]), "r"))


def _picture(report: Report, title: str) -> ET.Element:
    figures = re.findall(r"<figure.*?</figure>", render_html(report), re.DOTALL)
    (figure,) = (f for f in figures if f"<h3>{title}</h3>" in f)
    svg = re.search(r"<svg.*</svg>", figure, re.DOTALL)
    assert svg is not None
    return ET.fromstring(svg[0])  # noqa: S314 - our own page


def _painted(picture: ET.Element, tag: str, colour: str) -> list[ET.Element]:
    return [e for e in picture.iter(tag) if f"var(--{colour})" in e.get("style", "")]


def _points(path: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path.get("d", ""))]


def _place(picture: ET.Element) -> Place:
    """Where a step and a value lie, by the curve's points."""
    curve = max((_points(path) for path in _painted(picture, "path", "validation")), key=len)
    across, up = np.array(curve).T
    assert len(curve) == len(STEPS), "every validation is a point of the curve"
    right, left = np.polyfit(STEPS, across, 1)
    high, low = np.polyfit(VALUES, up, 1)
    np.testing.assert_allclose(np.column_stack([left + right * STEPS, low + high * VALUES]), curve, atol=0.01)
    return lambda step, value: (float(left + right * step), float(low + high * value))


def test_a_threshold_is_a_line_with_its_number(report: Report) -> None:
    """Dashed, from side to side at its height, and what it asks for stands beside it; a metric without one has none."""
    picture = _picture(report, "val_acc")
    place = _place(picture)
    (line,) = _painted(picture, "path", "goal")
    (left, at), (right, also_at) = _points(line)
    assert at == also_at == pytest.approx(place(0, 0.8)[1], abs=0.01)
    assert left < place(10, 0)[0] < place(200, 0)[0] < right
    assert "stroke-dasharray" in line.get("style", "")
    (label,) = _painted(picture, "text", "goal")
    assert label.text == "≥ 0.8"
    assert float(label.get("y", "nan")) == pytest.approx(at, abs=5)
    assert float(label.get("x", "nan")) > right
    assert not _painted(_picture(report, "val_loss"), "path", "goal")


def test_the_judged_checkpoint_has_a_ring(report: Report) -> None:
    """On its curve, at its step, and a line down to it."""
    picture = _picture(report, "val_acc")
    across, up = _place(picture)(JUDGED, float(VALUES[STEPS == JUDGED][0]))
    (ring,) = _painted(picture, "use", "judged")
    assert (float(ring.get("x", "nan")), float(ring.get("y", "nan"))) == pytest.approx((across, up), abs=0.01)
    (line,) = (p for p in _painted(picture, "path", "judged") if "stroke-dasharray" in p.get("style", ""))
    assert [x for x, _ in _points(line)] == pytest.approx([across] * 2, abs=0.01)
    nothing = replace(report, charts=tuple(replace(chart, judged_step=None, judged_value=None) for chart in report.charts))
    assert not _painted(_picture(nothing, "val_acc"), "use", "judged")


def test_each_finding_has_a_numbered_bar_over_its_steps(report: Report) -> None:
    """Above the curves, from its first step to its last, in its severity's colour, with its number in the list."""
    (number,) = (n for n, finding in enumerate(report.diagnosis.findings, 1) if finding.rule == "overfit")
    found = report.diagnosis.findings[number - 1]
    (chart,) = (chart for chart in report.charts if chart.title == "val_acc")
    assert chart.marks == (Mark(number=number, first=found.steps[0], last=found.steps[1], severity="problem"),)
    marks = (*chart.marks, Mark(number=7, first=30, last=90, severity="hint"))
    picture = _picture(replace(report, charts=(replace(chart, marks=marks),)), "val_acc")
    place = _place(picture)
    labels = {text.text: text for text in _painted(picture, "text", "card")}
    assert set(labels) == {str(mark.number) for mark in marks}
    for mark in marks:
        (bar,) = (p for p in _painted(picture, "path", mark.severity) if "stroke-width: 2.4" in p.get("style", ""))
        (first, at), (last, also_at) = _points(bar)
        assert (first, last) == pytest.approx((place(mark.first, 0)[0], place(mark.last, 0)[0]), abs=0.01)
        assert at == also_at < place(0, 0.8)[1], "above all that is drawn"
        label = labels[str(mark.number)]
        assert first < float(label.get("x", "nan")) < last
        assert float(label.get("y", "nan")) == pytest.approx(at, abs=5)
