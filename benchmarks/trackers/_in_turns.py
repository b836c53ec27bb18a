"""One round in which fits take turns, two steps each: the sharpest comparison there is of trackers that need no process of their own.

A shared machine drifts by several per cent from second to second, and a fit is slower than another by as much for as long as it lasts, as
its objects lie elsewhere in memory: more than what is to be measured. So

- all fits run in one process, each in a thread of its own, and hand the turn on after every two steps, in a new order each time: a step of
  one fit stands beside the same step of the others within hundredths of a second. Of the two the second is on the clock: the first finds
  the processor's caches full of another fit, which no step of a fit of one's own does;
- the fits are short and many, each with a Trainer and a module of its own: where things lie differs from one to the next;
- of what the module logs, all but the first two values is left out of the clock: Lightning's own work, the same in every fit. At twenty
  metrics a step that is four fifths of it, and of its noise.

What threads in the background cost is counted in a fit that has the process for itself: their own time, and what the training thread loses as it
hands the interpreter's lock to them and back, which are steps that overlap with a flush beside those before and after.

CPU time alone.
"""

from __future__ import annotations

import gc
import json
import math
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from benchmarks.trackers._all import trackers_named
from benchmarks.trackers._builtin import BARE, JUDGED, REFERENCE
from benchmarks.trackers._fit import Batches, TinyModule, run_fit
from benchmarks.trackers._measure import Sample
from benchmarks.trackers._round import prepared
from benchmarks.trackers._tracker import Tracker
from fitgate.store._recorder import Recorder

__all__ = ["IN_TURNS", "above", "held_up", "main"]

IN_TURNS = (BARE, REFERENCE, JUDGED)
"""Those that are compared."""

_WARM_UP_STEPS = 100
# Steps of a turn. From the second on, differences are the same however long it is; after the first they are smaller by a fifth.
_TURN = 2
# After so many steps a logger has done all that it does: CSVLogger writes its file once in a hundred. Before them a fit settles.
_CYCLE, _SETTLING = 100, 20
_STEPS = _SETTLING + _CYCLE + 1  # a step's end is the beginning of the next
# Of the differences at one place of the cycle, this part is left out on either side: steps that the machine held up, of which a shared one has many.
_TRIMMED = 0.25
# Of the values that are logged so many are on the clock: by then what the step before has left in the caches plays no part.
_CLOCKED = 2
# Steps before and after a flush that those that overlap with it are compared with.
_AROUND = 8

_Microseconds = npt.NDArray[np.float64]


def main(arguments: Sequence[str]) -> None:
    """Print one sample a line, as JSON.

    Args:
        arguments: one JSON text with `metrics` (list), `steps` and `seed`.
    """
    spec = json.loads(arguments[0])
    with prepared() as results:
        for metrics in spec["metrics"]:
            for sample in measure_in_turns(metrics=metrics, steps=spec["steps"], seed=spec["seed"]):
                print(json.dumps(asdict(sample)), file=results, flush=True)


def measure_in_turns(*, metrics: int, steps: int, seed: int) -> list[Sample]:
    """Run fits side by side.

    Args:
        metrics: values logged a step.
        steps: of each tracker that are on the clock, rounded up to hundreds: two fits for each hundred.
        seed: of the order in which they take their turns.

    Returns:
        A sample of each tracker, with no wall time: all of them waited most of it.
    """
    trackers = trackers_named(IN_TURNS)
    for tracker in trackers:
        _alone(tracker, metrics=metrics, steps=_WARM_UP_STEPS)
    cycles = math.ceil(steps / _CYCLE)
    judged = next(tracker for tracker in trackers if tracker.name == JUDGED)  # the others have no threads of their own
    # A slope, as between other fits: what is done once a fit, to open and to close files, cancels.
    short, long = (_alone(judged, metrics=metrics, steps=_CYCLE * times) for times in (1, 1 + cycles))
    background_us = (long.background_us - short.background_us) / (cycles * _CYCLE) + long.held_up_us
    gc.collect()
    gc.freeze()
    order = random.Random(seed)  # noqa: S311 - an order, no secret
    # A fit gives every second step of a cycle, the next one the others.
    fits = list(zip(*(_side_by_side(trackers, order, metrics=metrics, begins=i % 2) for i in range(2 * cycles)), strict=True))
    return _samples(fits, {JUDGED: background_us})


