"""One tracker's fits, in a process of its own, with both clocks.

Three fits: one to warm up (imports made inside functions, caches, the interpreter's own
specialisation), a short one and a long one. The cost of a step is the slope between the last two: so
what a tracker does once a fit (opening a database, starting a service) is not spread over however
many steps were run, while what it leaves for the end of the fit counts in full.
"""

from __future__ import annotations

import gc
import resource
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.trackers._fit import run_fit
from benchmarks.trackers._tracker import Tracker

__all__ = ["Sample", "measure"]

_WARM_UP_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One tracker, once.

    Attributes:
        tracker: its name.
        metrics: values logged a step.
        cpu_us, wall_us: of one step of the fit, in microseconds; CPU time is that of all threads
            and of all child processes.
        cpu_once_ms, wall_once_ms: what is left of the short fit when its steps are taken off.
        error: why there are no figures, or None.
    """

    tracker: str
    metrics: int
    cpu_us: float = float("nan")
    wall_us: float = float("nan")
    cpu_once_ms: float = float("nan")
    wall_once_ms: float = float("nan")
    error: str | None = None


def measure(tracker: Tracker, *, metrics: int, steps: int) -> Sample:
    """Run the three fits.

    Args:
        tracker: what records them.
        metrics: values logged a step.
        steps: by how many steps the long fit is longer than the short one.

    Returns:
        The sample.

    Raises:
        ValueError: the tracker did not keep every point of the long fit.
    """
    steps = max(1, round(steps * tracker.share))
    short = max(1, steps // 10)
    _timed_fit(tracker, metrics=metrics, steps=min(_WARM_UP_STEPS, steps))
    cpu_short, wall_short = _timed_fit(tracker, metrics=metrics, steps=short)
    cpu_long, wall_long = _timed_fit(tracker, metrics=metrics, steps=short + steps)
    cpu, wall = (cpu_long - cpu_short) / steps, (wall_long - wall_short) / steps
    return Sample(
        tracker=tracker.name,
        metrics=metrics,
        cpu_us=cpu * 1e6,
        wall_us=wall * 1e6,
        cpu_once_ms=(cpu_short - short * cpu) * 1e3,
        wall_once_ms=(wall_short - short * wall) * 1e3,
    )


def _timed_fit(tracker: Tracker, *, metrics: int, steps: int) -> tuple[float, float]:
    """CPU and wall seconds from building the tracker until everything is on disk."""
    with tempfile.TemporaryDirectory(prefix="tracker-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        gc.collect()
        wall, cpu = time.perf_counter(), _cpu_seconds()
        run_fit(steps, metrics, tracker.build(folder))
        tracker.finish()
        taken = _cpu_seconds() - cpu, time.perf_counter() - wall
        if shortfall := tracker.shortfall(folder, steps * metrics):
            raise ValueError(shortfall)
    return taken


def _cpu_seconds() -> float:
    """Of all threads of this process, and of all processes that it started: W&B writes from one of its own."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + _living_children_seconds()


def _living_children_seconds() -> float:
    """In steps of 10 ms, as the system counts. Without psutil (the extra `bench-peers`) there is nobody to count."""
    if find_spec("psutil") is None:
        return 0.0
    import psutil

    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return float(sum(t.user + t.system + t.children_user + t.children_system for t in times))
