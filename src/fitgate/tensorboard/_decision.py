"""What TensorBoard shows of a decision: text, thresholds beside their metrics, and the judged step.

Series of the gate are written as tensors of the scalars plugin: TensorBoard draws them like any scalar, while a reader
that asks for the plain scalars of a run gets the recorded points and nothing else. Their tags don't hold the bound: runs with
other bounds then share one chart, and the HParams tab, whose parallel coordinates leave out a run that lacks a column, has one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util import tensor_util

from fitgate._markdown import markdown
from fitgate.store._arrow import numpy_of
from fitgate.tensorboard._events import append_events
from fitgate.tensorboard._hparams import session_end

__all__ = ["decision_events", "write_decision"]


def write_decision(folder: Path, gate: Mapping[str, Any], points: pa.Table, *, state: str, report: str | None = None) -> Path:
    """Add what TensorBoard shows of a decision to a run's folder, as one more event file.

    TensorBoard reads a folder's files in the order of their names and follows only the last, so the run's
    own writer must be closed.

    Args:
        folder: the run's folder.
        gate: the content of gate.json.
        points: the run's effective points, as from `Run.metrics`.
        state: the run's state, for the HParams tab.
        report: the improve report as Markdown, if there is one.

    Returns:
        The file.
    """
    ended = datetime.now(UTC)
    last_step = pc.max(points["step"]).as_py() or 0
    events = [*decision_events(gate, points, report=report), (last_step, session_end(state, ended))]
    return append_events(folder, events)


def decision_events(gate: Mapping[str, Any], points: pa.Table, *, report: str | None = None) -> Iterator[tuple[int, Summary]]:
    """The same as (step, summary) pairs; pure."""
    global_step = (gate.get("judged") or {}).get("global_step")
    judged_step = 0
    charts = []
    for metric, checks in _by_metric(gate["checks"]).items():
        named = points.filter(pc.field("name") == metric)
        curve = _validation_first(named)
        if not curve.num_rows:
            continue
        steps = numpy_of(curve["step"])
        # What is counted or returned, and logged by nobody, may stand in both stages, one of them under a tag of its own.
        both = pc.count_distinct(named["stage"]).as_py() > 1
        tags = [metric, f"{metric}/train", f"{metric}/validate"] if both else [metric]
        for number, check in enumerate(checks, 1):
            if check["required"] is not None:
                tags.append(f"gate/needed {metric}{f' {number}' if number > 1 else ''}")
                yield from ((int(step), scalar_pb(tags[-1], check["required"])) for step in sorted({steps.min(), steps.max()}))
        judged = curve.filter(pc.field("global_step") == global_step) if global_step is not None else curve.slice(0, 0)
        if judged.num_rows:
            judged_step = int(judged["step"][-1].as_py())
            tags.append(f"gate/judged {metric}")
            yield judged_step, scalar_pb(tags[-1], judged["value"][-1].as_py())
        charts.append((metric, tags))
    if charts:
        yield judged_step, _layout(charts)
    yield judged_step, text_pb("gate/verdict", _verdict_text(gate))
    if report is not None:
        yield judged_step, text_pb("gate/report", report)


def _by_metric(checks: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for check in checks:
        grouped.setdefault(check["metric"], []).append(check)
    return grouped


def _validation_first(curve: pa.Table) -> pa.Table:
    """The curve that is judged: of one name in two stages, validation's."""
    validate = curve.filter(pc.field("stage") == "validate")
    return validate if validate.num_rows else curve.filter(pc.field("stage") == "train")


def _layout(charts: list[tuple[str, list[str]]]) -> Summary:
    content = [
        layout_pb2.Chart(title=metric, multiline=layout_pb2.MultilineChartContent(tag=[f"^{re.escape(tag)}$" for tag in tags]))
        for metric, tags in charts
    ]
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title="Gate: metrics and their thresholds", chart=content)])
    data = tensor_util.make_tensor_proto(layout.SerializeToString(), dtype=np.object_)
    value = Summary.Value(tag=layout_metadata.CONFIG_SUMMARY_TAG, metadata=layout_metadata.create_summary_metadata(), tensor=data)
    return Summary(value=[value])


def _verdict_text(gate: Mapping[str, Any]) -> str:
    judged = gate.get("judged") or {}
    weights = judged.get("checkpoint") or judged.get("source", "end of fit")
    lines = [f"# {gate['verdict']}", "", f"Judged: {markdown(weights)}, global step {judged.get('global_step')}", ""]
    lines += ["| check | needed | got | margin | |", "|---|---|---|---|---|"]
    for check in gate["checks"]:
        mark = "waived" if check["waived"] else "passed" if check["passed"] else "warned" if check["warn"] else "**missed**"
        required, margin = (_number(check[key]) for key in ("required", "margin"))
        # A gate.json that is read back has null for a value that was no number.
        value = _number(check["value"], none="not finite" if check["metric"] in gate["metrics"] else "none")
        numbers = f"{required} | {value} | {margin}"
        lines.append(f"| {markdown(check['threshold'])} | {numbers} | {mark} |")
    if gate["reasons"]:
        lines += ["", "Why not deploy:", "", *(f"- {markdown(reason)}" for reason in gate["reasons"])]
    return "\n".join(lines)


def _number(value: float | None, none: str = "none") -> str:
    return f"{value:.6g}" if value is not None and math.isfinite(value) else none
