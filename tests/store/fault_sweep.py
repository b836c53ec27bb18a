"""Cuts what the store does to the disk short at every system call, and looks at what plain readers find.

Run by test_faults.py: `python fault_sweep.py ROOT SCENARIO`. For every system call of the scenario a child process is killed
with SIGKILL after it (before it is after the one before) and, for a write, in the middle of it; and in one more child it fails with "no space left".
Exits with 1 and the reason on the first thing that is off; prints how many ways of dying it tried.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fitgate.store import Store, _open
from fitgate.store._recorder import Recorder
from fitgate.store._run_file import RUN_FILE
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

CALLS = ("open", "write", "fsync", "close", "replace", "unlink", "mkdir", "ftruncate")
DUCKDB = duckdb.connect(config={"threads": 1})  # one for all: most of a short query's time is to begin
SEALED_ROWS = 20
NEVER_S = 3600.0  # the background thread sleeps; the scenarios flush themselves, so that calls come in one order

Points = set[tuple[object, ...]]


class Saboteur:
    """Counts the system calls of this process, and does harm at one of them."""

    def __init__(self, at: int, way: str) -> None:
        self.calls: list[str] = []
        self._at = at
        self._way = way

    def arm(self) -> None:
        """From now on."""
        for name in CALLS:
            setattr(os, name, partial(self._call, getattr(os, name)))

    def _call(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls.append(original.__name__)
        if len(self.calls) != self._at:
            return original(*args, **kwargs)
        if self._way == "error":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with suppress(OSError):  # such as making a folder that is there
            if self._way == "middle" and original.__name__ == "write":
                original(args[0], bytes(args[1])[: len(args[1]) // 2])
            if self._way == "after":
                original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def opened(run_dir: Path, resumed_step: int | None = None) -> Recorder:
    """A recorder whose files are sealed early."""
    _open.SegmentWriter = partial(SegmentWriter, sealed_rows=SEALED_ROWS)  # type: ignore[attr-defined,assignment]
    return _open.open_recorder(run_dir, resumed_step=resumed_step, flush_every_s=NEVER_S)


def log(recorder: Recorder, steps: range, factor: float = 1.0) -> None:
    """Two metrics a step."""
    for step in steps:
        recorder.record(Record("train", step, step, 0, 1_700_000_000_000_000 + step, ("acc", "loss"), (factor * step, -factor * step)))


def flush(recorder: Recorder) -> Recorder:
    """Five more steps into the newest file."""
    log(recorder, range(8, 9))
    recorder.flush()
    return recorder


def seal(recorder: Recorder) -> Recorder:
    """So many that the newest file is sealed, another is filled and sealed, and a third begun."""
    log(recorder, range(8, 25))
    recorder.flush()
    return recorder


def close(recorder: Recorder) -> Recorder:
    """The last points, and the newest file packed well."""
    log(recorder, range(8, 9))
    recorder.close()
    return recorder


def late(recorder: Recorder) -> Recorder:
    """Values for steps that a sealed file holds, for steps that none does, and new ones."""
    log(recorder, range(8, 25))
    recorder.flush()
    log(recorder, range(3, 6), factor=2.0)
    log(recorder, range(25, 28))
    recorder.flush()
    return recorder


def run_file(recorder: Recorder) -> Recorder:
    """run.json twice."""
    recorder.update(hparams={"lr": 0.1})
    recorder.update(state="completed")
    return recorder


def resume(recorder: Recorder) -> Recorder:
    """A further attempt, from step 4."""
    again = opened(recorder.run_dir, resumed_step=4)
    log(again, range(5, 12), factor=3.0)
    again.flush()
    log(again, range(12, 20), factor=3.0)
    again.flush()
    return again


SCENARIOS = {action.__name__: action for action in (flush, seal, close, late, run_file, resume)}


def points(run_dir: Path) -> Points:
    """What DuckDB finds, each point once."""
    if not list(run_dir.glob("metrics/*.parquet")):
        return set()
    query = f"select attempt, stage, name, step from read_parquet('{run_dir}/metrics/*.parquet')"  # noqa: S608
    rows = DUCKDB.execute(query).fetchall()
    assert len(rows) == len(set(rows)), f"a point twice: {sorted(rows)}"
    return set(rows)


def life(run_dir: Path, scenario: Callable[[Recorder], Recorder], at: int, way: str) -> tuple[int, list[str]]:
    """In a child: prepare, then the scenario with harm at one call. Returns its exit status and the calls that it made."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        recorder = opened(run_dir)
        log(recorder, range(8))
        recorder.flush()
        saboteur = Saboteur(at, way)
        saboteur.arm()
        try:
            live = scenario(recorder)
        except OSError:
            assert way == "error"  # a resume that can't begin says so
            assert scenario is resume
        else:
            live.flush()  # the disk is well again
            live.update()
        os.write(writer, " ".join(saboteur.calls).encode())
        os._exit(0)
    os.close(writer)
    calls = os.read(reader, 60_000).decode().split()
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return status, calls


def check(run_dir: Path, prepared: Points, complete: Points, way: str) -> None:
    """All readers agree that every point from before is there, once, and none that never was."""
    found = points(run_dir)
    assert prepared <= found, f"gone: {prepared - found}"
    assert found <= complete, f"from nowhere: {found - complete}"
    run = Store(run_dir.parent).run(run_dir.name)
    last = max(a.number for a in run.info.attempts)
    assert run.state in ("running", "completed")
    assert len(run.metrics()) <= len(found)
    if way == "error" and last == max(int(str(row[0])) for row in complete):  # else the resume could not begin
        assert found == complete, f"missing after the disk recovered: {complete - found}"
        assert run.info.lost_points == 0
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    steps = [event.step for event in events.Scalars("loss")]
    assert set(range(8 if not last else 4)) <= set(steps), f"TensorBoard has only {steps}"


def main(root: Path, name: str) -> None:
    """Every way of dying at every call."""
    scenario = SCENARIOS[name]
    prepared = {(0, "train", metric, step) for metric in ("acc", "loss") for step in range(8)}
    whole = root / "whole"
    status, calls = life(whole, scenario, 0, "never")
    assert status == 0
    assert calls
    complete: set[tuple[object, ...]] = set(points(whole))
    tried = 0
    for at, call in enumerate(calls, start=1):
        for way in (*(["before"] if at == 1 else []), *(["middle"] if call == "write" else []), "after", "error"):
            run_dir = root / f"{way}-{at:03d}"
            status, _ = life(run_dir, scenario, at, way)
            assert (os.WIFSIGNALED(status) and way != "error") or (status == 0 and way == "error"), f"{run_dir}: status {status}"
            try:
                check(run_dir, set(prepared), complete, way)
            except Exception as error:
                message = f"{name}, {way} call {at} ({call}) of {len(calls)}: {error}"
                raise AssertionError(message) from error
            tried += 1
    assert (whole / RUN_FILE).exists()
    print(len(calls), tried)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
