"""One run against a baseline: is it worse by more than is allowed?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fitgate.compare._errors import ComparisonError
from fitgate.compare._model import Comparison, Row
from fitgate.compare._words import number

__all__ = ["BaselineCheck", "check_baseline"]

_FLOAT32 = 2.0**-23
"""Metrics are mostly computed in single precision: what is less than its rounding is no difference."""


@dataclass(frozen=True, kw_only=True)
class BaselineCheck:
    """The outcome.

    Attributes:
        baseline, run: ids.
        baseline_value: the baseline's best value.
        value: the run's best value; None when it has no finite one.
        allowed: how much worse it may be, in the metric's unit.
        worse_by: how much worse it is, whichever way is better; negative for a better one, None without a value.
        worse: whether that is more than allowed.
        reason: one sentence.
    """

    baseline: str
    run: str
    baseline_value: float
    value: float | None
    allowed: float
    worse_by: float | None
    worse: bool
    reason: str


def check_baseline(comparison: Comparison, allowed: float) -> BaselineCheck:
    """Hold the one other run of a comparison against its baseline, best value against best value.

    A run without a finite value is worse than any baseline.

    Args:
        comparison: of the baseline and one other run.
        allowed: how much worse the run may be, in the metric's unit; 0 or more.

    Raises:
        ComparisonError: there is not exactly one other run, the baseline has no finite value, or `allowed` is no such number.
    """
    if not (math.isfinite(allowed) and allowed >= 0):
        message = f"how much worse a run may be is a number from 0 up, in the metric's unit, such as 0.01; got {allowed!r}"
        raise ComparisonError(message)
    if comparison.baseline is None:
        message = "there is no baseline to compare with; name one"
        raise ComparisonError(message)
    others = [row for row in comparison.rows if row.facts.id != comparison.baseline]
    if len(others) != 1:
        found = f"there are {len(others)}" if others else "there is none"
        message = f"one run is held against the baseline {comparison.baseline}, and {found}; name it, such as: latest"
        raise ComparisonError(message)
    base, row, metric = comparison.row(comparison.baseline), others[0], comparison.metric
    if base.best is None:
        message = f"the baseline {base.facts.id} has no {metric.name} to compare with: {base.problem}"
        raise ComparisonError(message)
    value = row.best.value if row.best else None
    worse_by = None if value is None else metric.sign * (base.best.value - value)
    rounding = _FLOAT32 * max(abs(base.best.value), abs(value or 0.0))
    worse = worse_by is None or worse_by > allowed + rounding
    return BaselineCheck(
        baseline=base.facts.id,
        run=row.facts.id,
        baseline_value=base.best.value,
        value=value,
        allowed=allowed,
        worse_by=worse_by,
        worse=worse,
        reason=_reason(base, row, metric.name, worse_by, allowed, worse=worse),
    )


def _reason(base: Row, row: Row, metric: str, worse_by: float | None, allowed: float, *, worse: bool) -> str:
    than = f"than the baseline {base.facts.id}"
    if worse_by is None:
        return f"{row.facts.id} counts as worse {than}: {row.problem}"
    value, start = (None if r.best is None else r.best.value for r in (row, base))
    values = f"({metric} {number(value)} against {number(start)})"
    if worse_by <= 0:
        how = f"better by {-worse_by:.4g}" if worse_by else "no worse"
        return f"{row.facts.id} is {how} {than} {values}"
    return f"{row.facts.id} is worse by {worse_by:.4g} {than} {values}: {'more than' if worse else 'within'} the {allowed:g} allowed"
