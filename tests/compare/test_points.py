"""What is read of one metric is what DuckDB finds in the same files, and no more than needed is read."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

import fitgate
from fitgate.compare._points import read_names, read_points
from fitgate.store._run_file import Attempt, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

BEGAN = datetime(2026, 11, 23, 8, 40, tzinfo=UTC)


def random_run(root: Path, seed: int) -> fitgate.Run:
    """A run of one to three attempts, two ranks, several files, metrics in several stages, and values that are not finite."""
    rng = np.random.default_rng(seed)
    resumed = [None, *(int(step) for step in rng.integers(0, 120, size=rng.integers(0, 3)))]
    attempts = [Attempt(number=n, started=BEGAN + timedelta(hours=n), resumed_step=step) for n, step in enumerate(resumed)]
    for attempt in attempts:
        for rank in (0, 1):
            writer = SegmentWriter(root / "r" / "metrics", run_id="r", attempt=attempt.number, rank=rank, sealed_rows=90)
            first = max((attempt.resumed_step or 0) - 5, 0)  # steps that an earlier attempt has too
            began = int(attempt.started.timestamp() * 1e6)
            for step in range(first, first + int(rng.integers(60, 120))):
                values = rng.choice([math.nan, math.inf, -math.inf, 0.5, *rng.normal(size=12)], size=3).tolist()
                stage = "validate" if step % 7 == 0 else "train"
                writer.write([Record(stage, step, step + 1, step // 10, began + step, ("a_loss", "b_acc", "loss"), values)])
                if step % 16 == 0:
                    writer.flush()
            writer.close()
    info = RunInfo(id="r", name="r", state="completed", created=BEGAN, updated=BEGAN, attempts=tuple(attempts))
    write_run_info(root / "r", info)
    return fitgate.Store(str(root)).run("r")


def by_duckdb(root: Path, run: fitgate.Run, metric: str, stage: str) -> list[tuple[Any, ...]]:
    """(step, value, global_step) of the points that count, by the rule as SQL says it."""
    masks = " ".join(
        f"and not (attempt < {a.number} and global_step > {a.resumed_step})" for a in run.info.attempts if a.resumed_step is not None
    )
    query = f"""
        select step, value, global_step from read_parquet('{root}/r/metrics/*.parquet')
        where rank = 0 and name = '{metric}' and stage = '{stage}' {masks}
        qualify attempt = max(attempt) over (partition by step) order by step
    """  # noqa: S608 - names of this test's own
    return duckdb.connect().execute(query).fetchall()


@pytest.mark.parametrize("seed", range(8))
def test_the_points_that_count_are_duckdbs(tmp_path: Path, seed: int) -> None:
    """Best, last and number of points, over resumes, ranks, stages and files."""
    run = random_run(tmp_path, seed)
    for metric in ("a_loss", "b_acc", "loss"):
        points = read_points(run, metric)
        for stage in ("train", "validate"):
            rows = by_duckdb(tmp_path, run, metric, stage)
            series = points.series[stage]
            finite = [(value, step) for step, value, _ in rows if math.isfinite(value)]
            assert (series.count, series.non_finite) == (len(rows), len(rows) - len(finite))
            assert series.highest is not None
            assert series.lowest is not None
            high, low = max(v for v, _ in finite), min(v for v, _ in finite)
            assert (series.highest.value, series.highest.step) == (high, min(s for v, s in finite if v == high))
            assert (series.lowest.value, series.lowest.step) == (low, min(s for v, s in finite if v == low))
            assert (series.last.step, series.last.global_step) == (rows[-1][0], rows[-1][2])
            assert series.highest.global_step == next(g for step, _, g in rows if step == series.highest.step)
            assert series.last.value == pytest.approx(rows[-1][1], nan_ok=True)
            np.testing.assert_array_equal(series.curve.steps, [global_step for _, _, global_step in rows])


@pytest.mark.parametrize("seed", range(8))
def test_how_far_a_run_got_is_duckdbs(tmp_path: Path, seed: int) -> None:
    """Steps that count, epochs of the last attempt, and the time at work without the hours between attempts."""
    run = random_run(tmp_path, seed)
    points = read_points(run, "loss")
    files = f"read_parquet('{tmp_path}/r/metrics/*.parquet')"
    masks = " ".join(
        f"and not (attempt < {a.number} and global_step > {a.resumed_step})" for a in run.info.attempts if a.resumed_step is not None
    )
    query = f"select max(global_step) filter (where true {masks}), max(epoch) filter (where attempt = (select max(attempt) from {files})) from {files}"  # noqa: S608
    row = duckdb.connect().execute(query).fetchone()
    assert row is not None
    assert (points.steps, points.epochs) == (row[0], row[1] + 1)
    query = f"select attempt, max(epoch_us(wall_time)) from {files} group by attempt"  # noqa: S608
    began = {a.number: a.started.timestamp() for a in run.info.attempts}
    expected = sum(last / 1e6 - began[number] for number, last in duckdb.connect().execute(query).fetchall())
    assert points.seconds == pytest.approx(expected, abs=1e-5)


def test_names_are_duckdbs(tmp_path: Path) -> None:
    """Every (stage, name) of the files, from statistics or from the columns."""
    run = random_run(tmp_path, 3)
    query = f"select distinct stage, name from read_parquet('{tmp_path}/r/metrics/*.parquet')"  # noqa: S608
    assert read_names(run) == set(duckdb.connect().execute(query).fetchall())


def test_only_row_groups_that_can_hold_the_metric_are_read(tmp_path: Path) -> None:
    """Bytes of another metric's row group may be broken: this one still reads, and the other is named as damaged."""
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r")
    for name in ("a", "z"):
        writer.write([Record("train", s, s, 0, s, (name,), (float(s),)) for s in range(40_000)])
    writer.close()
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="completed", created=BEGAN, updated=BEGAN))
    (path,) = (tmp_path / "r" / "metrics").glob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups > 1
    first = metadata.row_group(0).column(0)
    start = min(metadata.row_group(0).column(i).data_page_offset for i in range(metadata.num_columns))
    data = bytearray(path.read_bytes())
    end = metadata.row_group(1).column(0).dictionary_page_offset or first.data_page_offset
    data[start:end] = b"\xff" * (end - start)
    path.write_bytes(bytes(data))
    run = fitgate.Store(str(tmp_path)).run("r")
    assert read_points(run, "z").series["train"].count == 40_000
    assert path.name in str(read_points(run, "a").problem)


