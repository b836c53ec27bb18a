"""The thread that does all writing: when it is due, and when somebody asks."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Collection
from enum import Enum, auto
from queue import Empty, SimpleQueue

__all__ = ["Job", "Worker"]


class Job(Enum):
    """What can be asked for; `CLOSE` ends the thread."""

    SAVE = auto()
    FLUSH = auto()
    CLOSE = auto()


_Asked = tuple[tuple[Job, ...], threading.Lock]  # the lock is released when the jobs are done
_LOOK_S = 1.0  # between two looks whether the thread is still there


class Worker:
    """One thread for all that must not be cut in two: Ctrl-C ends the waiting of who asked, and no work.

    Who asks uses locks and queues of C alone: an exception out of a signal's handler amid one of Python's own leaves
    `Event.set` locked for ever, and `Thread.is_alive` false of a thread that runs. A forked child has no such thread, and does
    nothing.

    Args:
        do: does these jobs, together; with none, what is due. `woken` tells that `wake` was called and no job was asked for.
        due_at: when to do something next, by the monotonic clock.

    Attributes:
        thread: the one that runs; None where there is none.
    """

    def __init__(self, do: Callable[[Collection[Job], bool], None], due_at: Callable[[], float]) -> None:
        self._do = do
        self._due_at = due_at
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._woken = False
        self._starting = threading.RLock()
        self.thread: threading.Thread | None = None
        self._alive = threading.Lock()  # held as long as the thread runs
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that it was made in, and no fork of it."""
        return os.getpid() == self._pid

    def start(self) -> threading.Thread | None:
        """The thread, started where there is none; None where none can be, as when the interpreter ends."""
        if not self.is_here:
            return None
        with self._starting:
            if self.thread is not None and self._alive.locked():
                return self.thread
            alive = threading.Lock()
            alive.acquire()
            thread = threading.Thread(target=self._run, args=(alive,), name="fitgate-flush", daemon=True)
            self._alive, self.thread = alive, thread
            try:
                thread.start()
            except BaseException as error:
                self._alive, self.thread = threading.Lock(), None  # should it run after all, it ends at once
                if isinstance(error, RuntimeError):
                    return None
                raise
            # A daemon thread dies with the interpreter; what it had not taken must not.
            atexit.unregister(self.close)
            atexit.register(self.close)
            return thread

    def wake(self) -> None:
        """Something is due at once."""
        if not self._woken:
            self._woken = True
            self._asked.put(None)

    def ask(self, job: Job) -> None:
        """Have it done, and wait. Where no thread was running none is left running."""
        if not self.is_here:
            return
        done = threading.Lock()
        done.acquire()
        finished = False
        while not finished:
            jobs = (job,) if self.thread is not None else (job, Job.CLOSE)
            thread = self.start()
            alive = self._alive
            if thread is None:
                self._do(jobs, False)  # noqa: FBT003 - a callable has no keywords
                return
            self._asked.put((jobs, done))
            while not (finished := done.acquire(timeout=_LOOK_S)) and alive.locked():
                pass
            if Job.CLOSE in jobs:
                thread.join()

    def close(self) -> None:
        """The last thing to be done, for now: the thread ends."""
        self.ask(Job.CLOSE)
        if self.is_here:
            atexit.unregister(self.close)

    def _run(self, alive: threading.Lock) -> None:
        asked: list[_Asked] = []
        try:
            while self._alive is alive:
                found = self._next(max(0.0, self._due_at() - time.monotonic()))
                asked = [each for each in found if each is not None]
                jobs = {job for each, _ in asked for job in each}
                self._do(jobs, None in found and not jobs)
                if Job.CLOSE in jobs:
                    return
                _tell_done(asked)
        finally:
            if self._alive is alive:
                self.thread = None  # first: who is told may start another
            alive.release()
            _tell_done(asked)

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
        if done.locked():
            done.release()
