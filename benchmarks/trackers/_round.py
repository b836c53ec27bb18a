"""One round: every tracker once, in random order, in one fresh interpreter that forks for each fit.

A fresh interpreter, because its memory layout and hash seed alone move a step by some per cent: shared by
the trackers of a round, so that they cancel in the pairs, and new in the next round, so that the interval
holds them. A fork, because each tracker then starts from the same imports and can leave nothing behind.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import IO

import pytorch_lightning  # noqa: F401 - loaded before the fork, once for all
import torch

from benchmarks.trackers._all import trackers_named
from benchmarks.trackers._measure import Sample, measure
from benchmarks.trackers._tracker import Tracker

__all__ = ["main", "prepared"]

# Nothing is sent anywhere, and nobody's own settings play a part.
_OFFLINE = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
}
_FOLDERS = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TRACKIO_DIR", "WANDB_DIR", "HF_HOME")


def main(arguments: Sequence[str]) -> None:
    """Print one sample a line, as JSON; what the trackers print goes to stderr.

    Args:
        arguments: one JSON text with `trackers` (names), `metrics` (list), `steps` and `seed`.
    """
    spec = json.loads(arguments[0])
    with prepared() as results:
        jobs = [(tracker, metrics) for metrics in spec["metrics"] for tracker in _shuffled(trackers_named(spec["trackers"]), spec["seed"])]
        for tracker, metrics in jobs:
            sample = _in_a_fork(tracker, metrics=metrics, steps=spec["steps"])
            print(json.dumps(asdict(sample)), file=results, flush=True)


@contextmanager
def prepared() -> Iterator[IO[str]]:
    """A process that measures: quiet, on one thread, away from the user's own folders. Gives where to print what was measured."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)  # the step is too small to share, and a fork must find no threads
    with results, tempfile.TemporaryDirectory(prefix="bench-round-", ignore_cleanup_errors=True) as home:
        os.environ.update(_OFFLINE, **dict.fromkeys(_FOLDERS, home))
        tempfile.tempdir = home
        yield results


def _shuffled(trackers: Sequence[Tracker], seed: int) -> list[Tracker]:
    """In random order, those that are compared most closely next to one another: the machine drifts with time."""
    order = random.Random(seed)  # noqa: S311 - an order, no secret
    close = [tracker for tracker in trackers if tracker.builtin]
    far = [tracker for tracker in trackers if not tracker.builtin]
    return [*order.sample(close, len(close)), *order.sample(far, len(far))]


def _in_a_fork(tracker: Tracker, *, metrics: int, steps: int) -> Sample:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, tracker, metrics, steps))
    child.start()
    sender.close()
    try:
        sample: Sample = receiver.recv()
    except EOFError:
        child.join()
        sample = Sample(tracker=tracker.name, metrics=metrics, error=f"its process ended with exit code {child.exitcode}")
    child.join()
    return sample


def _child(sender: Connection, tracker: Tracker, metrics: int, steps: int) -> None:
    os.chdir(tempfile.mkdtemp(prefix="working-directory-"))
    try:
        sample = measure(tracker, metrics=metrics, steps=steps)
    except Exception as error:  # noqa: BLE001 - a tracker that can't run is a row that says so
        sample = Sample(tracker=tracker.name, metrics=metrics, error=f"{type(error).__name__}: {error}")
    sender.send(sample)


if __name__ == "__main__":
    main(sys.argv[1:])
