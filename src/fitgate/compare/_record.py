"""What is read of each run before anything is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["MODES", "Curve", "Mode", "Point", "RunFacts", "RunPoints", "Series"]

Mode = Literal["min", "max"]
MODES: tuple[Mode, Mode] = ("min", "max")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of the metric.

    Attributes:
        step: the x-axis that Lightning's own loggers use for it.
        global_step: the optimizer steps taken by then, which is what a checkpoint counts and what people are shown.
    """

    step: int
    global_step: int
    value: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A line to draw: every point, or of a long series the mean over equal stretches of it.

    Attributes:
        steps: optimizer steps, ascending. Shape (n,).
        values: NaN where a stretch holds no finite value. Shape (n,).
        low, high: of a group, the lowest and the highest of its runs. Shape (n,); empty for a single run.
    """

    steps: Floats
    values: Floats
    low: Floats = field(default_factory=lambda: np.array([]))
    high: Floats = field(default_factory=lambda: np.array([]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """One metric of one run, reduced while it was read.

    Attributes:
        count: points.
        non_finite: those that are NaN or infinite.
        lowest, highest: of the finite ones, the first where several are equal; None when there is none.
        last: the newest point, whatever its value.
        curve: for drawing.
    """

    count: int
    non_finite: int
    lowest: Point | None
    highest: Point | None
    last: Point
    curve: Curve

    def best(self, mode: Mode) -> Point | None:
        """The best finite point. NaN and infinities never win."""
        return self.highest if mode == "max" else self.lowest


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known of a run beside its points.

    Attributes:
        id, name, state, created: as the store has them.
        path: the run's folder, within the store's file system.
        verdict: that of gate.json; None where nobody has judged the run.
        hparams: flat, nested names joined by dots.
        gated: metrics that its thresholds ask for, in order; without those that only warn, and those of the exported files.
        modes: which way is better, by metric, from its thresholds; None where they contradict each other.
        thresholds: the text of the first threshold on each metric.
        monitor, monitor_mode: of the checkpoint that would ship.
        seed: recorded beside the hyperparameters; None where it isn't.
    """

    id: str
    name: str
    state: str
    created: datetime
    path: str = ""
    verdict: str | None = None
    hparams: Mapping[str, Any] = field(default_factory=dict)
    gated: tuple[str, ...] = ()
    modes: Mapping[str, Mode | None] = field(default_factory=dict)
    thresholds: Mapping[str, str] = field(default_factory=dict)
    monitor: str | None = None
    monitor_mode: Mode | None = None
    seed: Any = None


@dataclass(frozen=True, kw_only=True)
class RunPoints:
    """What was read of a run's metric files.

    Attributes:
        series: the metric, by stage; empty where the run never recorded it.
        epochs: epochs that have begun; None where the run has no points.
        steps: optimizer steps, the greatest `global_step`.
        seconds: time at work, from each start to the last point after it.
        problem: why its files can't be read; None when they can.
    """

    series: Mapping[str, Series] = field(default_factory=dict)
    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None
    problem: str | None = None
