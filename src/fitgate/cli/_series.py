"""A run's metrics in numbers: how many points, the last one, the best one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitgate.diagnosis import Curve

__all__ = ["Series", "series_of"]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric of one stage.

    Attributes:
        count: points recorded.
        last, last_step: the latest value, NaN and infinities included, and the loggers' step of it.
        best, best_step: the best finite value; None where there is none.
        best_global_step: the optimizer steps taken by then, which is what a checkpoint counts.
        better: which way is better, `"high"` or `"low"`.
    """

    stage: str
    name: str
    count: int
    last: float
    last_step: int
    best: float | None
    best_step: int | None
    best_global_step: int | None
    better: str


def series_of(curve: Curve, *, better_high: bool) -> Series:
    """Sum up one curve of at least one point.

    Example:
        >>> import numpy as np
        >>> ints = np.array([0, 1, 2])
        >>> curve = Curve(stage="validate", name="acc", step=ints, global_step=ints, epoch=ints, value=np.array([0.5, 0.9, np.nan]))
        >>> series = series_of(curve, better_high=True)
        >>> series.count, series.last, series.best, series.best_step
        (3, nan, 0.9, 1)
    """
    finite = curve.finite
    index = int(np.argmax(finite.value if better_high else -finite.value)) if len(finite) else None
    return Series(
        stage=curve.stage,
        name=curve.name,
        count=len(curve),
        last=float(curve.value[-1]),
        last_step=int(curve.step[-1]),
        best=None if index is None else float(finite.value[index]),
        best_step=None if index is None else int(finite.step[index]),
        best_global_step=None if index is None else int(finite.global_step[index]),
        better="high" if better_high else "low",
    )
