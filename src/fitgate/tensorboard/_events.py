"""The TensorBoard mirror: the same points, as event files in the run's folder.

TensorBoard's own record writer checks sums in pure Python at 12 µs an event; framing is ten lines, so
it is done here with google-crc32c, one event for all values of a step. The format is TFRecord
(length, masked CRC of the length, data, masked CRC of the data), as TensorFlow documents it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from io import BufferedWriter
from itertools import count
from pathlib import Path

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from fitgate._files import replace_file
from fitgate.store._schema import Record

__all__ = ["EventWriter", "append_events"]

_CRC_MASK_DELTA = 0xA282EAD8
_serial = count()


class EventWriter:
    """Writes records as TensorBoard scalars, tag for name; a `MetricWriter`.

    Args:
        folder: the run's folder. The file appears with the first flush.
        purge_from: after a resume: points of earlier files at this step or above are no more.
        tags: other tags for some (stage, name), where one name stands in two stages.
        head: summaries to begin with, such as the run's hyperparameters.
    """

    def __init__(
        self,
        folder: Path,
        *,
        purge_from: int | None = None,
        tags: Mapping[tuple[str, str], str] | None = None,
        head: Sequence[Summary] = (),
    ) -> None:
        self._folder = folder
        self._head = tuple(head)
        self._purge_from = purge_from
        self._tags = dict(tags or {})
        self._file: BufferedWriter | None = None
        self._pending: list[bytes] = []

    def write(self, records: Sequence[Record]) -> None:
        """Take records into memory, one event each."""
        for record in records:
            tags = (self._tags.get((record.stage, name), name) for name in record.names)
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in zip(tags, record.values, strict=True)]
            event = Event(wall_time=record.wall_time / 1e6, step=record.step, summary=Summary(value=values))
            self._pending.append(event.SerializeToString())

    def flush(self) -> None:
        """Append what came since the last flush; TensorBoard reads a growing file."""
        if not self._pending:
            return
        if self._file is None:
            self._file = self._open()
        data = b"".join(map(_framed, self._pending))
        self._file.write(data)
        self._file.flush()
        self._pending.clear()

    def close(self) -> None:
        """Flush and close the file; what comes later begins another."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BufferedWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        file = (self._folder / _new_name(now)).open("xb")
        head = [Event(wall_time=now, file_version="brain.Event:2")]
        if self._purge_from is not None:
            head.append(Event(wall_time=now, step=self._purge_from, session_log=SessionLog(status=SessionLog.START)))
            self._purge_from = None
        head += [Event(wall_time=now, summary=summary) for summary in self._head]
        self._head = ()
        file.writelines(_framed(event.SerializeToString()) for event in head)
        return file


def append_events(folder: Path, events: Iterable[tuple[int, Summary]]) -> Path:
    """Add (step, summary) pairs to a run's folder as an event file of their own, whole or not at all."""
    now = time.time()
    path = folder / _new_name(now)
    head = Event(wall_time=now, file_version="brain.Event:2")
    data = [head, *(Event(wall_time=now, step=step, summary=summary) for step, summary in events)]
    replace_file(path, lambda file: file.writelines(_framed(event.SerializeToString()) for event in data))
    return path


def _new_name(now: float) -> str:
    """Sorted by name, the files of a folder are in the order of their making: so TensorBoard reads them."""
    return f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_serial):06d}"


def _framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked_crc(length)) + data + struct.pack("<I", _masked_crc(data))


def _masked_crc(data: bytes) -> int:
    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + _CRC_MASK_DELTA) & 0xFFFFFFFF
