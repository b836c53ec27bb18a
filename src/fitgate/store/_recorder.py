"""The recorder: what the training loop talks to, and a thread that brings records to the writers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from fitgate.store._batch import GLOBAL_STEP, Batch
from fitgate.store._fetch import Fetch, fetched
from fitgate.store._guard import GuardedWriter
from fitgate.store._intake import MAX_WAITING_POINTS, Intake
from fitgate.store._kept_run_file import KeptRunFile
from fitgate.store._run_file import RunInfo
from fitgate.store._schema import Record
from fitgate.store._warn import Outage
from fitgate.store._worker import Job, Worker
from fitgate.store._writer import MetricWriter

__all__ = ["Recorder", "pause_s"]

HEARTBEAT_S = 30.0
# Points are promised within `flush_every_s` and one second. What is left of that second is for the flush itself: half of it where flushes are slow
# or nothing is known of them, and a fifth where the recent ones took next to no time.
_DELAY_S, _MOST_DELAY_S, _FOR_EACH_SECOND = 0.5, 0.8, 4.0
# How much of the longest flush counts when the next has ended: one that the machine held up is forgotten after twenty.
_REMEMBERED = 0.9
# What flushing is to leave of a core, as seconds from one flush to the next for each second of work: a quarter of a per cent is its own where up
# to three quarters of `flush_every_s` more are enough for that, and a tenth where that much more time is left, so that a very short
# `flush_every_s` doesn't keep a core busy with writing the newest file again and again.
_WANTED, _WANTED_MOST, _NEEDED = 400.0, 1.75, 10.0
# How far mirrors may be behind when the points are flushed, in seconds and in `flush_every_s`: nothing is promised of them but all points at
# the end, at each checkpoint and after `flush`, and TensorBoard looks every five seconds.
_MIRRORED_AFTER_S, _MIRRORED_AFTER = 3.0, 2.0


def pause_s(every_s: float, work_s: float, longest_s: float) -> float:
    """How long to wait from the beginning of one flush to that of the next: longer where it takes much of a core.

    Args:
        every_s: what was asked for.
        work_s: CPU time of the flush before.
        longest_s: how long the longest of the recent ones took by the clock.

    Example:
        >>> pause_s(1.0, 0.002, 0.01), pause_s(1.0, 0.003, 0.01), pause_s(1.0, 0.02, 0.01), pause_s(1.0, 0.02, 0.3)
        (1.0, 1.2, 1.75, 1.5)
    """
    wanted, needed = min(work_s * _WANTED, every_s * _WANTED_MOST), work_s * _NEEDED
    delay_s = max(_DELAY_S, _MOST_DELAY_S - longest_s * _FOR_EACH_SECOND)
    return max(every_s, min(max(wanted, needed), every_s + delay_s))


class Recorder:
    """Takes records from the training loop, and gives them to the writers in the background.

    `record` only appends. All writing is the thread's: who asks for a flush waits for it. The thread wakes every
    `flush_every_s`, up to 0.8 s later where flushes take much of a core (`pause_s`), and rewrites run.json every 30 s, however seldom
    it flushes, so that a silent run can be told from a living one. Whatever a writer raises, training goes on: one warning, points
    wait in memory (a million at most) and are written when the writer can again, and what no reader finds is counted in run.json as
    `lost_points`. A forked child of the process writes nothing.

    Args:
        run_dir: the run's folder; made here.
        info: what run.json says; its last attempt is the one that records here.
        writers: where records go. What can't be written there is lost.
        mirrors: where they go as well, not at each flush.
        flush_every_s: seconds between two flushes; more than 0 and finite.
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
        mirrors: Sequence[MetricWriter] = (),
        *,
        flush_every_s: float = 1.0,
        fetch: Fetch | None = None,
        owns_run_file: bool = True,
        heartbeat_s: float = HEARTBEAT_S,
        max_waiting_points: int = MAX_WAITING_POINTS,
    ) -> None:
        self.run_dir = run_dir
        self._flush_every_s = flush_every_s
        self._fetch = fetch
        self._run_file = KeptRunFile(run_dir, info, owned=owns_run_file, heartbeat_s=heartbeat_s)
        self._worker = Worker(self._do, lambda: min(self._flush_at, self._run_file.due_at))
        self._intake = Intake(self._worker.wake, max_points=max_waiting_points)
        self._writers, self._mirrors = (
            [GuardedWriter(writer, max_waiting=max_waiting_points) for writer in each] for each in (writers, mirrors)
        )
        self._outage = Outage(run_dir, owns_run_file=owns_run_file)
        self._unreadable = self._lost_elsewhere = 0
        self._longest_s = self._mirrored_at = 0.0
        self._checkpoint_step = -1
        run_dir.mkdir(parents=True, exist_ok=True)
        self._run_file.begin()
        self._flush_at = time.monotonic() + flush_every_s
        # From the start, not from the first record: a run whose first step takes minutes is alive too.
        self._worker.start()

    @property
    def info(self) -> RunInfo:
        """What run.json says now, where no later attempt has the say."""
        return self._run_file.info

    @property
    def superseded(self) -> bool:
        """Whether a later attempt at the run is on record: another process, or another callback, went on with it."""
        return self._run_file.superseded

    @property
    def lost(self) -> int:
        """Points of this attempt that no reader finds, as of the last flush."""
        return self._lost_elsewhere + self._intake.dropped + self._unreadable + sum(writer.lost for writer in self._writers)

    def count_lost_elsewhere(self, points: int) -> None:
        """Points that other ranks lost, all in all; they stand in the one run.json."""
        self._lost_elsewhere = points
        self._worker.ask(Job.SAVE)

    def record(self, record: Record) -> None:
        """Take one record. The only call in the training loop."""
        self._intake.put(record)
        if self._worker.idle:
            self._worker.start()

    def update(self, **changes: Any) -> None:  # noqa: ANN401 - RunInfo's own fields
        """Change fields of run.json and write it at once."""
        if self._worker.is_here:
            self._run_file.change(**changes)
            self._worker.ask(Job.SAVE)

    def go_on(self, **changes: Any) -> None:  # noqa: ANN401 - RunInfo's own fields
        """Change fields of run.json after `close`, and be alive again from now on, before anything is recorded."""
        if self._worker.is_here:
            self._run_file.change(**changes)
            self._worker.ask(Job.SAVE, stay=True)

    def flush(self, *, checkpoint_step: int | None = None) -> None:
        """Bring everything recorded so far to the disk; returns when it is there.

        Args:
            checkpoint_step: the `global_step` of a checkpoint that is about to be made. A fit that goes on from there tells mirrors
                nothing of that step again, so what comes of it is not held back from them.
        """
        if checkpoint_step is not None:
            self._checkpoint_step = checkpoint_step
        self._worker.ask(Job.FLUSH)

    def close(self, **changes: Any) -> None:  # noqa: ANN401 - RunInfo's own fields
        """Flush, give files back and end the thread. May be called twice; a later record opens anew.

        Args:
            changes: fields of run.json to change with it.
        """
        if changes and self._worker.is_here:
            self._run_file.change(**changes)
        self._worker.close()

    def __getstate__(self) -> dict[str, Any]:
        message = "a Recorder owns a thread and open files and can't be pickled; pickle the callback instead"
        raise TypeError(message)

    # On the worker's thread

    def _do(self, jobs: Collection[Job], woken: bool) -> None:  # noqa: FBT001 - the worker's signature
        if Job.CLOSE in jobs:
            self._cycle(GuardedWriter.close, last=True)
        elif Job.FLUSH in jobs or woken or time.monotonic() >= self._flush_at:
            began, work_before = time.monotonic(), time.thread_time()
            due = began >= self._mirrored_at + min(_MIRRORED_AFTER_S, _MIRRORED_AFTER * self._flush_every_s)
            self._cycle(GuardedWriter.flush, last=False, may_hold=not (jobs or woken or due))
            now = time.monotonic()
            self._longest_s = max(now - began, self._longest_s * _REMEMBERED)
            # From its beginning: what comes right after that waits for two flushes, however long they wait for the disk.
            self._flush_at = max(now, began + pause_s(self._flush_every_s, time.thread_time() - work_before, self._longest_s))
        else:  # run.json has a clock of its own: a run that flushes once an hour is alive too
            self._save_if_due()
            self._tell(last=False)

    def _cycle(self, drive: Callable[[GuardedWriter, Batch], None], *, last: bool, may_hold: bool = False) -> None:
        """Bring what was recorded to all writers, and tell in run.json and in a warning what must be told."""
        batch, failed = fetched(self._intake.take(), self._fetch)
        self._unreadable += sum(len(record.names) for record, _ in failed)
        for writer in self._writers:
            drive(writer, batch)
        holds = may_hold and all(block.axes[GLOBAL_STEP].min() > self._checkpoint_step for block in batch.blocks)
        if not holds:
            self._mirrored_at = time.monotonic()
        for mirror in self._mirrors:
            (GuardedWriter.hold if holds else drive)(mirror, batch)
        self._intake.done()
        self._save_if_due()
        self._outage.unreadable(failed)
        self._tell(last=last)

    def _save_if_due(self) -> None:
        if self._run_file.must_save(self.lost):
            self._run_file.save(self.lost)

    def _tell(self, *, last: bool) -> None:
        said = self._run_file.owned and self._run_file.failure is None
        self._outage.tell(self._writers, [*self._mirrors, self._run_file], lost=self.lost, said=said, last=last)
