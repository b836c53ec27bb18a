"""What a comparison is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fitgate.compare._record import Curve, Mode, Point, RunFacts, RunPoints, Series

__all__ = ["Comparison", "Difference", "Group", "MetricChoice", "Row"]


@dataclass(frozen=True, kw_only=True)
class MetricChoice:
    """What is compared.

    Attributes:
        name, stage: the metric.
        mode: `"max"` when greater is better.
        why: why this metric; None when it was asked for.
        mode_why: where the direction comes from.
    """

    name: str
    stage: str
    mode: Mode
    why: str | None
    mode_why: str

    @property
    def sign(self) -> float:
        """1 when greater is better, else -1."""
        return 1.0 if self.mode == "max" else -1.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run in the leaderboard.

    Attributes:
        rank: from 1, equal values share one; None for a run without a finite value.
        facts, points: what was read.
        series: the metric's; None where the run has none.
        best: its best finite point.
        change: its best value less the baseline's, in the metric's unit; None without a baseline.
        problem: why it has no rank.
    """

    rank: int | None
    facts: RunFacts
    points: RunPoints
    series: Series | None
    best: Point | None
    change: float | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs with the same hyperparameters but the seed.

    Attributes:
        letter: A for the best mean, B, …
        label: the hyperparameters that set it apart from other groups; without any, the runs' name.
        hparams: those, by name.
        run_ids: all its runs.
        values: the best value of each seed that came to its end, ascending; runs that share a seed count once, by their mean.
        mean: of `values`; None when there is none.
        sd: their standard deviation, with n - 1; None for fewer than two.
        left_out: runs that don't count, with why.
        diverged: of the runs that came to their end, those without a finite value.
        curve: mean, lowest and highest of the counted runs, as far as all of them go; None for fewer than two.
    """

    letter: str
    label: str
    hparams: Mapping[str, Any]
    run_ids: tuple[str, ...]
    values: tuple[float, ...] = ()
    mean: float | None = None
    sd: float | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    diverged: tuple[str, ...] = ()
    curve: Curve | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Whether two groups differ by more than their seeds do.

    Attributes:
        first, second: letters of the groups.
        difference: the mean of the first less that of the second, in the metric's unit; None when one has no mean.
        low, high: the interval of the difference; None when there are too few seeds for one.
        confidence: of the interval, over all pairs of groups together.
        better: the letter of the better group; None when that can't be told.
        reason: one sentence.
    """

    first: str
    second: str
    difference: float | None
    low: float | None
    high: float | None
    confidence: float
    better: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs, compared by one metric.

    Attributes:
        metric: what is compared, and which way is better.
        rows: best first; runs without a value last.
        differing: names of the hyperparameters that are not the same in all runs, seeds last.
        groups: best mean first; only groups of two runs or more.
        differences: of groups; of many groups, only those with the best one.
        baseline: the id of the run to compare with; None without one.
        notes: what a reader should know, such as runs without hyperparameters.
    """

    metric: MetricChoice
    rows: tuple[Row, ...]
    differing: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    differences: tuple[Difference, ...] = ()
    baseline: str | None = None
    notes: tuple[str, ...] = ()

    def row(self, run_id: str) -> Row:
        """The row of a run.

        Raises:
            KeyError: it is not among those compared.
        """
        for row in self.rows:
            if row.facts.id == run_id:
                return row
        raise KeyError(run_id)
