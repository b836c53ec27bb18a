"""Arrow arrays from numpy's and back, without a copy and without pandas.

`pyarrow.array` asks whether it was given something of pandas', and imports pandas to find out: a third of a second of
CPU and 40 MB in the middle of a training. `to_numpy` and `Schema.empty_table` do so too: a sixth of the time of `fitgate runs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["empty_table", "number_array", "numpy_of", "repeated_number", "repeated_text", "repeated_texts"]

_FEWEST_BITS = 12  # so that a file that grows asks for few different sizes


def number_array(numbers: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array[Any]:
    """Numbers as an Arrow array of that type. The numpy array must stay as it is from now on."""
    fitting = np.ascontiguousarray(numbers, dtype=_kind_of_numpy(kind))
    return pa.Array.from_buffers(kind, len(fitting), [None, _buffer(fitting)])


def repeated_number(number: int, kind: pa.DataType, rows: int) -> pa.Array[Any]:
    """One number many times: a part of an array that is made once."""
    return _many(number, kind, 1 << max(_FEWEST_BITS, rows.bit_length())).slice(0, rows)


@lru_cache(maxsize=4)
def _many(number: int, kind: pa.DataType, size: int) -> pa.Array[Any]:
    return number_array(np.full(size, number), kind)


def empty_table(schema: pa.Schema) -> pa.Table:
    """No rows."""
    return pa.Table.from_batches([], schema)


def numpy_of(column: Any) -> npt.NDArray[Any]:  # noqa: ANN401 - an array, chunked or not
    """Numbers as a numpy array, not to be written to."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if pa.types.is_boolean(column.type) or column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False) if len(chunks) == 1 else column.to_numpy())
    kind = np.dtype(_kind_of_numpy(column.type))
    buffers: list[Any] = [c.buffers()[1] for c in chunks]
    parts = [np.frombuffer(b, kind, len(c), c.offset * kind.itemsize) for b, c in zip(buffers, chunks, strict=True) if len(c)]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, kind), *parts])


@lru_cache
def _kind_of_numpy(kind: pa.DataType) -> Any:  # noqa: ANN401 - the stubs' own
    return np.int64 if pa.types.is_timestamp(kind) else kind.to_pandas_dtype()


def _text_array(texts: Sequence[str]) -> pa.StringArray:
    """Texts as an Arrow array."""
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int32)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return pa.StringArray.from_buffers(len(encoded), _buffer(offsets), _buffer(b"".join(encoded)))


def repeated_texts(texts: tuple[str, ...], lengths: npt.NDArray[np.int64]) -> pa.DictionaryArray:  # type: ignore[type-arg]  # the stubs' generics
    """Each text as often as its length says, one after the other, dictionary-encoded."""
    places, dictionary = _dictionary(texts)
    index = pa.int32()
    indices = number_array(np.repeat(places, lengths), index) if places.any() else repeated_number(0, index, int(lengths.sum()))
    return pa.DictionaryArray.from_arrays(indices, dictionary, safe=False)


@lru_cache(maxsize=8)  # a flush has the same names as the one before
def _dictionary(texts: tuple[str, ...]) -> tuple[npt.NDArray[np.int32], pa.StringArray]:
    """The place of each text in a dictionary, and that."""
    distinct = sorted(set(texts))
    places = {text: place for place, text in enumerate(distinct)}
    return np.array([places[text] for text in texts], dtype=np.int32), _text_array(distinct)


def repeated_text(text: str, rows: int) -> pa.StringArray:
    """One text many times, each as a text of its own. All of them together may have 2 GiB."""
    data = text.encode()
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(len(data))
    return pa.StringArray.from_buffers(rows, _buffer(offsets), _buffer(data * rows))


def _buffer(data: npt.NDArray[Any] | bytes) -> pa.Buffer:
    return pa.py_buffer(data)  # type: ignore[arg-type]  # the stubs don't know that numpy has the buffer protocol
