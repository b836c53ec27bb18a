"""Size, parameter count and latency of what ships: numbers that thresholds can bound."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitgate.export._subject import Subject
from fitgate.export._threads import computing_on
from fitgate.export.formats import Format, GraphFormat

__all__ = ["ARTIFACT_METRICS", "TIMED_METRICS", "Latency", "artifact_metrics", "measure_latency"]

ARTIFACT_METRICS = ("artifact.size_mb", "artifact.parameters", "artifact.latency_ms", "artifact.latency_p95_ms")
"""What thresholds can bound: megabytes (10^6 bytes) of the model files, parameters, milliseconds at batch 1 on one thread."""

TIMED_METRICS = ("artifact.latency_ms", "artifact.latency_p95_ms")
"""Those that take an example input."""

_WARM_UP = 5
_MOST_RUNS = 300
_FEWEST_RUNS = 20
_SECONDS = 1.0
_AT_MOST_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long one sample takes on the CPU.

    Attributes:
        format: whose file was run.
        median_ms, p95_ms: milliseconds.
        runs: how many were timed, after some that were not.
        batch, threads: what was run, and on how many threads.
    """

    format: str
    median_ms: float
    p95_ms: float
    runs: int
    batch: int = 1
    threads: int = 1


def measure_latency(subject: Subject, formats: Iterable[Format], folder: Path) -> tuple[Latency, ...]:
    """Time the graphs, the one that would serve first; without a graph, the eager model as loaded from its weights."""
    import numpy as np  # noqa: PLC0415 - only where something is timed

    if subject.example is None:
        return ()
    graphs = sorted((f for f in formats if isinstance(f, GraphFormat)), key=lambda f: f.rank)
    inputs = subject.example.at(1).tensors
    found = []
    for form in graphs or list(formats)[:1]:
        with computing_on(1):
            play = form.player(subject, folder)
            began = time.perf_counter()
            for _ in range(_WARM_UP):
                play(inputs)
                if time.perf_counter() - began >= _SECONDS:
                    break
            times: list[float] = []
            began = time.perf_counter()
            while len(times) < _MOST_RUNS:
                start = time.perf_counter()
                play(inputs)
                end = time.perf_counter()
                times.append((end - start) * 1000)
                if (len(times) >= _FEWEST_RUNS and end - began >= _SECONDS) or end - began >= _AT_MOST_SECONDS:
                    break
        median, p95 = (float(np.percentile(times, q)) for q in (50, 95))
        found.append(Latency(format=form.name, median_ms=median, p95_ms=p95, runs=len(times)))
    return tuple(found)


def artifact_metrics(subject: Subject, formats: Iterable[Format], folder: Path, latency: tuple[Latency, ...]) -> dict[str, float]:
    """The values of `ARTIFACT_METRICS`; those of time only where something was timed."""
    size = sum((folder / f.file).stat().st_size for f in formats)
    found = {"artifact.size_mb": size / 1e6, "artifact.parameters": float(_parameters(subject))}
    if latency:
        found |= {"artifact.latency_ms": latency[0].median_ms, "artifact.latency_p95_ms": latency[0].p95_ms}
    return found


def _parameters(subject: Subject) -> int:
    """Of the model, each shared one once; without a model, numbers in the state dict."""
    if subject.model is not None:
        return sum(math.prod(p.shape) for p in subject.model.parameters())
    distinct: Mapping[Any, Any] = {t.data_ptr(): t for t in subject.state.values() if hasattr(t, "data_ptr")}
    return sum(math.prod(t.shape) for t in distinct.values())
