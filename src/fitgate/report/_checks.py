"""The checks of a gate with the best value the run ever saw, and the verdict in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fitgate.diagnosis import Curve, Evidence, Goal, goals_of_checks
from fitgate.diagnosis._names import on_validation_data
from fitgate.gate import DIFFERS, beside_checks
from fitgate.report._model import CheckRow
from fitgate.report._text import apart_text, bound_text

__all__ = ["check_rows", "headline_of"]

_WORDS = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}


_CONFIDENCE = ("confidence", "bound", "n", "n_needed")
_HIGH = (">=", ">")


def check_rows(gate: Mapping[str, Any] | None, evidence: Evidence) -> tuple[CheckRow, ...]:
    """One row a check, in the gate's order; without a gate, none."""
    checks = (gate or {}).get("checks", ())
    recorded = (gate or {}).get("metrics") or {}
    return tuple(
        _row(check, goal, evidence, recorded=check["metric"] in recorded)
        for check, goal in zip(checks, goals_of_checks(checks), strict=True)
    )


def headline_of(verdict: str | None, rows: Sequence[CheckRow], reasons: Sequence[str]) -> str:
    """The verdict in one sentence.

    Example:
        >>> row = CheckRow(threshold="val_acc >= 0.8", metric="val_acc", op=">=", required=0.8, value=0.75, passed=False, margin=-0.05, reason="")
        >>> headline_of("improve", [row], [])
        'val_acc is 0.75; at least 0.8 is needed.'
    """
    if verdict is None:
        return "Nobody has judged this run yet; this is what its curves show."
    if verdict == "deploy":
        return _passed([row for row in rows if not row.waived and not row.warn])
    ineligible = beside_checks(reasons, (row.reason for row in rows))
    if ineligible:
        more = f", and {len(ineligible) - 1} more" if len(ineligible) > 1 else ""
        return f"Not fit to be {'published' if ineligible[0].startswith(DIFFERS) else 'judged'}: {ineligible[0]}{more}."
    blocking = sorted((row for row in rows if not row.passed and not row.warn), key=_relative_margin)
    if not blocking:
        return f"{reasons[0]}." if reasons else "The gate said no, and gave no reason."
    first, count = blocking[0], len(blocking) - 1
    more = f" {'One more check fails' if count == 1 else f'{count} more checks fail'}." if count else ""
    return f"{_missed(first)}{more}"


def _missed(row: CheckRow) -> str:
    needed = (
        "" if row.required is None else f"; {_WORDS.get(row.op, row.op)} {bound_text(row.required, row.threshold, row.value)} is needed"
    )
    if row.non_finite is not None:
        return f"{row.metric} is {row.non_finite}{needed}."
    if row.value is None:
        return f"{row.metric} was not recorded for the judged weights{needed}."
    sure = ""
    if row.confidence is not None and row.bound is not None:
        only = "at least" if row.op in _HIGH else "at most"
        sure = f", of which {row.n} samples make sure {only} {row.bound:.4g} with {100 * row.confidence:.4g} % confidence"
    return f"{row.metric} is {apart_text(row.value, row.required)}{sure}{needed}."


def _passed(rows: Sequence[CheckRow]) -> str:
    tight = min((r for r in rows if r.margin is not None), key=_relative_margin, default=None)
    if tight is None or tight.margin is None:
        return "Every check passes."
    if len(rows) == 1:
        return f"{tight.threshold} holds, with {tight.margin:.4g} to spare."
    every = "Both" if len(rows) == 2 else f"All {len(rows)}"  # noqa: PLR2004 - as one says it
    return f"{every} checks pass; the tightest is {tight.threshold}, with {tight.margin:.4g} to spare."


def _relative_margin(row: CheckRow) -> float:
    """How far inside its bound, as a share of it; a missing value is the worst there is."""
    if row.margin is None or row.required is None:
        return -math.inf
    return row.margin / (abs(row.required) or 1.0)


def _row(check: Mapping[str, Any], goal: Goal, evidence: Evidence, *, recorded: bool) -> CheckRow:
    curve = _curve(goal.metric, evidence)
    best = best_step = None
    if curve is not None and len(curve.finite):
        finite = curve.finite
        index = int(np.argmax(finite.value if goal.better_high else -finite.value))
        best, best_step = float(finite.value[index]), int(finite.global_step[index])
    known = {key: check.get(key) for key in ("threshold", "metric", "op", "required", "value", "passed", "margin", "reason", *_CONFIDENCE)}
    return CheckRow(
        **known,  # type: ignore[arg-type]  # the content of gate.json
        warn=bool(check.get("warn")),
        waived=bool(check.get("waived")),
        non_finite=_non_finite(curve, evidence.judged_step) if recorded and check.get("value") is None else None,
        best=best,
        best_step=best_step,
        best_passes=None if best is None or goal.required is None else goal.met_by(best),
    )


def _non_finite(curve: Curve | None, judged_step: int | None) -> str:
    """What stands at the judged step, where JSON has but null for it."""
    values = curve.value[curve.global_step == judged_step] if curve is not None and judged_step is not None else np.array([])
    return str(float(values[-1])) if len(values) and not np.isfinite(values[-1]) else "not finite"


def _curve(metric: str, evidence: Evidence) -> Curve | None:
    """The curve whose value the gate would judge: never training's where there is a validation's."""
    found = [c for (stage, name), c in evidence.curves.items() if name == metric and stage != "test"]
    return min(found, key=lambda c: not on_validation_data(c.name, c.stage), default=None)
