"""The recorder: a buffer that costs the training loop one append, and a thread that empties it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fitgate.store._run_file import RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._writer import MetricWriter

__all__ = ["Recorder"]

HEARTBEAT_S = 30.0
_log = logging.getLogger("fitgate")


class Recorder:
    """Takes records from the training loop, and gives them to the writers in the background.

    `record` only appends. The thread starts with the first record, wakes every `flush_every_s`, and
    rewrites run.json every 30 s so that a silent run can be told from a living one. A writer that
    fails is warned about once and tried again; training never stops for it.

    Args:
        run_dir: the run's folder; made here.
        info: what run.json says; this object owns that file from now on.
        writers: where records go.
        flush_every_s: seconds between two flushes.
        fetch: turns the records' values into floats, off the training thread (device tensors).
        owns_run_file: write run.json; False on ranks other than 0.

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
        fetch: Callable[[list[Record]], list[Record]] | None = None,
        owns_run_file: bool = True,
    ) -> None:
        self.run_dir = run_dir
        self._info = info
        self._writers = tuple(writers)
        self._flush_every_s = flush_every_s
        self._fetch = fetch
        self._owns_run_file = owns_run_file
        self._buffer: list[Record] = []
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._failing_since: dict[int, datetime] = {}
        self._pid = os.getpid()
        run_dir.mkdir(parents=True, exist_ok=True)
        if owns_run_file:
            write_run_info(run_dir, info)
        self._saved = info.updated
        # A daemon thread dies with the interpreter; what it had not taken must not.
        atexit.register(self.close)

    @property
    def info(self) -> RunInfo:
        """What run.json says now."""
        return self._info

    def record(self, record: Record) -> None:
        """Take one record. The only call in the training loop."""
        self._buffer.append(record)
        if self._thread is None:
            self._start()

    def update(self, **changes: Any) -> None:  # noqa: ANN401 - RunInfo's own fields
        """Change fields of run.json and write it at once."""
        with self._lock:
            self._info = replace(self._info, **changes)
            self._save()

    def flush(self) -> None:
        """Bring everything recorded so far to the disk, on the caller's thread."""
        if os.getpid() != self._pid:
            return  # a forked child holds a copy of the buffer; the parent writes it
        with self._lock:
            taken = self._take()
            for writer in self._writers:
                self._drive(writer, taken)

    def close(self) -> None:
        """Flush, stop the thread and give files back. May be called twice; a later record opens anew."""
        if os.getpid() != self._pid:
            return
        thread = self._thread
        if thread is not None:
            self._stop.set()
            thread.join()
            self._thread = None
        self.flush()
        with self._lock:
            for index, writer in enumerate(self._writers):
                self._guard(index, writer.close)
        atexit.unregister(self.close)

    def __getstate__(self) -> dict[str, Any]:
        message = "a Recorder owns a thread and open files and can't be pickled; pickle the callback instead"
        raise TypeError(message)

    def _start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fitgate-flush", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        stop = self._stop
        while not stop.wait(self._flush_every_s):
            self.flush()
            if (datetime.now(UTC) - self._saved).total_seconds() >= HEARTBEAT_S:
                with self._lock:
                    self._save()

    def _take(self) -> list[Record]:
        # Appends go on meanwhile: only what is there now is cut off the front.
        count = len(self._buffer)
        taken = self._buffer[:count]
        del self._buffer[:count]
        return self._fetch(taken) if self._fetch and taken else taken

    def _drive(self, writer: MetricWriter, taken: list[Record]) -> None:
        if taken:
            writer.write(taken)
        self._guard(self._writers.index(writer), writer.flush)

    def _guard(self, index: int, action: Callable[[], None]) -> None:
        name = type(self._writers[index]).__name__
        try:
            action()
        except OSError as error:
            if index not in self._failing_since:
                self._failing_since[index] = datetime.now(UTC)
                _log.warning(
                    "%s can't write to %s: %s. Training goes on; points wait in memory and are tried again.", name, self.run_dir, error
                )
        else:
            since = self._failing_since.pop(index, None)
            if since is not None:
                _log.warning("%s writes to %s again; it had failed since %s UTC.", name, self.run_dir, since.strftime("%H:%M:%S"))

    def _save(self) -> None:
        self._info = replace(self._info, updated=datetime.now(UTC))
        self._saved = self._info.updated
        if not self._owns_run_file:
            return
        try:
            write_run_info(self.run_dir, self._info)
        except OSError as error:
            _log.warning("run.json in %s can't be written: %s", self.run_dir, error)
