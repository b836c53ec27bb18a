"""Weights that would have passed were there, and were not the ones that were judged."""

from __future__ import annotations

import numpy as np

from fitgate.diagnosis._evidence import Curve, Evidence
from fitgate.diagnosis._finding import NOT_ENOUGH, Finding, Outcome, Rule
from fitgate.diagnosis._names import on_validation_data
from fitgate.diagnosis._smooth import number

__all__ = ["RULE"]


def look(evidence: Evidence) -> Outcome:
    """Find a validation at which every threshold held, while the judged weights missed one.

    Default and source: ours; there is no number in it.
    Least evidence: judged weights, and thresholds whose metrics are recorded in validation.
    """
    goals = [g for g in evidence.goals if g.required is not None and not g.metric.startswith("artifact.")]
    curves = [_curve(evidence, g.metric) for g in goals]
    if evidence.judged_step is None or not goals:
        return NOT_ENOUGH
    known = [c for c in curves if c is not None and len(c)]
    if len(known) < len(goals):
        return NOT_ENOUGH
    values = [dict(zip(c.global_step.tolist(), c.value.tolist(), strict=True)) for c in known]
    steps = sorted(set.intersection(*(set(v) for v in values)))
    passing = [s for s in steps if all(g.met_by(v[s]) for g, v in zip(goals, values, strict=True))]
    judged = evidence.judged_step
    if not passing or judged in passing or judged not in steps:
        return []
    missed = next(i for i, g in enumerate(goals) if not g.met_by(values[i][judged]))
    goal, at = goals[missed], values[missed]
    best = max(passing, key=lambda s: at[s] if goal.better_high else -at[s])
    shown = known[missed].shown
    mode = "max" if goal.better_high else "min"
    return [
        Finding(
            rule=RULE.name,
            severity="problem",
            steps=(passing[0], passing[-1]),
            evidence={
                "metric": goal.metric,
                "stage": known[missed].stage,
                "judged_step": judged,
                "judged_value": shown(at[judged]),
                "passing_step": best,
                "passing_value": shown(at[best]),
                "passing_validations": len(passing),
                "required": None if goal.required is None else shown(goal.required),
            },
            summary=f"At step {best} every threshold held, {goal.metric} being {number(shown(at[best]))}; the judged weights are of step {judged}, where it was {number(shown(at[judged]))}.",
            try_=(f"Keep the weights that pass: ModelCheckpoint(monitor={goal.metric!r}, mode={mode!r})",),
        )
    ]


def _curve(evidence: Evidence, metric: str) -> Curve | None:
    found = [c for (stage, name), c in evidence.curves.items() if name == metric and on_validation_data(name, stage) and stage != "test"]
    curve = next(iter(found), None)
    return None if curve is None else curve.take(np.isfinite(curve.value))


RULE = Rule(name="missed_checkpoint", look=look)
