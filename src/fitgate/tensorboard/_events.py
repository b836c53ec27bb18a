"""The TensorBoard mirror: the same points, as event files in the run's folder.

TensorBoard's own record writer checks sums in pure Python at 12 µs an event, and building an event's protobuf message
costs 4 µs. All events of one metric set have one shape, so they are made together, as rows of
a byte array: one event for all values of a step. The format is TFRecord (length, masked CRC of the length, data, masked
CRC of the data), as TensorFlow documents it, around the wire format of `tensorboard.compat.proto`'s `Event`.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count, groupby
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from fitgate._files import replace_bytes, write_all
from fitgate.store._batch import Block, blocks_of
from fitgate.store._schema import STAGES, Record
from fitgate.store._writer import PointsGoneError
from fitgate.tensorboard._event_bytes import EventShape, framed

__all__ = ["EventWriter", "append_events"]

_serial = count()
_STAMP = re.compile(r"events\.out\.tfevents\.(\d{10})\.", re.ASCII)
_REMOVED = "TensorBoard events were removed; those of before are missing there until `fitgate tensorboard --rebuild` makes them from Parquet, after the end"
_Beginning = tuple[int | None, tuple[Summary, ...]]  # from which step to forget, and what to say once
_MOST_SHAPES = 256
"""That are remembered: a module may log other metrics together at every step."""


class EventWriter:
    """Writes records as TensorBoard scalars, tag for name; a `MetricWriter`.

    Args:
        folder: the run's folder. The file appears with the first flush.
        purge_from: after a resume: points of earlier files at this step or above are no more.
        tags: other tags for some (stage, name), where one name stands in two stages; more may be put in meanwhile.
        head: summaries to begin with, such as the run's hyperparameters.
        again: points to begin with, which `purge_from` hides though they count.
    """

    name = "TensorBoard events"
    stages = STAGES

    def __init__(
        self,
        folder: Path,
        *,
        purge_from: int | None = None,
        tags: Mapping[tuple[str, str], str] | None = None,
        head: Sequence[Summary] = (),
        again: Sequence[Block] = (),
    ) -> None:
        self._folder = folder
        self._beginning: _Beginning = (purge_from, tuple(head))  # of the file that is open, and of the one that comes next
        self._next_beginning = self._beginning
        self._is_removed = False
        self._tags = {} if tags is None else tags
        self._shapes: dict[tuple[str, ...], EventShape] = {}
        self._again, self._pending = list(again), list[Block]()
        self._file: int | None = None
        self._good = 0  # the file's length up to the last whole event

    @property
    def waiting(self) -> int:
        """Points taken that are in no file yet. What it began with leaves as much room as there is without it."""
        return sum(block.points for block in self._pending)

    @property
    def lost(self) -> int:
        """Always 0: what this writer takes, it keeps until it is written."""
        return 0

    def write(self, records: Sequence[Record]) -> None:
        """Take records into memory."""
        self._pending += blocks_of(records)

    def flush(self) -> None:
        """Append what came since the last flush; TensorBoard reads a growing file."""
        if not self._again and not self._pending:
            return
        if self._file is not None and os.fstat(self._file).st_nlink == 0:
            self._give_back()
            self._next_beginning, self._is_removed = self._beginning, True
        if self._file is None:
            self._file = self._open()
        data = b"".join(self._shape(block).events(block) for block in _joined([*self._again, *self._pending]))
        try:
            write_all(self._file, data)
        except BaseException:
            # An event that was cut off would hide all that come after it.
            try:
                os.ftruncate(self._file, self._good)
            except OSError:
                self._give_back()
            raise
        self._good += len(data)
        self._again.clear()
        self._pending.clear()
        if self._is_removed:
            self._is_removed = False
            raise PointsGoneError(_REMOVED, points=0)

    def close(self) -> None:
        """Flush and close the file; what comes later begins another."""
        try:
            self.flush()
        finally:
            self._give_back()

    def _shape(self, block: Block) -> EventShape:
        tags = tuple(self._tags.get((block.stage, name), name) for name in block.names)
        shape = self._shapes.get(tags)
        if shape is None:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            shape = self._shapes[tags] = EventShape(tags)
        return shape

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        head = [Event(wall_time=now, file_version="brain.Event:2")]
        purge_from, summaries = self._next_beginning
        if purge_from is not None:
            head.append(Event(wall_time=now, step=purge_from, session_log=SessionLog(status=SessionLog.START)))
        head += [Event(wall_time=now, summary=summary) for summary in summaries]
        data = b"".join(framed(event.SerializeToString()) for event in head)
        path = self._folder / _new_name(self._folder, now)
        # No buffer of Python's: a forked child would write it a second time.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            write_all(file, data)
        except BaseException:
            os.close(file)
            with suppress(OSError):
                path.unlink()
            raise
        self._beginning, self._next_beginning = self._next_beginning, (None, ())
        self._good = len(data)
        return file

    def _give_back(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _joined(blocks: Sequence[Block]) -> Iterator[Block]:
    """Those that follow one another with the same metrics as one: two hundred records take hardly longer to encode than one hundred."""
    for (stage, names), group in groupby(blocks, key=lambda block: (block.stage, block.names)):
        axes, values = zip(*((block.axes, block.values) for block in group), strict=True)
        yield Block(stage, names, np.concatenate(axes, axis=1), np.concatenate(values))


def append_events(folder: Path, events: Iterable[tuple[int, Summary]]) -> Path:
    """Add (step, summary) pairs to a run's folder as an event file of their own, whole or not at all."""
    now = time.time()
    path = folder / _new_name(folder, now)
    head = Event(wall_time=now, file_version="brain.Event:2")
    data = [head, *(Event(wall_time=now, step=step, summary=summary) for step, summary in events)]
    replace_bytes(path, b"".join(framed(event.SerializeToString()) for event in data))
    return path


def _new_name(folder: Path, now: float) -> str:
    """Sorted by name, the files of a folder are in the order of their making: so TensorBoard reads them, and forgets at a resume what stands before.

    By the clock alone they would not be where a fit is resumed within a second, or on a machine whose clock is behind.
    """
    others = (_STAMP.match(path.name) for path in folder.glob("events.out.tfevents.*"))
    latest = max((int(other[1]) for other in others if other), default=0)
    return f"events.out.tfevents.{max(int(now), latest + 1):010d}.{socket.gethostname()}.{os.getpid()}.{next(_serial):06d}"
