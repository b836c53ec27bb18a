"""How far a run got, from its files' statistics alone: no point is decoded for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fitgate.store import Run
from fitgate.store._run_file import Attempt
from fitgate.store._segment_file import SegmentFile

__all__ = ["Extent", "epochs_in", "extents_of", "seconds_in", "steps_in"]

_AXES = ("attempt", "epoch", "global_step", "wall_time")


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How far one row group goes, from its statistics alone."""

    attempt: int
    epoch: int
    global_step: int
    wall_time: float


def extents_of(file: SegmentFile) -> list[Extent]:
    """One for each row group, save where the file doesn't say."""
    found = [{column: greatest for column, (_, greatest) in file.ranges(group, _AXES).items()} for group in file.row_groups]
    return [
        Extent(attempt=last["attempt"], epoch=last["epoch"], global_step=last["global_step"], wall_time=last["wall_time"].timestamp())
        for last in found
        if len(last) == len(_AXES)
    ]


def epochs_in(extents: Sequence[Extent]) -> int | None:
    last = max((e.attempt for e in extents), default=None)
    return max((e.epoch for e in extents if e.attempt == last), default=-1) + 1 or None


def steps_in(extents: Sequence[Extent], attempts: Sequence[Attempt]) -> int | None:
    """The greatest `global_step` that counts: an attempt's points end where a later one went on."""

    def counted(extent: Extent) -> int:
        resumed = [a.resumed_step for a in attempts if a.resumed_step is not None and a.number > extent.attempt]
        return min([extent.global_step, *resumed])

    return max((counted(e) for e in extents), default=None)


def seconds_in(extents: Sequence[Extent], run: Run) -> float | None:
    if not extents:
        return None
    began = {a.number: a.started.timestamp() for a in run.info.attempts}
    total = 0.0
    for attempt in {e.attempt for e in extents}:
        end = max(e.wall_time for e in extents if e.attempt == attempt)
        total += max(end - began.get(attempt, run.created.timestamp()), 0.0)
    return total
