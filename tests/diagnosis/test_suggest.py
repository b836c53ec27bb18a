"""Suggestions that a program can act on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fitgate
from fitgate.diagnosis import diagnose_evidence, read_evidence
from fitgate.diagnosis._evidence import Curve, Evidence
from fitgate.diagnosis._finding import Finding
from fitgate.diagnosis._suggest import suggest
from fitgate.store._run_file import FitFacts, RunInfo, write_run_info


def _suggested(rule: str, hparams: dict[str, Any]) -> dict[str, float]:
    finding = Finding(rule=rule, severity="problem", steps=(0, 1), evidence={}, summary="", try_=())
    return {each.parameter: each.factor for each in suggest([finding], Evidence(curves={}, hparams=hparams))}


@pytest.mark.parametrize(
    ("rule", "hparams"),
    [
        ("overfit", {"dropout": 0.9}),
        ("stopped_too_early", {"max_steps": -1}),
        ("overfit", {"num_layers": 1}),
        ("overfit", {"channels": 3}),
        ("overfit", {"width": 224, "height": 224}),
    ],
)
def test_no_change_that_is_wrong_or_does_nothing_is_suggested(rule: str, hparams: dict[str, Any]) -> None:
    """A factor on the wrong side of 1, of -1, of a whole number that can't shrink, or of a picture's size is left out."""
    assert _suggested(rule, hparams) == {}


def test_a_change_that_helps_is_suggested() -> None:
    """What the run has and a factor moves as wanted is named."""
    assert _suggested("overfit", {"dropout": 0.2, "width": 64}) == {"dropout": 1.5, "width": 0.5}


def test_the_length_of_a_run_that_was_stopped_is_no_measure() -> None:
    """An interrupted run is to go on; only of one that came to its end is a greater length suggested."""
    steps = np.arange(10, 210, 10)
    curve = Curve(stage="validate", name="val_loss", step=steps - 1, global_step=steps, epoch=steps // 10, value=np.linspace(2, 1, 20))
    whole = Evidence(curves={("validate", "val_loss"): curve}, hparams={"epochs": 20})
    assert [s.parameter for s in diagnose_evidence(whole).suggestions] == ["epochs"]
    stopped = diagnose_evidence(replace(whole, ended=False))
    (finding,) = (f for f in stopped.findings if f.rule == "stopped_too_early")
    assert stopped.suggestions == ()
    assert "ckpt_path" in finding.try_[0]
    assert not any("max_epochs" in thing for thing in finding.try_)


@pytest.mark.parametrize(
    ("state", "facts", "ended"),
    [
        ("completed", {}, True),
        ("improve", {}, True),
        ("improve", {"interrupted": "SIGTERM"}, False),
        ("interrupted", {"interrupted": "KeyboardInterrupt"}, False),
        ("failed", None, False),
        ("completed", None, True),
    ],
)
def test_whether_a_run_ended_is_on_record(tmp_path: Path, state: Any, facts: dict[str, str] | None, ended: bool) -> None:  # noqa: FBT001 - a parameter
    """In its state and in the facts of its fit; a run by hand has no fit."""
    now = datetime.now(UTC)
    fit = None if facts is None else FitFacts(**facts)  # type: ignore[arg-type]  # two of its texts
    (tmp_path / "r").mkdir()
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state=state, created=now, updated=now, fit=fit))
    assert read_evidence(fitgate.Store(str(tmp_path)).run("r")).ended == ended
