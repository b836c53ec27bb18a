"""One round in which the fits take turns, ten steps each: the sharpest comparison there is of trackers that need no process of their own.

A shared machine drifts by several per cent from second to second, and one process is slower than another by as much for as long
as it lives: more than what is to be measured. Here all fits run in one process, each in a thread of its own, and hand the
turn on after every ten steps, in a new order each time. So a step of one fit stands beside the same step of the others in the
same tenths of a second, and what slows one slows all.

CPU time alone: of the thread that trains, and of the threads that a tracker keeps in the background.
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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from benchmarks.trackers._all import trackers_named
from benchmarks.trackers._builtin import BARE, JUDGED, REFERENCE
from benchmarks.trackers._fit import Batches, run_fit
from benchmarks.trackers._measure import Sample
from benchmarks.trackers._round import prepared
from benchmarks.trackers._tracker import Tracker
from fitgate.store import _recorder
from fitgate.store._recorder import pause_s

__all__ = ["IN_TURNS", "above", "main"]

IN_TURNS = (BARE, REFERENCE, JUDGED)
"""Those that are compared. No more than one may have threads in the background, or nobody could tell whose they are."""

_WARM_UP_STEPS = 100
# Steps of a turn: the first of them finds the processor's caches full of another fit, which no step of a fit of one's own does.
_TURN = 10
# After so many steps a logger has done all that it does: CSVLogger writes its file once in a hundred. The first so many are left out.
_CYCLE = 100
# Of the differences at one place of the cycle, this part is left out on either side: steps that the machine held up, of which a shared one has many.
_TRIMMED = 0.25


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
    """Run the fits side by side.

    Args:
        metrics: values logged a step.
        steps: of each fit, rounded up to hundreds.
        seed: of the order in which they take their turns.

    Returns:
        Their samples, with no wall time: all of them waited most of it.
    """
    trackers = trackers_named(IN_TURNS)
    for tracker in trackers:
        with tempfile.TemporaryDirectory() as folder:
            run_fit(_WARM_UP_STEPS, metrics, tracker.build(Path(folder)))
            tracker.finish()
    gc.collect()
    gc.freeze()
    order = random.Random(seed)  # noqa: S311 - an order, no secret
    steps = math.ceil(steps / _CYCLE) * _CYCLE
    short = _CYCLE
    with ExitStack() as folders:
        # A second of each fit lasts as many seconds by the clock as there are fits, and so does the pause between two flushes.
        folders.enter_context(patch.object(_recorder, "pause_s", lambda every_s, took_s: len(trackers) * pause_s(every_s, took_s)))
        _, background_short = _run([_Fit(t, folders, metrics=metrics, steps=short) for t in trackers], order)
        fits, background = _run([_Fit(t, folders, metrics=metrics, steps=short + steps) for t in trackers], order)
        # A slope, as between other fits: what is done once a fit, to open and to close files, cancels.
        background_us = (background - background_short) / steps * 1e6
        bare_us = next(fit for fit in fits if fit.tracker.name == BARE).steps_us
        return [fit.sample(bare_us, background_us if fit.tracker.name == JUDGED else 0.0) for fit in fits]


def above(steps_us: npt.NDArray[np.float64], bare_us: npt.NDArray[np.float64]) -> float:
    """What a step takes more than a bare one, as a mean over all that is done once in a cycle.

    Args:
        steps_us: of the fit, shape (cycles, steps of a cycle).
        bare_us: those of the bare fit that ran beside them.

    Example:
        >>> above(np.array([[12.0, 30.0], [22.0, 40.0], [12.0, 30.0]]), np.array([[10.0, 10.0], [20.0, 20.0], [10.0, 10.0]]))
        11.0
    """
    return float(stats.trim_mean(steps_us - bare_us, _TRIMMED, axis=0).mean())


def _run(fits: list[_Fit], order: random.Random) -> tuple[list[_Fit], float]:
    """Let fits take turns until all are over; also gives the CPU seconds of the threads in the background."""
    before = _in_background()
    while under_way := [fit for fit in fits if not fit.is_over]:
        for fit in order.sample(under_way, len(under_way)):
            fit.take_turn()
    return fits, _in_background() - before - sum(fit.cpu_s for fit in fits)


def _in_background() -> float:
    """CPU seconds of all threads but this one."""
    return time.process_time() - time.thread_time()


class _Fit(threading.Thread):
    """One fit, which stops after ten steps until it is its turn again."""

    def __init__(self, tracker: Tracker, folders: ExitStack, *, metrics: int, steps: int) -> None:
        super().__init__(name=tracker.name)
        self.tracker = tracker
        self.cpu_s = 0.0
        self.is_over = False
        self._metrics, self._steps = metrics, steps
        self._folder = Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="tracker-", ignore_cleanup_errors=True)))
        self._marks_ns: list[int] = []
        self._error: str | None = None
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
            run_fit(self._steps, self._metrics, self.tracker.build(self._folder), batches=self._batches())
            self.tracker.finish()
        except Exception as error:  # noqa: BLE001 - a row that says so
            self._error = f"{type(error).__name__}: {error}"
        self.cpu_s = time.thread_time()
        self.is_over = True
        self._done.release()

    @property
    def steps_us(self) -> npt.NDArray[np.float64]:
        """CPU microseconds of each step, shape (cycles, 100)."""
        return np.diff(self._marks_ns)[_CYCLE - 1 :].reshape(-1, _CYCLE) / 1e3

    def sample(self, bare_us: npt.NDArray[np.float64], background_us: float) -> Sample:
        """Its cost a step, once it is over.

        Args:
            bare_us: the bare fit's steps, each beside one of this fit's, shape (cycles, 100).
            background_us: what its threads in the background took for a step.
        """
        error = self._error or self.tracker.shortfall(self._folder, self._steps * self._metrics)
        if error is not None:
            return Sample(tracker=self.tracker.name, metrics=self._metrics, error=error)
        cpu_us = float(np.median(bare_us)) + above(self.steps_us, bare_us) + background_us
        return Sample(tracker=self.tracker.name, metrics=self._metrics, cpu_us=cpu_us)

    def _batches(self) -> type[Batches]:
        marks, turn, done = self._marks_ns, self._turn, self._done

        class InTurns(Batches):
            """Batches that hand the turn on, and mark how much time the thread has had."""

            def __iter__(self) -> Iterator[torch.Tensor]:
                for step, batch in enumerate(super().__iter__()):
                    marks.append(time.thread_time_ns())
                    if step % _TURN == 0:
                        done.release()
                        turn.acquire()
                    yield batch
                marks.append(time.thread_time_ns())

        return InTurns


if __name__ == "__main__":
    main(sys.argv[1:])