def above(steps_us: _Microseconds, bare_us: _Microseconds) -> float:
    """What a step takes more than a bare one, as a mean over all that is done once in a cycle.

    Args:
        steps_us: of the tracker's fits, shape (cycles, steps of a cycle).
        bare_us: those of the bare fits that ran beside them.

    Example:
        >>> above(np.array([[12.0, 30.0], [22.0, 40.0], [12.0, 30.0]]), np.array([[10.0, 10.0], [20.0, 20.0], [10.0, 10.0]]))
        11.0
    """
    return float(stats.trim_mean(steps_us - bare_us, _TRIMMED, axis=0).mean())


def held_up(steps_us: _Microseconds, ends_ns: npt.NDArray[np.int64], flushes_ns: Sequence[tuple[int, int]]) -> float:
    """What a step takes more, as a mean, for those that overlap with a flush: beside the steps around them.

    Args:
        steps_us: CPU time of each step on the training thread.
        ends_ns: when each has ended; also when the next began.
        flushes_ns: beginning and end of each flush, by the same clock.

    Example:
        >>> held_up(np.array([9.0, 9, 9, 25, 9, 9, 9, 9]), np.arange(1, 9), [(0, 1), (3, 4), (7, 8)])
        2.0
    """
    extra = []
    for began, ended in flushes_ns:
        first, last = np.searchsorted(ends_ns, began, side="right"), np.searchsorted(ends_ns, ended)
        around = np.concatenate([steps_us[max(0, first - _AROUND) : first], steps_us[last + 1 : last + 1 + _AROUND]])
        if first > 0 and last + 1 < len(steps_us):
            own = steps_us[first : last + 1]
            extra.append(own.sum() - len(own) * np.median(around))
    return float(stats.trim_mean(extra, _TRIMMED)) * len(extra) / len(steps_us) if extra else 0.0


@dataclass(frozen=True)
class _Alone:
    """A fit that had the process for itself: CPU time of all other threads, and what they cost each step of the training thread."""

    background_us: float
    held_up_us: float


def _alone(tracker: Tracker, *, metrics: int, steps: int) -> _Alone:
    marks: list[tuple[int, int]] = []
    flushes: list[tuple[int, int]] = []

    class Marked(Batches):
        """Batches that mark how much time the thread has had, and when."""

        def __iter__(self) -> Iterator[torch.Tensor]:
            for batch in super().__iter__():
                marks.append((time.monotonic_ns(), time.thread_time_ns()))
                yield batch

    flush = Recorder._cycle  # noqa: SLF001 - it has no name of its own in public

    def marked(recorder: Recorder, *args: Any, **options: Any) -> None:  # noqa: ANN401 - its own
        began = time.monotonic_ns()
        flush(recorder, *args, **options)
        flushes.append((began, time.monotonic_ns()))

    with tempfile.TemporaryDirectory() as folder, patch.object(Recorder, "_cycle", marked):
        before = time.process_time() - time.thread_time()
        run_fit(steps, metrics, tracker.build(Path(folder)), batches=Marked)
        tracker.finish()
        background_s = time.process_time() - time.thread_time() - before
    when, spent = np.array(marks).T
    return _Alone(background_s * 1e6, held_up(np.diff(spent) / 1e3, when[1:], flushes))


def _side_by_side(trackers: Sequence[Tracker], order: random.Random, *, metrics: int, begins: int) -> list[_Fit]:
    """One fit of each, in turns until all are over."""
    with ExitStack() as folders:
        # Begun in a new order each time: the one that begins first finds the places in memory that the first of the fits before has left.
        begun = {tracker.name: _Fit(tracker, folders, metrics=metrics, begins=begins) for tracker in order.sample(trackers, len(trackers))}
        fits = [begun[tracker.name] for tracker in trackers]
        while under_way := [fit for fit in fits if not fit.is_over]:
            for fit in order.sample(under_way, len(under_way)):
                fit.take_turn()
        for fit in fits:
            fit.join()
            fit.count_points()
        return fits


