"""The thread that does all writing: when it is due, and when somebody asks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from enum import Enum, auto
from queue import Empty, SimpleQueue

from fitgate.store._at_exit import at_exit, not_at_exit

__all__ = ["Job", "Worker"]


class Job(Enum):
    """What can be asked for; `CLOSE` ends the thread."""

    SAVE = auto()
    FLUSH = auto()
    CLOSE = auto()


_Asked = tuple[tuple[Job, ...], SimpleQueue[threading.Thread]]  # the thread that has done the jobs puts itself there
_LOOK_S = 1.0  # between two looks whether a thread is still there


class Worker:
    """One thread for all that must not be cut in two: Ctrl-C ends the waiting of who asked, and no work.

    Who asks uses locks and queues of C alone: an exception out of a signal's handler amid one of Python's own leaves
    `Event.set` locked for ever, and `Thread.is_alive` false of a thread that runs. A forked child has no such thread, and does
    nothing.

    Args:
        do: does these jobs, together; with none, what is due. `woken` tells that `wake` was called and no job was asked for.
        due_at: when to do something next, by the monotonic clock.

    Attributes:
        idle: no thread runs, and what comes needs one to be started.
    """

    def __init__(self, do: Callable[[Collection[Job], bool], None], due_at: Callable[[], float]) -> None:
        self._do = do
        self._due_at = due_at
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._woken = False
        self._turn = threading.Lock()  # held by the thread that runs; any other that is started ends at once
        self.idle = True
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that it was made in, and no fork of it."""
        return os.getpid() == self._pid

    def start(self) -> bool:
        """Have a thread run; False where none can, as when the interpreter ends.

        It may be cut in two by a signal's handler that starts one too, or that raises: two threads were started then, or
        none, and never do two run.
        """
        if self._turn.locked():
            return True
        if not self.is_here:
            return False
        # A daemon thread dies with the interpreter; what it had not taken must not.
        not_at_exit(self.close)  # once is enough, however often a start fails
        at_exit(self.close)
        try:
            threading.Thread(target=self._run, name="fitgate-flush", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def wake(self) -> None:
        """Something is due at once."""
        if not self._woken:
            self._woken = True
            self._asked.put(None)

    def ask(self, job: Job, *, stay: bool = False) -> None:
        """Have it done, and wait. Where no thread was running none is left running, unless one is to `stay`."""
        if not self.is_here:
            return
        jobs = (job, Job.CLOSE) if self.idle and not stay else (job,)
        done: SimpleQueue[threading.Thread] = SimpleQueue()
        self._asked.put((jobs, done))
        while self.start():
            try:
                thread = done.get(timeout=_LOOK_S)
            except Empty:
                continue
            if Job.CLOSE in jobs:
                thread.join()
            return
        self._do(jobs, False)  # noqa: FBT003 - a callable has no keywords

    def close(self) -> None:
        """The last thing to be done, for now: the thread ends."""
        self.ask(Job.CLOSE)

    def _run(self) -> None:
        if not self._turn.acquire(blocking=False):
            return
        self.idle = False
        asked: list[_Asked] = []
        closing = False
        try:
            while not closing:
                _tell_done(asked)
                found = self._next(max(0.0, self._due_at() - time.monotonic()))
                asked = [each for each in found if each is not None]
                jobs = {job for each, _ in asked for job in each}
                closing = Job.CLOSE in jobs
                self._do(jobs, None in found and not jobs)
        finally:
            not_at_exit(self.close)
            self.idle = True
            self._turn.release()
            _tell_done(asked)  # at last: who is told may start another

    def _next(self, wait_s: float) -> list[_Asked | None]:
        """What came, after waiting for a first one."""
        found: list[_Asked | None] = []
        try:
            found.append(self._asked.get(timeout=wait_s))
            self._woken = False
            while True:
                found.append(self._asked.get_nowait())
        except Empty:
            pass
        return found


def _tell_done(asked: Collection[_Asked]) -> None:
    for _, done in asked:
        done.put(threading.current_thread())
