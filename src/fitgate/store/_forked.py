"""Forked children of the process that records, such as a worker of a DataLoader: they have no thread that could write."""

from __future__ import annotations

import logging
import os

__all__ = ["RecordingProcess"]

_log = logging.getLogger("fitgate")


class RecordingProcess:
    """The process that made this object; a forked child that logs in its run is told once that nothing is recorded."""

    def __init__(self) -> None:
        self._pid = self._told = os.getpid()

    @property
    def is_forked(self) -> bool:
        """Whether this is a child of that process."""
        return self._pid != os.getpid()

    def tell(self, name: str, run_id: str) -> None:
        """Warn, in a child, of the first metric that it logs."""
        if self._told == os.getpid():
            return
        self._told = os.getpid()
        _log.warning("metric %r: run %s is recorded by the process that this one was forked from; nothing is recorded here", name, run_id)
