"""The newest file, which grows: row groups that are kept as they are, and the newest one."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fitgate.store._open_segment import _KEPT_ROWS
from fitgate.store._schema import SCHEMA, Record
from fitgate.store._segments import SegmentWriter
from fitgate.store._writer import PointsGoneError

_NAMES = ("acc", "loss")
_STEPS = _KEPT_ROWS // len(_NAMES)  # as many fill a row group


def _records(first: int, last: int) -> list[Record]:
    return [Record("train", s, s, 0, 1_700_000_000_000_000 + 1000 * s, _NAMES, [s + 0.25, -s - 0.5]) for s in range(first, last)]


def _by_pyarrow(path: Path) -> pa.Table:
    return pq.ParquetFile(path, page_checksum_verification=True).read()


def _by_duckdb(path: Path) -> pa.Table:
    table: pa.Table = duckdb.read_parquet(str(path)).to_arrow_table()
    return table


def _by_polars(path: Path) -> pa.Table:
    return pl.read_parquet(path).to_arrow()


@pytest.mark.parametrize("read", [_by_pyarrow, _by_duckdb, _by_polars])
def test_every_reader_finds_kept_row_groups_and_the_newest(tmp_path: Path, read: Callable[[Path], pa.Table]) -> None:
    """Several row groups, one written anew and one point added: all columns as they were given, and each group sorted."""
    writer = SegmentWriter(tmp_path, run_id="r", attempt=1)
    cuts = [0, 10, _STEPS, 2 * _STEPS + 7, 2 * _STEPS + 9, 4 * _STEPS, 4 * _STEPS + 1]
    for first, last in pairwise(cuts):
        writer.write(_records(first, last))
        writer.flush()
    (path,) = tmp_path.iterdir()
    table = read(path).select(SCHEMA.names).cast(SCHEMA).sort_by([("name", "ascending"), ("step", "ascending")])
    steps = list(range(cuts[-1]))
    assert pq.read_metadata(path).num_row_groups == 4
    assert table["name"].to_pylist() == ["acc"] * len(steps) + ["loss"] * len(steps)
    assert table["step"].to_pylist() == steps * 2 == table["global_step"].to_pylist()
    assert table["value"].to_pylist() == [s + 0.25 for s in steps] + [-s - 0.5 for s in steps]
    assert set(table["attempt"].to_pylist()) == {1}
    assert set(table["run_id"].to_pylist()) == {"r"}
    file = pq.ParquetFile(path)
    for number in range(4):
        group = file.read_row_group(number).to_pydict()
        assert sorted(zip(group["name"], group["step"], strict=True)) == list(zip(group["name"], group["step"], strict=True))


def test_the_footer_tells_of_each_row_group_what_it_holds(tmp_path: Path) -> None:
    """Statistics are those of the row group, so that a query for late steps skips the early ones; DuckDB agrees with the whole."""
    writer = SegmentWriter(tmp_path, run_id="r")
    for first in range(0, 3 * _STEPS, _STEPS):
        writer.write(_records(first, first + _STEPS))
        writer.flush()
    (path,) = tmp_path.iterdir()
    query = "select row_group_id, stats_min, stats_max from parquet_metadata(?) where path_in_schema = 'step' order by all"
    ranges = duckdb.connect().execute(query, [str(path)]).fetchall()
    assert ranges == [(i, str(i * _STEPS), str((i + 1) * _STEPS - 1)) for i in range(3)]
    late = duckdb.connect().execute(f"select count(*), sum(value) from '{path}' where step >= {2 * _STEPS} and name = 'acc'")  # noqa: S608
    assert late.fetchall() == [(_STEPS, sum(s + 0.25 for s in range(2 * _STEPS, 3 * _STEPS)))]


def test_what_is_kept_is_not_written_otherwise(tmp_path: Path) -> None:
    """A reader with an old footer in hand finds the kept row groups where they were."""
    writer = SegmentWriter(tmp_path, run_id="r")
    writer.write(_records(0, _STEPS))
    writer.flush()
    (path,) = tmp_path.iterdir()
    before, metadata = path.read_bytes(), pq.read_metadata(path)
    writer.write(_records(_STEPS, _STEPS + 5))
    writer.flush()
    end = len(before) - metadata.serialized_size - 16
    assert path.read_bytes()[:end] == before[:end]
    assert pq.read_metadata(path).row_group(0).to_dict() == metadata.row_group(0).to_dict()


def test_a_step_of_a_kept_row_group_logged_again(tmp_path: Path) -> None:
    """It gets its new value, and no second point."""
    writer = SegmentWriter(tmp_path, run_id="r")
    for first in range(0, 3 * _STEPS, _STEPS):
        writer.write(_records(first, first + _STEPS))
        writer.flush()
    writer.write([Record("train", 3, 3, 0, 1_700_000_000_000_000, ("loss",), [99.0])])
    writer.flush()
    writer.write(_records(3 * _STEPS, 3 * _STEPS + 1))
    writer.flush()
    (path,) = tmp_path.iterdir()
    query = "select name, count(*), count(distinct step), max(value) from read_parquet(?) group by name order by name"
    found = duckdb.connect().execute(query, [str(path)]).fetchall()
    points = 3 * _STEPS + 1
    assert found == [("acc", points, points, points - 1 + 0.25), ("loss", points, points, 99.0)]


def test_a_file_that_was_removed_is_written_whole(tmp_path: Path) -> None:
    """With what is kept, though nothing new has come to stand behind it."""
    writer = SegmentWriter(tmp_path, run_id="r")
    for first in range(0, 2 * _STEPS, _STEPS):
        writer.write(_records(first, first + _STEPS))
        writer.flush()
    (path,) = tmp_path.iterdir()
    path.unlink()
    with pytest.raises(PointsGoneError, match="written again, with all points"):
        writer.flush()
    assert pq.read_table(path).num_rows == 2 * _KEPT_ROWS


def test_a_file_left_for_good_is_sorted_as_a_whole(tmp_path: Path) -> None:
    """However many row groups it had while it grew."""
    writer = SegmentWriter(tmp_path, run_id="r")
    for first in range(0, 3 * _STEPS, _STEPS):
        writer.write(_records(first, first + _STEPS))
        writer.flush()
    writer.close()
    (path,) = tmp_path.iterdir()
    table = pq.read_table(path).to_pydict()
    order = list(zip(table["name"], table["step"], strict=True))
    assert order == sorted(order)
    assert len(order) == 3 * _KEPT_ROWS


def test_points_that_come_after_the_file_was_left(tmp_path: Path) -> None:
    """As when a test follows a fit: all that was there stays, and the file grows on."""
    writer = SegmentWriter(tmp_path, run_id="r")
    cuts = [0, _STEPS, 2 * _STEPS, 2 * _STEPS + 5]
    for first, last in pairwise(cuts):
        writer.write(_records(first, last))
        writer.flush()
    writer.close()
    for step in range(cuts[-1], cuts[-1] + 3):
        writer.write(_records(step, step + 1))
        writer.flush()
    query = "select name, count(*), count(distinct step) from read_parquet(?) group by name order by name"
    points = cuts[-1] + 3
    found = duckdb.connect().execute(query, [f"{tmp_path}/*.parquet"]).fetchall()
    assert found == [("acc", points, points), ("loss", points, points)]


def test_points_that_a_sealed_file_takes_leave_the_newest_as_it_is(tmp_path: Path) -> None:
    """They come alone, after a row group that is kept, and the newest file is gone: that is told, and no point is missing at the end."""
    writer = SegmentWriter(tmp_path, run_id="r", sealed_rows=_KEPT_ROWS + 1000)
    sealed = [Record("train", s, s, 0, 1_700_000_000_000_000, ("acc",), [float(s)]) for s in range(_KEPT_ROWS + 1000)]
    newest = [Record("train", s, s, 0, 1_700_000_000_000_000, ("loss",), [float(s)]) for s in range(_KEPT_ROWS)]
    for records in (sealed, newest):
        writer.write(records)
        writer.flush()
    (tmp_path / "a000-r000-000001.parquet").unlink()
    writer.write([Record("train", 3, 3, 0, 1_700_000_000_000_000, ("acc",), [99.0])])
    with pytest.raises(PointsGoneError, match="files were removed; they are written again"):
        writer.flush()
    assert writer.waiting == 0
    table = duckdb.execute(f"select name, count(*), max(value) filter (step = 3) from '{tmp_path}/*.parquet' group by name order by name")  # noqa: S608 - a path of our own
    assert table.fetchall() == [("acc", len(sealed), 99.0), ("loss", len(newest), 3.0)]


@pytest.mark.parametrize(("at_once", "flushes"), [(1, 40), (10, 40), (_STEPS, 20)])
def test_an_old_footer_with_new_data_is_an_error_or_right(tmp_path: Path, at_once: int, flushes: int) -> None:
    """As a reader meets it that opens the file twice and finds it replaced: never other values than were there."""
    writer = SegmentWriter(tmp_path, run_id="r")
    right = errors = 0
    before: tuple[pq.FileMetaData, pa.Table] | None = None
    for flush in range(flushes):
        steps = range(flush * at_once, (flush + 1) * at_once)
        writer.write([Record("train", s, s, 0, 1000 * s, _NAMES, [float(s), float(s)]) for s in steps])
        writer.flush()
        (path,) = tmp_path.iterdir()
        if before is not None:
            metadata, table = before
            try:
                found = pq.ParquetFile(path, metadata=metadata).read()
            except (OSError, pa.ArrowException):
                errors += 1
            else:
                assert found.equals(table)
                right += 1
        before = pq.read_metadata(path), pq.read_table(path, partitioning=None)
    assert right + errors == flushes - 1
    assert errors if at_once < _STEPS else right
