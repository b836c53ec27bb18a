"""One metric of one run, out of its Parquet files: how it went, and how far the run got."""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt

from fitgate.compare._extent import Extent, epochs_in, extents_of, seconds_in, steps_in
from fitgate.compare._record import Point, RunPoints, Series
from fitgate.compare._thin import one_value_a_step, thin
from fitgate.store import Run
from fitgate.store._arrow import numpy_of
from fitgate.store._effective import Resumes, effective
from fitgate.store._remote import segment_paths
from fitgate.store._segment_file import UNREADABLE, Piece, Wanted, opened

__all__ = ["read_names", "read_points", "series_of"]

_AXES = ("step", "global_step", "value")
_RANK = 0
Ints = npt.NDArray[np.int64]


def read_points(run: Run, metric: str) -> RunPoints:
    """Read one metric in all its stages, and how far the run got. A damaged file makes a `problem`, not an error."""
    wanted = Wanted(names=frozenset({metric}), stage=None, rank=_RANK)
    pieces: dict[str, list[Piece]] = {}
    extents: list[Extent] = []
    path = run.path
    try:
        for path in segment_paths(run.fs, run.path):
            with opened(run.fs, path) as file:
                extents += extents_of(file)
                for piece in file.read(wanted, _AXES):
                    pieces.setdefault(piece.key["stage"], []).append(piece)
        resumes = Resumes(run.info.attempts)
        tables = {stage: effective(own, resumes, _AXES) for stage, own in pieces.items()}
    except UNREADABLE as error:
        return RunPoints(problem=f"{path} can't be read: {error}")
    series = {stage: series_of(*(numpy_of(table[column]) for column in _AXES)) for stage, table in tables.items()}
    return RunPoints(
        series={stage: s for stage, s in series.items() if s is not None},
        epochs=epochs_in(extents),
        steps=steps_in(extents, run.info.attempts),
        seconds=seconds_in(extents, run),
    )


def read_names(run: Run) -> set[tuple[str, str]]:
    """The (stage, name) of every metric that a run's readable files hold."""
    everything = Wanted(names=None, stage=None, rank=_RANK)
    found: set[tuple[str, str]] = set()
    with contextlib.suppress(*UNREADABLE):
        for path in segment_paths(run.fs, run.path):
            with opened(run.fs, path) as file:
                alike, mixed = file.groups(everything)
                found |= {(key["stage"], key["name"]) for _, key in alike}
                found.update(*(file.series_in(group) for group in mixed))
    return found


def series_of(steps: Ints, global_steps: Ints, values: npt.NDArray[np.float64]) -> Series | None:
    """Reduce one metric's points, ascending by step; None when there is none.

    Args:
        steps: the loggers'. Shape (n,).
        global_steps: optimizer steps taken by then. Shape (n,).
        values: shape (n,).

    Example:
        >>> import math
        >>> series = series_of(np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([0.5, 0.9, math.nan]))
        >>> series.highest, series.last.step
        (Point(step=1, global_step=2, value=0.9), 2)
    """

    def point(at: int) -> Point:
        return Point(step=int(steps[at]), global_step=int(global_steps[at]), value=float(values[at]))

    if not len(values):
        return None
    finite = np.isfinite(values)
    count = int(np.count_nonzero(finite))
    lowest = highest = None
    if count:
        low, high = (values, values) if count == len(values) else (np.where(finite, values, np.inf), np.where(finite, values, -np.inf))
        lowest, highest = point(int(low.argmin())), point(int(high.argmax()))
    return Series(
        count=len(values),
        non_finite=len(values) - count,
        lowest=lowest,
        highest=highest,
        last=point(-1),
        curve=thin(*one_value_a_step(global_steps, values)),
    )
