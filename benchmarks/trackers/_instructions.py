"""The same question without a clock: how many instructions a step takes on the training thread.

Callgrind counts them, for a hundred steps in the middle of a fit, in each tracker and in the bare fit. No
load on the machine changes the count, so one run is enough. What other threads do is left out: callgrind
slows the program some fifty times, and whatever runs once a second would run fifty times too often. The
garbage collector counts for what the tracker itself leaves behind.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

__all__ = ["available", "instructions_a_step"]

_FROM, _STEPS = 100, 100  # CSVLogger saves once in a hundred steps: once within these
_MAIN_THREAD = "-01"


def available() -> bool:
    """Whether callgrind is installed."""
    return all(shutil.which(program) for program in ("valgrind", "callgrind_control"))


def instructions_a_step(tracker: str, *, metrics: int) -> float:
    """Count them in a process of their own.

    Args:
        tracker: its name in the table.
        metrics: values logged a step.

    Returns:
        Instructions of one step of the fit, the tracker's included.

    Raises:
        RuntimeError: the fit failed under callgrind.
    """
    with tempfile.TemporaryDirectory(prefix="callgrind-") as folder:
        out = Path(folder) / "out"
        callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", f"--callgrind-out-file={out}"]
        fit = [sys.executable, "-m", "benchmarks.trackers._instructions", tracker, str(metrics)]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "ATEN_CPU_CAPABILITY": "default"}
        done = subprocess.run([*callgrind, *fit], env=environment, capture_output=True, text=True, check=False)
        counted = list(Path(folder).glob(f"out.*{_MAIN_THREAD}"))
        totals = [_total(path) for path in counted if "desc: Trigger: dump steps" in path.read_text()]
        if len(totals) != 1:
            message = f"no instructions counted for {tracker}: exit code {done.returncode}: {done.stderr[-500:]}"
            raise RuntimeError(message)
        return totals[0] / _STEPS


def _total(path: Path) -> int:
    found = re.search(r"^totals: (\d+)$", path.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _control(*arguments: str) -> None:
    subprocess.run(["callgrind_control", *arguments, str(os.getpid())], check=True, stdout=subprocess.DEVNULL)  # noqa: S607 - beside valgrind


def _counted_fit(name: str, metrics: int) -> None:
    import torch

    if find_spec("pandas") is not None:
        # pyarrow imports it with its first array, in whatever thread that is; a collection would then walk all
        # of it among the counted steps.
        import_module("pandas")

    from benchmarks.trackers import _fit
    from benchmarks.trackers._all import trackers_named

    class Counted(_fit.Batches):
        """Counts from one batch to a later one."""

        def __iter__(self) -> Iterator[torch.Tensor]:
            for index, batch in enumerate(super().__iter__()):
                if index == _FROM:
                    # A full collection walks all that was ever imported, and would fall into some counts and not into others.
                    gc.collect()
                    gc.freeze()
                    _control("--instr=on")
                    _control("--zero")
                if index == _FROM + _STEPS:
                    _control("--dump=steps")
                    _control("--instr=off")
                yield batch

    torch.set_num_threads(1)
    (tracker,) = trackers_named([name])
    with tempfile.TemporaryDirectory() as folder:
        _fit.run_fit(_FROM + _STEPS + 1, metrics, tracker.build(Path(folder)), batches=Counted)
        tracker.finish()


if __name__ == "__main__":
    _counted_fit(sys.argv[1], int(sys.argv[2]))
