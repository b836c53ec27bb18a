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
from collections.abc import Mapping, Sequence
from io import BufferedWriter
from itertools import count
from pathlib import Path

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from fitgate.store._schema import Record

__all__ = ["EventWriter"]

_CRC_MASK_DELTA = 0xA282EAD8
_serial = count()


class EventWriter:
    """Writes records as TensorBoard scalars, tag for name; a `MetricWriter`.

    Args:
        folder: the run's folder. The file appears with the first flush.
        purge_from: after a resume: points of earlier files at this step or above are no more.
        tags: other tags for some (stage, name), where one name stands in two stages.
    """

    def __init__(self, folder: Path, *, purge_from: int | None = None, tags: Mapping[tuple[str, str], str] | None = None) -> None:
        self._folder = folder
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
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_serial)}"
        file = (self._folder / name).open("xb")
        head = [Event(wall_time=now, file_version="brain.Event:2")]
        if self._purge_from is not None:
            head.append(Event(wall_time=now, step=self._purge_from, session_log=SessionLog(status=SessionLog.START)))
            self._purge_from = None
        file.writelines(_framed(event.SerializeToString()) for event in head)
        return file


def _framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked_crc(length)) + data + struct.pack("<I", _masked_crc(data))


def _masked_crc(data: bytes) -> int:
    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + _CRC_MASK_DELTA) & 0xFFFFFFFF
