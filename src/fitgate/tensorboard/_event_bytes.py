"""TensorBoard events as bytes, many at a time: the wire format of `Event` messages with scalars only.

An event here is `wall_time` (field 1, double), `step` (field 2, varint, left out when 0) and `summary` (field 5) with
one `Value` per tag: `tag` (field 1) and `simple_value` (field 2, float). The bytes are those that protobuf itself
gives; the encoding is described at https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

import google_crc32c
import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.summary_pb2 import Summary

from fitgate.store._batch import AXES, STEP, Block

__all__ = ["EventShape", "framed"]

_WALL_TIME, _STEP, _SUMMARY = b"\x09", b"\x10", b"\x2a"  # field number and wire type
_CRC_MASK_DELTA = 0xA282EAD8
_HEAD, _TAIL = 12, 4  # of a TFRecord: length and its checksum before the data, the data's checksum after it
_FIRST_OF_SIZE = np.array([1 << bits for bits in range(0, 64, 7)], dtype=np.uint64)
"""The smallest numbers whose varints take 1, 2, … bytes; 0 is left out."""
_TIME = AXES.index("wall_time")

_Bytes = npt.NDArray[np.uint8]


class EventShape:
    """What all events with the same tags have in common.

    Args:
        tags: one for each value.
    """

    def __init__(self, tags: Sequence[str]) -> None:
        summary = b""
        offsets = []
        for tag in tags:
            # A value other than 0 stands in the bytes for sure; it is the last thing in them.
            summary += Summary(value=[Summary.Value(tag=tag, simple_value=1.0)]).SerializeToString()
            offsets.append(len(summary) - 4)
        self._summary = summary
        self._value_places = np.add.outer(np.array(offsets, dtype=np.intp), np.arange(4)).reshape(-1)

    def events(self, block: Block) -> bytes:
        """The block's records as framed events, one after the other.

        Args:
            block: its names stand for this shape's tags, in order.
        """
        steps = block.axes[STEP].astype(np.uint64)  # a negative one wraps, as protobuf has it
        sizes = np.searchsorted(_FIRST_OF_SIZE, steps, side="right")
        cuts = [0, *(np.flatnonzero(np.diff(sizes)) + 1), len(steps)]
        with np.errstate(over="ignore"):  # what float32 can't hold is infinite, as in protobuf
            values = block.values.astype("<f4")
        times = block.axes[_TIME] / 1e6
        return b"".join(self._same_size(times[a:b], steps[a:b], int(sizes[a]), values[a:b]) for a, b in pairwise(cuts) if b > a)

    def _same_size(
        self, times: npt.NDArray[np.float64], steps: npt.NDArray[np.uint64], step_size: int, values: npt.NDArray[np.float32]
    ) -> bytes:
        """Events whose steps take the same number of bytes, as the rows of one array."""
        step_place = len(_WALL_TIME) + 8
        before = _WALL_TIME + bytes(8) + (_STEP + bytes(step_size) if step_size else b"") + _SUMMARY + _varint(len(self._summary))
        data = before + self._summary
        rows = np.empty((len(steps), _HEAD + len(data) + _TAIL), dtype=np.uint8)
        rows[:] = np.frombuffer(_head(len(data)) + data + bytes(_TAIL), dtype=np.uint8)
        events = rows[:, _HEAD:-_TAIL]
        events[:, 1:step_place] = _as_bytes(times.astype("<f8"))
        for i in range(step_size):
            digit = (steps >> np.uint64(7 * i)) & np.uint64(0x7F)
            events[:, step_place + 1 + i] = digit | np.uint64(0x80 if i < step_size - 1 else 0)
        events[:, len(before) + self._value_places] = _as_bytes(values)
        rows[:, -_TAIL:] = _as_bytes(_masked(np.fromiter(_checksums(events), np.uint32, len(events))).astype("<u4"))
        return rows.tobytes()


def framed(data: bytes) -> bytes:
    """One message as a TFRecord."""
    return _head(len(data)) + data + struct.pack("<I", int(_masked(google_crc32c.value(data))))


def _head(size: int) -> bytes:
    length = struct.pack("<Q", size)
    return length + struct.pack("<I", int(_masked(google_crc32c.value(length))))


def _checksums(rows: _Bytes) -> Iterator[int]:
    width = rows.shape[1]
    data = rows.tobytes()
    return (google_crc32c.value(data[start : start + width]) for start in range(0, len(data), width))


def _masked(crc: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    wide = np.asarray(crc, dtype=np.uint64)
    return ((((wide >> np.uint64(15)) | (wide << np.uint64(17))) & np.uint64(0xFFFFFFFF)) + np.uint64(_CRC_MASK_DELTA)) & np.uint64(
        0xFFFFFFFF
    )


def _as_bytes(numbers: npt.NDArray[np.generic]) -> _Bytes:
    """Each number's bytes as a row."""
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), -1)


def _varint(number: int) -> bytes:
    """A length as protobuf writes it: seven bits a byte, lowest first, the eighth bit set where more follow."""
    digits = [number >> shift & 0x7F for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])
