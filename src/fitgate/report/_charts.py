"""The curves that matter, thinned to what a picture can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fitgate.diagnosis import Curve, Evidence, Finding
from fitgate.diagnosis._names import ACCURACY, LOSS, is_learning_rate, quantity_of
from fitgate.diagnosis._pairs import Pair, better_high, pairs, train_loss
from fitgate.diagnosis._units import in_unit_of
from fitgate.report._model import Chart, Line, Mark

__all__ = ["charts_of", "line_of"]

MOST_CHARTS = 6
MOST_POINTS = 200
BINS = 60
"""A training curve of more than `MOST_POINTS` points is drawn as means of this many parts, with a band."""
BAND = (10, 90)


def charts_of(evidence: Evidence, findings: Sequence[Finding]) -> tuple[Chart, ...]:
    """A chart for each metric that a threshold asks for, then loss and accuracy.

    Where there is no validation at all, the training curves of what is asked for, and the training loss.
    """
    asked = {goal.metric for goal in evidence.goals} | set(evidence.modes)
    every = [pair for pair in pairs(evidence) if len(pair.validation)]
    wanted = [p for p in every if p.validation.name in asked or p.quantity in (LOSS, ACCURACY)] or every
    charts = [_of_pair(evidence, pair) for pair in wanted[:MOST_CHARTS]]
    shown = {line.name for chart in charts for line in chart.lines}
    charts += [_of_train(evidence, c) for c in _alone(evidence, asked, shown)]
    return tuple(_marked(chart, findings) for chart in charts[:MOST_CHARTS])


def line_of(curve: Curve, role: Literal["validation", "train"]) -> Line:
    """A curve's finite points; of a long one, the means and the spread of equal parts."""
    finite = curve.finite
    count = len(finite)
    if count <= MOST_POINTS and (role == "validation" or count <= 2 * BINS):
        return Line(
            role=role,
            stage=curve.stage,
            name=curve.name,
            steps=tuple(finite.global_step.tolist()),
            values=tuple(finite.value.tolist()),
            points=len(curve),
        )
    parts = [p for p in np.array_split(np.arange(count), BINS if role == "train" else MOST_POINTS) if len(p)]
    low, high = zip(*(np.percentile(finite.value[p], BAND).tolist() for p in parts), strict=True)
    return Line(
        role=role,
        stage=curve.stage,
        name=curve.name,
        steps=tuple(int(finite.global_step[p].mean()) for p in parts),
        values=tuple(float(finite.value[p].mean()) for p in parts),
        low=low,
        high=high,
        points=len(curve),
    )


def _alone(evidence: Evidence, asked: set[str], shown: set[str]) -> list[Curve]:
    """Training curves that no validation chart shows: what is asked for, and the loss."""
    loss = train_loss(evidence)
    found = [c for (stage, name), c in evidence.curves.items() if stage == "train" and name in asked and name not in shown]
    if loss is not None and loss.name not in shown | {c.name for c in found}:
        found.append(evidence.curves["train", loss.name])
    if not found and not shown:
        found = [c for (stage, name), c in evidence.curves.items() if stage == "train" and not is_learning_rate(name)]
    return found


def _of_pair(evidence: Evidence, pair: Pair) -> Chart:
    raw = evidence.curves[pair.validation.stage, pair.validation.name]
    train = in_unit_of(pair.validation, pair.train) if pair.train is not None and len(pair.train) else None
    lines = [] if train is None else [line_of(train, "train")]
    lines.append(line_of(pair.validation, "validation"))
    return _chart(evidence, raw, pair.validation, tuple(lines), better_high=pair.better_high)


def _of_train(evidence: Evidence, curve: Curve) -> Chart:
    return _chart(evidence, curve, curve.finite, (line_of(curve, "train"),), better_high=better_high(evidence, curve.name))


def _chart(evidence: Evidence, raw: Curve, curve: Curve, lines: tuple[Line, ...], *, better_high: bool) -> Chart:
    bad = np.flatnonzero(~np.isfinite(raw.value))
    best = int(np.argmax(curve.value if better_high else -curve.value)) if len(curve) else None
    at = np.flatnonzero(curve.global_step == evidence.judged_step) if evidence.judged_step is not None else np.array([], dtype=np.int64)
    return Chart(
        title=curve.name,
        better_high=better_high,
        lines=lines,
        required=tuple((g.required, g.text) for g in evidence.goals if g.metric == curve.name and g.required is not None),
        judged_step=evidence.judged_step,
        judged_value=float(curve.value[at[-1]]) if len(at) else None,
        best_step=None if best is None else int(curve.global_step[best]),
        best_value=None if best is None else float(curve.value[best]),
        non_finite_step=int(raw.global_step[bad[0]]) if len(bad) else None,
    )


def _marked(chart: Chart, findings: Sequence[Finding]) -> Chart:
    names = {line.name for line in chart.lines}
    quantity = quantity_of(chart.title)
    marks = tuple(
        Mark(number=number, first=f.steps[0], last=f.steps[1], severity=f.severity)
        for number, f in enumerate(findings, 1)
        if names & set(f.curves) or any(quantity_of(name) == quantity for name in f.curves)
    )
    return replace(chart, marks=marks)