def _samples(fits: Sequence[Sequence[_Fit]], background_us: Mapping[str, float]) -> list[Sample]:
    """Of each tracker's fits one sample."""
    bare = next(own for own in fits if own[0].tracker.name == BARE)
    samples = []
    for own in fits:
        name, metrics = own[0].tracker.name, own[0].metrics
        errors = [fit.error for fit in (*own, *bare) if fit.error is not None]
        if errors:
            samples.append(Sample(tracker=name, metrics=metrics, error=errors[0]))
            continue
        clocked_us, bare_us = (_cycles([fit.clocked_us for fit in each]) for each in (own, bare))
        whole_us = float(np.nanmedian([fit.steps_us for fit in bare]))
        samples.append(Sample(tracker=name, metrics=metrics, cpu_us=whole_us + above(clocked_us, bare_us) + background_us.get(name, 0.0)))
    return samples


def _cycles(fits_us: Sequence[_Microseconds]) -> _Microseconds:
    """Cycles without gaps: each fit has every second step, and the next one the others."""
    return np.array([np.where(np.isnan(even), odd, even) for even, odd in zip(fits_us[::2], fits_us[1::2], strict=True)])


class _Fit(threading.Thread):
    """One fit, which stops after two steps until it is its turn again.

    Args:
        tracker: what records it.
        folders: gives its folder back.
        metrics: values logged a step.
        begins: which steps begin a turn: the even ones (0), or the odd ones (1).

    Attributes:
        metrics: values logged a step.
        is_over: nothing is left to do.
        error: why it has no figures, or None.
    """

    def __init__(self, tracker: Tracker, folders: ExitStack, *, metrics: int, begins: int) -> None:
        super().__init__(name=tracker.name)
        self.tracker = tracker
        self.metrics = metrics
        self.is_over = False
        self.error: str | None = None
        self._folder = Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="tracker-", ignore_cleanup_errors=True)))
        self._begins = begins
        self._marks_ns: list[int] = []
        self._unclocked_ns: list[int] = []
        self._turn, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self.start()

    def take_turn(self) -> None:
        """Let it go on by its next steps, and wait for it."""
        self._turn.release()
        self._done.acquire()

    def run(self) -> None:
        """The fit, from building the tracker until everything is on disk."""
        self._turn.acquire()
        try:
            run_fit(_STEPS, self.metrics, self.tracker.build(self._folder), batches=self._batches(), module=self._module())
            self.tracker.finish()
        except Exception as error:  # noqa: BLE001 - a row that says so
            self.error = f"{type(error).__name__}: {error}"
        self.is_over = True
        self._done.release()

    def count_points(self) -> None:
        """Read them back; one that lost some has no figures."""
        self.error = self.error or self.tracker.shortfall(self._folder, _STEPS * self.metrics)

    @property
    def steps_us(self) -> _Microseconds:
        """CPU microseconds of a cycle's steps, shape (100,); NaN for those that began a turn."""
        steps = np.diff(self._marks_ns)[_SETTLING:] / 1e3
        steps[self._begins :: _TURN] = np.nan
        return steps

    @property
    def clocked_us(self) -> _Microseconds:
        """The same without what is not on the clock."""
        return self.steps_us - np.array(self._unclocked_ns[_SETTLING:-1]) / 1e3

    def _module(self) -> type[TinyModule]:
        unclocked = self._unclocked_ns

        class TwoOnTheClock(TinyModule):
            """The same values, of which the first two are on the clock."""

            def log_values(self, value: torch.Tensor) -> None:
                self.log_dict(dict.fromkeys(self.names[:_CLOCKED], value))
                began = time.thread_time_ns()
                self.log_dict(dict.fromkeys(self.names[_CLOCKED:], value))
                unclocked.append(time.thread_time_ns() - began)

        return TwoOnTheClock

    def _batches(self) -> type[Batches]:
        marks, turn, done, begins = self._marks_ns, self._turn, self._done, self._begins

        class InTurns(Batches):
            """Batches that hand the turn on, and mark how much time the thread has had."""

            def __iter__(self) -> Iterator[torch.Tensor]:
                for step, batch in enumerate(super().__iter__()):
                    marks.append(time.thread_time_ns())
                    if step % _TURN == begins:
                        done.release()
                        turn.acquire()
                    yield batch

        return InTurns


if __name__ == "__main__":
    main(sys.argv[1:])
