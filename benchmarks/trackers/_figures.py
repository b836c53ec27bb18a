"""From samples to figures: medians of paired differences, with intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.trackers._measure import Sample

__all__ = ["TARGET_RATIO", "Estimate", "Row", "rows"]

TARGET_RATIO = 0.25
"""What the callback with both its files may cost, as a part of what CSVLogger costs in the same run."""

_RESAMPLES = 9_999
_FEWEST = 3  # repeats; fewer have no interval

Clock = Literal["cpu_us", "wall_us"]


@dataclass(frozen=True)
class Estimate:
    """A median over the rounds and its 95 % interval, percentile bootstrap; NaN ends where rounds are too few.

    Attributes:
        median, low, high: in the unit of the samples, or a plain ratio.
    """

    median: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Row:
    """One tracker's figures at one number of metrics.

    Attributes:
        tracker, metrics: which.
        cpu, wall: microseconds a step above the bare fit of the same round; of the bare fit, its own. NaN where not measured.
        cpu_ratio, wall_ratio: to the reference's cost above the bare fit, in the same rounds; None for the bare fit.
        once_ms: wall milliseconds a fit, whatever its length, above the bare fit's.
        rounds: how many samples stand behind it.
        error: the first error met, where no round gave a sample.
    """

    tracker: str
    metrics: int
    cpu: Estimate
    wall: Estimate
    cpu_ratio: Estimate | None = None
    wall_ratio: Estimate | None = None
    once_ms: float = math.nan
    rounds: int = 0
    error: str | None = None


def rows(rounds: Sequence[Sequence[Sample]], *, bare: str, reference: str) -> list[Row]:
    """The table's rows.

    Args:
        rounds: the samples of each round.
        bare: the tracker that is none.
        reference: the tracker that the others are compared with.

    Returns:
        One row for each tracker and number of metrics, in the order in which they first came.

    Example:
        >>> from benchmarks.trackers._measure import Sample
        >>> costs = {"none": 500.0, "csv": 620.0, "ours": 530.0}
        >>> one = [Sample(tracker=name, metrics=2, cpu_us=cost, wall_us=cost) for name, cost in costs.items()]
        >>> [(row.tracker, row.cpu.median, row.cpu_ratio and row.cpu_ratio.median) for row in rows([one], bare="none", reference="csv")]
        [('none', 500.0, None), ('csv', 120.0, 1.0), ('ours', 30.0, 0.25)]
    """
    by_key = [{(s.tracker, s.metrics): s for s in samples} for samples in rounds]
    keys = list(dict.fromkeys(key for samples in by_key for key in samples))
    return [_row(by_key, tracker, metrics, bare=bare, reference=reference) for tracker, metrics in keys]


def _row(rounds: Sequence[dict[tuple[str, int], Sample]], tracker: str, metrics: int, *, bare: str, reference: str) -> Row:
    three = [(r.get((tracker, metrics)), r.get((bare, metrics)), r.get((reference, metrics))) for r in rounds]
    whole = [(t, b, c) for t, b, c in three if t and b and c and not (t.error or b.error or c.error)]
    if not whole:
        errors = [sample.error for group in three for sample in group if sample and sample.error]
        none = Estimate(math.nan)
        return Row(tracker=tracker, metrics=metrics, cpu=none, wall=none, error=errors[0] if errors else "not measured")
    own = tracker == bare

    def above_bare(clock: Clock) -> Estimate:
        return _median([getattr(t, clock) - (0.0 if own else getattr(b, clock)) for t, b, _ in whole])

    def ratio(clock: Clock) -> Estimate | None:
        if own:
            return None
        return _ratio([[getattr(s, clock) - getattr(b, clock) for s in (t, c)] for t, b, c in whole])

    return Row(
        tracker=tracker,
        metrics=metrics,
        cpu=above_bare("cpu_us"),
        wall=above_bare("wall_us"),
        cpu_ratio=ratio("cpu_us"),
        wall_ratio=ratio("wall_us"),
        once_ms=float(np.median([t.wall_once_ms - (0.0 if own else b.wall_once_ms) for t, b, _ in whole])),
        rounds=len(whole),
    )


def _median(differences: Sequence[float]) -> Estimate:
    values = np.asarray(differences)
    if len(values) < _FEWEST or bool(np.isnan(values).any()):
        return Estimate(float(np.median(values)))
    interval = stats.bootstrap((values,), np.median, n_resamples=_RESAMPLES, method="percentile", rng=0).confidence_interval
    return Estimate(float(np.median(values)), float(interval.low), float(interval.high))


def _ratio(pairs: Sequence[Sequence[float]]) -> Estimate:
    """Of the medians; whole rounds are drawn again, so that the pairs stay pairs."""
    own, other = np.asarray(pairs).T

    def of_medians(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], axis: int = -1) -> npt.NDArray[np.float64]:
        return np.asarray(np.median(a, axis=axis) / np.median(b, axis=axis))

    median = float(of_medians(own, other))
    if math.isnan(median) or len(own) < _FEWEST or bool(np.all(own == other)):
        return Estimate(median)
    result = stats.bootstrap((own, other), of_medians, paired=True, n_resamples=_RESAMPLES, method="percentile", rng=0)
    return Estimate(median, float(result.confidence_interval.low), float(result.confidence_interval.high))
