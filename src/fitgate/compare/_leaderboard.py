"""The leaderboard: runs in the order of their best value, and everything that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fitgate.compare._difference import differences
from fitgate.compare._groups import group_notes, seed_groups
from fitgate.compare._hparams import differing_names
from fitgate.compare._model import Comparison, MetricChoice, Row
from fitgate.compare._record import RunFacts, RunPoints
from fitgate.compare._words import counted

__all__ = ["rank"]


def rank(facts: Sequence[RunFacts], points: Sequence[RunPoints], metric: MetricChoice, *, baseline: str | None = None) -> Comparison:
    """Put runs in order. Runs without a finite value come last, without a rank: NaN never wins.

    Args:
        facts: of each run.
        points: of the same runs, in the same order.
        metric: what to rank by.
        baseline: the id of the run whose best value the others' changes are counted from.
    """
    rows = [_row(f, p, metric) for f, p in zip(facts, points, strict=True)]
    rows.sort(key=lambda r: (r.best is None, -metric.sign * r.best.value if r.best else 0.0, r.facts.created, r.facts.id))
    rows = _ranked(rows)
    start = next((r.best for r in rows if r.facts.id == baseline), None)
    if start is not None:
        rows = [replace(r, change=r.best.value - start.value) if r.best and r.facts.id != baseline else r for r in rows]
    groups = seed_groups(rows, metric)
    return Comparison(
        metric=metric,
        rows=tuple(rows),
        differing=differing_names([r.facts.hparams for r in rows]),
        groups=groups,
        differences=differences(groups, metric),
        baseline=baseline,
        notes=(*_unfinished_notes(rows), *group_notes(rows)),
    )


def _row(facts: RunFacts, points: RunPoints, metric: MetricChoice) -> Row:
    series = points.series.get(metric.stage)
    best = series.best(metric.mode) if series else None
    problem = points.problem
    if problem is None and series is None:
        elsewhere = f" in {metric.stage}, only in {' and '.join(points.series)}" if points.series else ""
        problem = f"never recorded {metric.name}{elsewhere}"
    if problem is None and series is not None and best is None:
        problem = f"all {counted(series.count, 'value')} are NaN or infinite" if series.count > 1 else "its one value is NaN or infinite"
    return Row(rank=None, facts=facts, points=points, series=series, best=best, problem=problem)


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Equal values share a rank, and the next one counts them all: 1, 1, 3."""
    ranked: list[Row] = []
    for place, row in enumerate(rows, 1):
        if row.best is None:
            ranked.append(row)
        elif ranked and ranked[-1].best is not None and ranked[-1].best.value == row.best.value:
            ranked.append(replace(row, rank=ranked[-1].rank))
        else:
            ranked.append(replace(row, rank=place))
    return ranked


def _unfinished_notes(rows: Sequence[Row]) -> list[str]:
    running = sum(row.facts.state == "running" for row in rows)
    return [f"{counted(running, 'run')} still running: what {'it has' if running == 1 else 'they have'} so far is shown"] if running else []
