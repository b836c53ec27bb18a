"""Runs that are still open when the process ends: by itself, or by SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Protocol

from fitgate.store._at_exit import at_exit, not_at_exit

__all__ = ["PROCESS_END", "Unclosed"]


class Unclosed(Protocol):
    """A run that may be open when the process ends."""

    def interrupt(self) -> None:
        """Bring everything to the disk and end as interrupted: the process ends now."""

    def told_to_end(self) -> None:
        """Bring everything to the disk: SIGTERM came, and somebody else decides what it means."""


class ProcessEnd:
    """Ends open runs with the process.

    SIGTERM is listened to on the main thread alone and only where it has its default meaning, which it keeps: the
    process ends by the signal, a moment later. Whoever sets a handler of their own afterwards has the say; where that
    one calls ours, as Lightning's does in a fit, points are brought to the disk and nothing is ended.
    """

    def __init__(self) -> None:
        self._runs: list[Unclosed] = []
        os.register_at_fork(after_in_child=self._forget_all)

    def watch(self, run: Unclosed) -> None:
        """From now on this one is open."""
        if not self._runs:
            at_exit(self._at_exit)
        self._runs.append(run)
        if _on_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def forget(self, run: Unclosed) -> None:
        """It is closed."""
        if run in self._runs:
            self._runs.remove(run)
        if not self._runs:
            not_at_exit(self._at_exit)
            self._stop_listening()

    @property
    def _is_ours(self) -> bool:
        return signal.getsignal(signal.SIGTERM) == self._on_sigterm

    def _on_sigterm(self, _signum: int, _frame: FrameType | None) -> None:
        last, pid = self._is_ours, os.getpid()
        try:
            for run in list(self._runs):
                with contextlib.suppress(Exception):  # the others' points are to be saved all the same
                    (run.interrupt if last else run.told_to_end)()
        finally:
            if last:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.kill(pid, signal.SIGTERM)

    def _at_exit(self) -> None:
        for run in list(self._runs):
            run.interrupt()

    def _stop_listening(self) -> None:
        if _on_main_thread() and self._is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _forget_all(self) -> None:
        """A forked child has no runs of its own yet, and ends by SIGTERM at once, as it would without us."""
        not_at_exit(self._at_exit)
        self._runs.clear()
        self._stop_listening()


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


PROCESS_END = ProcessEnd()
