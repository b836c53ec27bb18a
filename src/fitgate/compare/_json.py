"""A comparison as plain data: what `--json` prints."""

from __future__ import annotations

from typing import Any

from fitgate.compare._baseline import BaselineCheck
from fitgate.compare._model import Comparison, Difference, Group, Row
from fitgate.compare._record import Point

__all__ = ["comparison_as_dict"]


def comparison_as_dict(comparison: Comparison, check: BaselineCheck | None = None) -> dict[str, Any]:
    """Everything but the curves. Values that are NaN or infinite become null when this is written as JSON."""
    metric = comparison.metric
    return {
        "metric": metric.name,
        "metric_why": metric.why,
        "stage": metric.stage,
        "mode": metric.mode,
        "mode_why": metric.mode_why,
        "differing": list(comparison.differing),
        "runs": [_row(row, comparison.differing) for row in comparison.rows],
        "groups": [_group(group) for group in comparison.groups],
        "differences": [_difference(difference) for difference in comparison.differences],
        "baseline": comparison.baseline,
        "baseline_check": check,
        "notes": list(comparison.notes),
    }


def _row(row: Row, differing: tuple[str, ...]) -> dict[str, Any]:
    facts, points, series = row.facts, row.points, row.series
    return {
        "rank": row.rank,
        "id": facts.id,
        "name": facts.name,
        "state": facts.state,
        "verdict": facts.verdict,
        "created": facts.created,
        "path": facts.path,
        "best": _point(row.best),
        "last": _point(series.last) if series else None,
        "points": series.count if series else 0,
        "non_finite": series.non_finite if series else 0,
        "change": row.change,
        "epochs": points.epochs,
        "steps": points.steps,
        "seconds": points.seconds,
        "hparams": {name: facts.hparams[name] for name in differing if name in facts.hparams},
        "problem": row.problem,
    }


def _point(point: Point | None) -> dict[str, Any] | None:
    return {"step": point.step, "global_step": point.global_step, "value": point.value} if point else None


def _group(group: Group) -> dict[str, Any]:
    return {
        "letter": group.letter,
        "label": group.label,
        "hparams": dict(group.hparams),
        "runs": list(group.run_ids),
        "seeds": len(group.values),
        "values": list(group.values),
        "mean": group.mean,
        "sd": group.sd,
        "low": min(group.values, default=None),
        "high": max(group.values, default=None),
        "left_out": dict(group.left_out),
        "diverged": list(group.diverged),
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "first": difference.first,
        "second": difference.second,
        "difference": difference.difference,
        "low": difference.low,
        "high": difference.high,
        "confidence": difference.confidence,
        "verdict": "can't tell" if difference.better is None else f"{difference.better} is better",
        "better": difference.better,
        "reason": difference.reason,
    }
