"""Parquet segments, read by tools that aren't ours."""

from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq

from fitgate.store._schema import SCHEMA, Record
from fitgate.store._segments import SegmentWriter


def _record(step: int, names: tuple[str, ...] = ("loss", "acc"), stage: str = "train", scale: float = 1.0) -> Record:
    values = [scale * (step + i / 10) for i, _ in enumerate(names)]
    return Record(stage, step, step + 1, step // 10, 1_700_000_000_000_000 + step, names, values)


def _rows(folder: Path) -> list[tuple[object, ...]]:
    query = f"select stage, name, step, value from read_parquet('{folder}/*.parquet') order by all"  # noqa: S608
    return duckdb.connect().execute(query).fetchall()


def test_every_point_once_after_each_flush_and_seal(tmp_path: Path) -> None:
    """DuckDB's glob sees all points once, whichever files they are in."""
    writer = SegmentWriter(tmp_path, run_id="r", sealed_rows=50)
    for step in range(200):
        writer.write([_record(step)])
        if step % 7 == 0:
            writer.flush()
            assert len(_rows(tmp_path)) == 2 * (step + 1)
    writer.close()
    expected = sorted([("train", "acc", s, s + 0.1) for s in range(200)] + [("train", "loss", s, float(s)) for s in range(200)])
    assert _rows(tmp_path) == expected
    assert len(list(tmp_path.iterdir())) > 3, "sealed files and nothing temporary"


def test_a_step_logged_again_replaces_its_point(tmp_path: Path) -> None:
    """One point per step: the last logged stands, in the newest file and in sealed ones."""
    writer = SegmentWriter(tmp_path, run_id="r", sealed_rows=20)
    for step in range(30):
        writer.write([_record(step)])
        writer.flush()
    writer.write([_record(3, scale=100.0), _record(29, scale=100.0), _record(29, scale=200.0)])
    writer.flush()
    rows = {(name, step): value for _, name, step, value in _rows(tmp_path)}
    assert len(_rows(tmp_path)) == 60
    assert rows["loss", 3] == 300.0
    assert rows["loss", 29] == 5800.0
    assert rows["loss", 4] == 4.0


def test_schema_encodings_and_order(tmp_path: Path) -> None:
    """Types, encodings and the order by name are what the schema promises; polars agrees with pyarrow."""
    writer = SegmentWriter(tmp_path, run_id="r", attempt=2, rank=1)
    writer.write([_record(step, stage=stage) for step in range(20) for stage in ("train", "validate")])
    writer.close()
    (path,) = tmp_path.iterdir()
    table = pq.read_table(path)
    assert table.schema.equals(SCHEMA)
    assert table["name"].to_pylist() == sorted(map(str, table["name"].to_pylist()))
    assert set(table["attempt"].to_pylist()) == {2}
    assert set(table["rank"].to_pylist()) == {1}
    group = pq.ParquetFile(path).metadata.row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)}
    assert all("DELTA_BINARY_PACKED" in encodings[c] for c in ("attempt", "step", "global_step", "epoch", "wall_time"))
    assert "RLE_DICTIONARY" in encodings["name"]
    assert pl.read_parquet(path).to_arrow()["value"].to_pylist() == table["value"].to_pylist()


def test_non_finite_values_are_kept(tmp_path: Path) -> None:
    """NaN and infinities are evidence."""
    writer = SegmentWriter(tmp_path, run_id="r")
    values = [float("nan"), float("inf"), float("-inf")]
    writer.write([Record("train", i, i, 0, i, ("loss",), [v]) for i, v in enumerate(values)])
    writer.close()
    assert [str(r[3]) for r in _rows(tmp_path)] == ["nan", "inf", "-inf"]
