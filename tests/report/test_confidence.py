"""What a report says of a confident check, and of a comparison on other data."""

import dataclasses
from pathlib import Path

import pytest

import fitgate
from fitgate import Threshold
from fitgate.gate import Samples, decision_as_dict
from fitgate.report import Report, build_report, render_html, render_markdown, report_as_dict


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """0.85 of 50 samples, where 0.8 is asked for with confidence; and a warning."""
    with fitgate.start_run(tmp_path, tensorboard=False) as run:
        run.log_metrics({"val_acc": 0.85}, step=1)
    threshold = Threshold("val_acc", ">=", 0.80, confidence=0.95)
    decision = fitgate.evaluate([threshold], {"val_acc": 0.85}, samples={"val_acc": Samples(n=50)})
    noted = dataclasses.replace(decision, warnings=("the champion was validated on other data",))
    return build_report(fitgate.Store(str(tmp_path)).latest(), decision_as_dict(noted, run.id))


def test_value_bound_n_and_enough_are_said(report: Report) -> None:
    """In the page, in Markdown and in JSON; the headline doesn't say that 0.85 is less than 0.8."""
    assert report.headline == "val_acc is 0.85, of which 50 samples make sure at least 0.7492 with 95 % confidence; at least 0.8 is needed."
    (check,) = report_as_dict(report)["checks"]
    assert (check["value"], check["n"], check["n_needed"]) == (0.85, 50, 174)
    assert check["bound"] == pytest.approx(0.7492, abs=1e-4)
    for text in (render_html(report), render_markdown(report)):
        assert "whose lower bound from 50 samples is 0.74" in text
        assert "about 174 samples would be enough for this value" in text


def test_warnings_are_shown(report: Report) -> None:
    """Wherever the checks are."""
    assert report_as_dict(report)["warnings"] == ["the champion was validated on other data"]
    for text in (render_html(report), render_markdown(report)):
        assert "Note: the champion was validated on other data." in text