def test_a_truncated_file_is_a_problem_that_names_it(tmp_path: Path) -> None:
    """One damaged run must not end a comparison of a thousand."""
    run = random_run(tmp_path, 0)
    path = max((tmp_path / "r" / "metrics").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    points = read_points(run, "loss")
    assert points.problem is not None
    assert path.name in points.problem
    assert not points.series


def test_any_fsspec_store_is_read(tmp_path: Path) -> None:
    """The same from a file system that is no disk."""
    local = random_run(tmp_path, 1)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/compare-store", recursive=True)
    run = fitgate.Store("memory://compare-store").run("r")
    there, here = read_points(run, "loss"), read_points(local, "loss")
    assert there.series["train"].highest == here.series["train"].highest
    assert (there.steps, there.epochs, there.seconds) == (here.steps, here.epochs, here.seconds)
    assert read_names(run) == read_names(local)


def test_a_run_without_files_has_no_points(tmp_path: Path) -> None:
    """It has begun, and nothing is on the disk yet."""
    (tmp_path / "r").mkdir()
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="running", created=BEGAN, updated=BEGAN))
    points = read_points(fitgate.Store(str(tmp_path)).run("r"), "loss")
    assert (points.series, points.steps, points.epochs, points.seconds, points.problem) == ({}, None, None, None, None)


def test_a_long_curve_is_drawn_as_means_of_equal_stretches(tmp_path: Path) -> None:
    """NumPy's means of the finite values of each stretch; a stretch of NaN stays a gap."""
    values = np.random.default_rng(0).normal(size=30_000)
    values[12_000:13_000] = math.nan
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r")
    writer.write([Record("train", s, s, 0, s, ("loss",), (v,)) for s, v in enumerate(values.tolist())])
    writer.close()
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="completed", created=BEGAN, updated=BEGAN))
    curve = read_points(fitgate.Store(str(tmp_path)).run("r"), "loss").series["train"].curve
    parts = [part[np.isfinite(part)] for part in np.array_split(values, len(curve.values))]
    assert curve.values.tolist() == pytest.approx([float(part.mean()) if len(part) else math.nan for part in parts], nan_ok=True)
    assert np.isnan(curve.values).sum() == 10
    assert np.all(np.diff(curve.steps) > 0)
