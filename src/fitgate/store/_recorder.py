"""The recorder: what the training loop talks to, and a thread that brings records to the writers."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fitgate.store._fetch import Fetch, fetched
from fitgate.store._guard import GuardedWriter, Watch
from fitgate.store._intake import MAX_WAITING_POINTS, Intake
from fitgate.store._run_file import RUN_FILE, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._warn import Outage
from fitgate.store._writer import MetricWriter

__all__ = ["Recorder"]

HEARTBEAT_S = 30.0
# A flush is allowed to be late by so much, so that a very short `flush_every_s` doesn't keep a core busy with writing
# the newest file again and again; points are promised within `flush_every_s` and one second.
_MAX_DELAY_S = 0.5
_REST_PER_WORK = 9.0


class Recorder:
    """Takes records from the training loop, and gives them to the writers in the background.

    `record` only appends. The thread wakes every `flush_every_s`, and rewrites run.json every 30 s so that a
    silent run can be told from a living one. Whatever a writer raises, training goes on: one warning, points
    wait in memory (a million at most) and are written when the writer can again, and what no
    reader finds is counted in run.json as `lost_points`. A forked child of the process writes nothing.

    Args:
        run_dir: the run's folder; made here.
        info: what run.json says; this object owns that file from now on.
        writers: where records go. The first is the truth: what can't be written there is lost. The others mirror it.
        flush_every_s: seconds between two flushes.
        fetch: turns the records' values into floats, off the training thread (device tensors).
        owns_run_file: write run.json; False on ranks other than 0.
        heartbeat_s: seconds between two rewritings of run.json.
        max_waiting_points: how many points wait in memory for a writer that can't write.

    Raises:
        OSError: the folder or run.json can't be made.
    """

    def __init__(
        self,
        run_dir: Path,
        info: RunInfo,
        writers: Sequence[MetricWriter],
        *,
        flush_every_s: float = 1.0,
        fetch: Fetch | None = None,
        owns_run_file: bool = True,
        heartbeat_s: float = HEARTBEAT_S,
        max_waiting_points: int = MAX_WAITING_POINTS,
    ) -> None:
        self.run_dir = run_dir
        self._info = info
        self._lost_before = info.lost_points
        self._flush_every_s = flush_every_s
        self._owns_run_file = owns_run_file
        self._heartbeat_s = heartbeat_s
        self._fetch = fetch
        self._wake = threading.Event()
        self._intake = Intake(self._wake, max_points=max_waiting_points)
        self._truth, *self._mirrors = [GuardedWriter(writer, max_waiting=max_waiting_points) for writer in writers]
        self._run_file = Watch(RUN_FILE)
        self._outage = Outage(run_dir)
        self._unreadable = self._lost_elsewhere = 0
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._pid = os.getpid()
        run_dir.mkdir(parents=True, exist_ok=True)
        if owns_run_file:
            write_run_info(run_dir, info)
        self._saved_at = time.monotonic()
        # From the start, not from the first record: a run whose first step takes minutes is alive too.
        self._start()

    @property
    def info(self) -> RunInfo:
        """What run.json says now."""
        return self._info

    @property
    def lost(self) -> int:
        """Points of this attempt that no reader finds, as of the last flush."""
        return self._lost() - self._lost_before

    def count_lost_elsewhere(self, points: int) -> None:
        """Points that other ranks lost, all in all; they stand in the one run.json."""
        self._lost_elsewhere = points
        self._save_if_due()

    def record(self, record: Record) -> None:
        """Take one record. The only call in the training loop."""
        self._intake.put(record)
        if self._thread is None:
            self._start()

    def update(self, **changes: Any) -> None:  # noqa: ANN401 - RunInfo's own fields
        """Change fields of run.json and write it at once."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._info = replace(self._info, **changes)
            self._save()
            self._tell(last=False)

    def flush(self) -> None:
        """Bring everything recorded so far to the disk, on the caller's thread."""
        self._cycle(GuardedWriter.flush, last=False)

    def close(self) -> None:
        """Flush, stop the thread and give files back. May be called twice; a later record opens anew."""
        if os.getpid() != self._pid:
            return
        thread = self._thread
        if thread is not None:
            self._stopping = True
            self._wake.set()
            thread.join()
            self._thread = None
        self._cycle(GuardedWriter.close, last=True)
        atexit.unregister(self.close)

    def __getstate__(self) -> dict[str, Any]:
        message = "a Recorder owns a thread and open files and can't be pickled; pickle the callback instead"
        raise TypeError(message)

    def _start(self) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._thread is not None:
                return
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="fitgate-flush", daemon=True)
            self._thread.start()
            # A daemon thread dies with the interpreter; what it had not taken must not.
            atexit.register(self.close)

    def _run(self) -> None:
        delay = self._flush_every_s
        while True:
            self._wake.wait(delay)
            self._wake.clear()
            if self._stopping:
                return
            started = time.thread_time()
            self.flush()
            took = time.thread_time() - started
            delay = max(self._flush_every_s, min(took * _REST_PER_WORK, self._flush_every_s + _MAX_DELAY_S))

    def _cycle(self, drive: Callable[[GuardedWriter, Any], None], *, last: bool) -> None:
        """Bring what was recorded to all writers, and tell in run.json and in a warning what must be told."""
        if os.getpid() != self._pid:
            return  # a forked child holds a copy of the records, and of a lock that nobody will release; the parent writes
        with self._lock:
            batch, failed = fetched(self._intake.take(), self._fetch)
            self._unreadable += sum(len(record.names) for record, _ in failed)
            drive(self._truth, batch)
            for mirror in self._mirrors:
                drive(mirror, batch)
            self._intake.done()
            self._save_if_due()
            self._outage.unreadable(failed)
            self._tell(last=last)

    def _save_if_due(self) -> None:
        with self._lock:
            if self._must_save():
                self._save()

    def _must_save(self) -> bool:
        if not self._owns_run_file:
            return False
        due = time.monotonic() - self._saved_at >= self._heartbeat_s
        off = self._run_file.failure is not None or self._lost() != self._info.lost_points
        return due or off or not os.path.exists(self.run_dir / RUN_FILE)

    def _lost(self) -> int:
        return self._lost_before + self._lost_elsewhere + self._intake.dropped + self._unreadable + self._truth.lost

    def _save(self) -> None:
        self._info = replace(self._info, updated=datetime.now(UTC), lost_points=self._lost())
        self._saved_at = time.monotonic()
        if self._owns_run_file:
            self._run_file.attempt(lambda: write_run_info(self.run_dir, self._info))

    def _tell(self, *, last: bool) -> None:
        said = self._owns_run_file and self._run_file.failure is None
        lost = self._lost() - self._lost_before
        self._outage.tell(self._truth, [*self._mirrors, self._run_file], lost=lost, said=said, last=last)
