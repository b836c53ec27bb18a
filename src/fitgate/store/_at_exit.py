"""What is to be done when this process ends by itself, also where multiprocessing has forked it: then `atexit` is passed over."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["at_exit", "not_at_exit"]

_finalizers: dict[Callable[[], object], Any] = {}


def at_exit(action: Callable[[], object]) -> None:
    """Do this at the end of the process; the latest that was asked for comes first. It may be done twice."""
    atexit.register(action)
    processes: Any = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415 - loaded already where it is needed

        _finalizers[action] = Finalize(None, action, exitpriority=0)


def not_at_exit(action: Callable[[], object]) -> None:
    """Do it no more."""
    atexit.unregister(action)
    finalizer = _finalizers.pop(action, None)
    if finalizer is not None:
        finalizer.cancel()
