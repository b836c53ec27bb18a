"""Suggestions that a program can act on."""

from __future__ import annotations

from typing import Any

import pytest

from fitgate.diagnosis._evidence import Evidence
from fitgate.diagnosis._finding import Finding
from fitgate.diagnosis._suggest import suggest


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
