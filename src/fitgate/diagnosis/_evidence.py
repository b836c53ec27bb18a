"""What the rules look at: a run's curves and the few facts beside them, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fitgate.gate import settled

__all__ = ["Curve", "Evidence", "Floats", "Goal", "Ints"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """One metric of one stage, in the order in which it was recorded.

    Attributes:
        stage: `"train"`, `"validate"` or `"test"`.
        name: the metric's name, as recorded.
        step: the loggers' x-axis. Shape (n,).
        global_step: optimizer steps taken so far; the one axis that all curves share. Shape (n,).
        epoch: shape (n,).
        value: NaN and infinities included. Shape (n,).
        unit: how many of the recorded unit make one of these values': 100 for an accuracy that was recorded in percent and
            is a fraction here.
        samples: how many samples each value was taken on, where the run recorded it; else None.
    """

    stage: str
    name: str
    step: Ints
    global_step: Ints
    epoch: Ints
    value: Floats
    unit: float = 1.0
    samples: int | None = None

    def __len__(self) -> int:
        return len(self.value)

    def take(self, mask: npt.NDArray[np.bool_]) -> Curve:
        """The points that `mask` picks. Shape (n,)."""
        return replace(
            self,
            step=self.step[mask],
            global_step=self.global_step[mask],
            epoch=self.epoch[mask],
            value=self.value[mask],
        )

    def shown(self, value: float) -> float:
        """A value, or a difference of values, in the unit that people recorded.

        Example:
            >>> none = np.array([], dtype=np.int64)
            >>> curve = Curve(stage="validate", name="val_acc", step=none, global_step=none, epoch=none, value=np.array([]), unit=100.0)
            >>> curve.shown(0.882)
            88.2
        """
        # Twelve digits: what multiplying adds behind them nobody recorded.
        return value if self.unit == 1 else float(f"{value * self.unit:.12g}")

    @property
    def bad(self) -> Ints:
        """Where the points that are no numbers stand. Shape (m,)."""
        return np.flatnonzero(~np.isfinite(self.value))

    @property
    def finite(self) -> Curve:
        """The points that are numbers."""
        return self.take(np.isfinite(self.value))


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A threshold as a plain number to reach.

    Attributes:
        metric: the metric's name.
        better_high: whether a greater value is a better one.
        required: the number to reach; None where it could not be told (no champion yet).
        text: as people wrote it.
        strict: the bound itself does not pass.
        warn: missing it blocks nothing: rules take it for no goal.
    """

    metric: str
    better_high: bool
    required: float | None
    text: str
    strict: bool = False
    warn: bool = False

    def met_by(self, value: float) -> bool:
        """Whether a value passes, as the gate takes it. NaN never does, nor does anything while the bound is unknown.

        Example:
            >>> Goal(metric="val_acc", better_high=True, required=0.9, text="").met_by(float(np.float32(0.9)))
            True
        """
        if self.required is None:
            return False
        value = settled(value, self.required)
        if self.strict and value == self.required:
            return False
        return value >= self.required if self.better_high else value <= self.required


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """Everything that a rule may look at.

    Attributes:
        curves: by (stage, name).
        hparams: hyperparameters, as recorded.
        goals: what the run is judged by.
        classes: how many classes the targets have; None when it isn't known.
        judged_step: the `global_step` of the weights that were judged; None when nothing was.
        watched: thresholds that only warn: they say which way is better, and nothing else.
        ended: the run came to the end that it was to have; one that was interrupted, failed or goes on did not.
        modes: whether greater is better, by metric, where a checkpoint's monitor says so.
    """

    curves: Mapping[tuple[str, str], Curve]
    hparams: Mapping[str, Any] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()
    watched: tuple[Goal, ...] = ()
    classes: int | None = None
    judged_step: int | None = None
    ended: bool = True
    modes: Mapping[str, bool] = field(default_factory=dict)
