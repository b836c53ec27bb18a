"""Segments as Parquet: the encodings that the schema promises, checked when they are read.

Every page carries Parquet's own checksum. The footer has none in the format, though it says how many rows
there are and which row groups to skip; so eight bytes stand before it that no reader looks at
but ours: a mark, and the CRC-32C of the footer.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable, Sequence

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["GrowingFile", "check_footer", "encode"]

_MARK = b"fgt1"
_CHECK = struct.Struct("<4sI")
_TRAILER = struct.Struct("<I4s")  # the footer's length, and the format's own magic
_MAGIC = b"PAR1"
_NOTHING = memoryview(b"")
# As good as any other bytes that are no header of a page.
_PADDING = b"-" * 128

# Sealed files are written once and read often: zstd's level 3 saves 4 % over level 1. The newest is rewritten every second: zstd's fast
# level -5, and statistics of two columns alone, take a quarter less time than level 1 and all of them, and 3 % more bytes.
_LEVEL_SEALED, _LEVEL_OPEN = 3, -5

_DELTA = ("attempt", "rank", "step", "global_step", "epoch", "wall_time")
_STATISTICS_SEALED = ("run_id", "attempt", "rank", "stage", "name", "step", "global_step", "epoch", "wall_time")
_STATISTICS_OPEN = ("name", "step")


def encode(tables: Iterable[pa.Table]) -> bytes:
    """A whole Parquet file, to be left for good, one row group a table."""
    body, metadata = _encoded(tables, level=_LEVEL_SEALED, statistics=_STATISTICS_SEALED)
    return b"".join((body, _end(metadata)))


class GrowingFile:
    """A Parquet file that is written again and again, each time with more rows; a row group that it keeps is encoded no more.

    What is kept stays in its place, byte for byte: only the newest row group and the footer differ from one time to the next.

    Some readers (DuckDB, Polars) open a file twice in one query. Replaced in between, the old footer is read with the new data. That made
    sense now and then where the newest row group's pages lay where they had lain, and was a wrong answer. So each time they lie
    elsewhere, behind a few bytes more or less that belong to no row group, and what such a reader meets there is an error.
    """

    def __init__(self) -> None:
        self._times = 0
        self._kept = self._newest = _NOTHING
        self._kept_metadata: bytes | None = None
        self._newest_metadata: pq.FileMetaData | None = None

    def with_group(self, table: pa.Table) -> bytes:
        """The file with what was kept and one more row group."""
        self._times += 1
        before = self._kept[len(_MAGIC) :], _PADDING[: 1 + 3 * (self._times % 40)]
        body, metadata = _encoded([table], level=_LEVEL_OPEN, statistics=_STATISTICS_OPEN, before=before)
        if self._kept_metadata is not None:
            # A copy that is quick to make: what is read from a file goes through ten times as much of pyarrow's Python.
            newest, metadata = metadata, pickle.loads(self._kept_metadata)  # noqa: S301 - of our own
            metadata.append_row_groups(newest)
        self._newest, self._newest_metadata = body, metadata
        return b"".join((body, _end(metadata)))

    def keep(self) -> None:
        """The newest row group is to stay as it is."""
        self._kept, self._kept_metadata = self._newest, pickle.dumps(self._newest_metadata)

    def clear(self) -> None:
        """Keep nothing."""
        self._kept, self._kept_metadata = _NOTHING, None


def _encoded(
    tables: Iterable[pa.Table], *, level: int, statistics: Sequence[str], before: Sequence[bytes | memoryview] = ()
) -> tuple[memoryview, pq.FileMetaData]:
    """Row groups as they stand in a file, up to its footer, and what the footer is to say of them.

    `store_schema=False` keeps Arrow's own schema out of the file, so that every reader gets plain
    strings; float bits are split by byte (`BYTE_STREAM_SPLIT`), which zstd then packs well.

    Args:
        tables: one row group each.
        level: zstd's.
        statistics: of which columns.
        before: what is to stand between the magic and the first of them.
    """
    sink = pa.BufferOutputStream()
    written: list[pq.FileMetaData] = []
    writer: pq.ParquetWriter | None = None
    for table in tables:
        if writer is None:
            writer = pq.ParquetWriter(
                sink,
                table.schema,
                compression="zstd",
                compression_level=level,
                use_dictionary=["run_id", "stage", "name"],  # type: ignore[arg-type]  # the stubs know only bool
                column_encoding={**dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED"), "value": "BYTE_STREAM_SPLIT"},
                write_statistics=list(statistics),
                write_page_checksum=True,
                write_batch_size=16_384,
                store_schema=False,
                metadata_collector=written,
            )
            # The writer has written the magic, and asks the sink where it is before each column: so the columns' places are right.
            for data in before:
                sink.write(data)
        writer.write_table(table, row_group_size=max(1, table.num_rows))
    assert writer is not None, "a segment has at least one row"
    writer.close()
    data = memoryview(sink.getvalue())
    length, _ = _TRAILER.unpack(data[-_TRAILER.size :])
    return data[: -_TRAILER.size - length], written[0]


def _end(metadata: pq.FileMetaData) -> bytes:
    """The checksum of a footer, and the footer with what comes behind it."""
    file = pa.BufferOutputStream()
    metadata.write_metadata_file(file)  # a file of its own
    footer = file.getvalue().to_pybytes()[len(_MAGIC) :]
    return _CHECK.pack(_MARK, google_crc32c.value(footer)) + footer


def check_footer(source: pa.NativeFile) -> None:
    """Compare a file's footer with its checksum, where the file carries one.

    Raises:
        ValueError: the footer is not the one that was written, or there is none.
    """
    size = source.size()
    if size == 0:
        message = "it is empty"
        raise ValueError(message)
    tail = _last(source, size, 64 * 1024)
    if size < 2 * len(_MAGIC) + _TRAILER.size or tail[-len(_MAGIC) :] != _MAGIC:
        message = "its end is missing: it was cut short, or is no Parquet file"
        raise ValueError(message)
    length, _ = _TRAILER.unpack(tail[-_TRAILER.size :])
    end = length + _TRAILER.size
    if end + _CHECK.size > len(tail):
        tail = _last(source, size, end + _CHECK.size)
    if end + _CHECK.size <= len(tail):
        mark, expected = _CHECK.unpack(tail[-end - _CHECK.size : -end])
        if mark == _MARK and google_crc32c.value(tail[-end:]) != expected:
            message = "its footer is damaged: the checksum is another"
            raise ValueError(message)


def _last(source: pa.NativeFile, size: int, count: int) -> bytes:
    count = min(size, count)
    return bytes(source.read_at(count, size - count))  # type: ignore[call-arg]  # the stubs have one argument too few
