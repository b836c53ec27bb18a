"""Reading a store: any tool gets the same table, any fsspec URL will do, and what was not asked for is not read."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import fitgate
from fitgate.store import SCHEMA
from fitgate.store._run_file import Attempt, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

NOW = datetime(2026, 11, 23, 8, 40, 1, tzinfo=UTC)


def _records(steps: range, factor: float = 1.0) -> Iterator[Record]:
    for s in steps:
        yield Record("train", s, s + 1, s // 10, 1_700_000_000_000_000 + 1000 * s, ("loss", "acc"), (factor * s, factor * s / 3))
        if s % 10 == 9:
            yield Record(
                "validate", s, s + 1, s // 10, 1_700_000_000_000_000 + 1000 * s, ("acc", "val_loss"), (factor * s / 2, -factor * s)
            )


def _write(run_dir: Path, attempts: list[tuple[int | None, range]] | None = None, rank: int = 0, sealed_rows: int = 100) -> None:
    """A run with a history of (resumed_step, steps)."""
    history = attempts or [(None, range(200))]
    for number, (_, steps) in enumerate(history):
        writer = SegmentWriter(run_dir / "metrics", run_id=run_dir.name, attempt=number, rank=rank, sealed_rows=sealed_rows)
        writer.write(list(_records(steps, factor=10.0**number)))
        writer.close()
    starts = tuple(Attempt(number=n, started=NOW, resumed_step=resumed) for n, (resumed, _) in enumerate(history))
    write_run_info(run_dir, RunInfo(id=run_dir.name, name="n", state="running", created=NOW, updated=NOW, attempts=starts))


def _rows(table: Any) -> list[tuple[object, ...]]:
    return sorted(tuple(row.values()) for row in table.cast(SCHEMA).to_pylist())


def test_every_reader_gives_the_same_table(tmp_path: Path) -> None:
    """pyarrow, DuckDB, Polars and pandas, over the documented glob; `Run.metrics` has the same points."""
    _write(tmp_path / "r")
    glob = f"{tmp_path}/*/metrics/*.parquet"
    expected = _rows(fitgate.Store(tmp_path).run("r").metrics())
    assert len(expected) == 440
    assert _rows(pq.read_table(tmp_path / "r" / "metrics")) == expected
    assert _rows(ds.dataset(tmp_path / "r" / "metrics").to_table()) == expected
    assert _rows(duckdb.connect().execute(f"select * from read_parquet('{glob}')").to_arrow_table()) == expected  # noqa: S608
    assert _rows(pl.read_parquet(glob).to_arrow()) == expected
    frames = [pd.read_parquet(path) for path in (tmp_path / "r" / "metrics").iterdir()]
    assert _rows(pa.Table.from_pandas(pd.concat(frames), preserve_index=False)) == expected


def _asked_again(read: Callable[[], Any]) -> Any:
    """DuckDB opens a file twice in one query: replaced in between, here two hundred times a second, it is an error, and no wrong answer."""
    for _ in range(20):
        with contextlib.suppress(duckdb.Error):
            return read()
    return read()


def test_every_reader_sees_whole_curves_while_the_run_is_recorded(tmp_path: Path) -> None:
    """At any instant steps from 0 to the newest, each once, in both metrics.

    Polars is left out: it takes the number of rows from a first opening and the rows from a second, so a file that is replaced
    in between comes short of its newest rows. DuckDB mostly raises then, and seldom does the same: the newest steps of one
    metric may lack, and nothing else.
    """
    run = fitgate.start_run(tmp_path, flush_every_s=0.005, tensorboard=False)
    run.log_metrics({"loss": 0.0, "acc": 0.0}, step=0)
    run.flush()
    stop = threading.Event()

    def train() -> None:
        for step in range(1, 1_000_000):
            run.log_metrics({"loss": step, "acc": step}, step=step)
            if stop.wait(0.0002):
                return

    trainer = threading.Thread(target=train)
    trainer.start()
    glob = f"{tmp_path}/*/metrics/*.parquet"
    query = f"select name, step from read_parquet('{glob}')"  # noqa: S608
    readers = {
        "DuckDB": lambda: _asked_again(lambda: duckdb.connect().execute(query).to_arrow_table()),
        "pyarrow": lambda: pq.read_table(run.path / "metrics", columns=["name", "step"]),
        "pandas": lambda: pa.Table.from_pandas(pd.read_parquet(run.path / "metrics", columns=["name", "step"])),
        "fitgate": lambda: fitgate.Store(tmp_path).run(run.id).metrics(),
    }
    try:
        newest = dict.fromkeys(readers, -1)
        for _ in range(8):
            for reader, read in readers.items():
                answer: Any = read()  # type: ignore[no-untyped-call]  # pandas' own
                table = answer.to_pylist()
                steps = {name: sorted(row["step"] for row in table if row["name"] == name) for name in ("loss", "acc")}
                assert all(found == list(range(len(found))) for found in steps.values()), reader
                assert reader == "DuckDB" or steps["loss"] == steps["acc"], reader
                assert max(map(len, steps.values())) > newest[reader], f"{reader} sees less than before"
                newest[reader] = max(map(len, steps.values())) - 1
            time.sleep(0.02)
    finally:
        stop.set()
        trainer.join()
        run.close()


@pytest.mark.parametrize("names", [None, ["acc"], ["loss", "val_loss"], ["nothing"], []])
@pytest.mark.parametrize("stage", [None, "train", "validate", "test"])
def test_what_is_asked_for_is_what_comes(tmp_path: Path, names: list[str] | None, stage: str | None) -> None:
    """By names and stage, sorted, the same as a filter over everything."""
    _write(tmp_path / "r")
    run = fitgate.Store(tmp_path).run("r")
    wanted = [
        row for row in run.metrics().to_pylist() if (names is None or row["name"] in names) and (stage is None or row["stage"] == stage)
    ]
    table = run.metrics(names, stage)
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == wanted
    assert wanted == sorted(wanted, key=lambda row: (row["name"], row["stage"], row["step"]))
    assert run.metrics(names, stage, columns=["value", "stage"]).to_pylist() == [{"value": r["value"], "stage": r["stage"]} for r in wanted]


def test_columns_that_there_are_not_are_named(tmp_path: Path) -> None:
    """With those that there are."""
    _write(tmp_path / "r")
    run = fitgate.Store(tmp_path).run("r")
    with pytest.raises(ValueError, match=r"no column 'values'; expected any of run_id, attempt"):
        run.metrics(columns=["values"])
    with pytest.raises(TypeError, match=r"names must be a list such as \['loss'\]"):
        run.metrics("loss")


def test_a_stage_or_rank_that_can_not_be_is_no_empty_table(tmp_path: Path) -> None:
    """`val` is no stage; nothing found would look like nothing recorded."""
    _write(tmp_path / "r")
    run = fitgate.Store(tmp_path).run("r")
    for read in (run.metrics, run.last_values):
        with pytest.raises(ValueError, match="stage must be 'train', 'validate', 'test', or None for all, got 'val'"):
            read(stage="val")
    with pytest.raises(TypeError, match="rank must be a whole number, got str: 'all'"):
        run.metrics(rank="all")  # type: ignore[arg-type]  # on purpose


def test_only_the_asked_rank_is_read(tmp_path: Path) -> None:
    """Each rank has files of its own."""
    _write(tmp_path / "r")
    _write(tmp_path / "r", [(None, range(30))], rank=3)
    run = fitgate.Store(tmp_path).run("r")
    assert run.metrics(["loss"], rank=3)["step"].to_pylist() == list(range(30))
    assert run.metrics(["loss"])["step"].to_pylist() == list(range(200))
    assert run.metrics(rank=1).num_rows == 0


def test_what_five_resumes_leave(tmp_path: Path) -> None:
    """The effective points are what a query by hand over the same rule gives; masked points stay in the files."""
    history = [(None, range(50)), (30, range(30, 60)), (45, range(45, 50)), (20, range(20, 70)), (70, range(70, 90)), (60, range(60, 61))]
    _write(tmp_path / "r", history, sealed_rows=40)
    query = f"""
        with points as (select * from read_parquet('{tmp_path}/r/metrics/*.parquet')),
        starts(number, resumed) as (values (1, 30), (2, 45), (3, 20), (4, 70), (5, 60))
        select * from points p
        where not exists (select 1 from starts where number > p.attempt and p.global_step > resumed)
        qualify attempt = max(attempt) over (partition by stage, name, step)
        order by name, stage, step
    """  # noqa: S608
    found: Any = duckdb.connect().execute(query).to_arrow_table()
    expected = found.cast(SCHEMA)
    run = fitgate.Store(tmp_path).run("r")
    assert run.metrics().equals(expected)
    assert run.metrics(["val_loss"], columns=["step", "attempt"]).to_pylist() == [
        {"step": r["step"], "attempt": r["attempt"]} for r in expected.to_pylist() if r["name"] == "val_loss"
    ]
    (count,) = duckdb.connect().execute(f"select count(*) from read_parquet('{tmp_path}/r/metrics/*.parquet')").fetchone() or (0,)  # noqa: S608
    assert count > run.metrics().num_rows


def test_any_fsspec_url(tmp_path: Path) -> None:
    """memory:// and file:// give what the local path gives; what is written later is seen."""
    _write(tmp_path / "r")
    expected = fitgate.Store(tmp_path).run("r").metrics()
    assert fitgate.Store(f"file://{tmp_path}").latest().metrics().equals(expected)
    root = f"memory://{uuid4().hex}/runs"
    memory, target = fsspec.core.url_to_fs(root)
    memory.put(str(tmp_path / "r"), f"{target}/r", recursive=True)
    store = fitgate.Store(root)
    assert store.latest().metrics().equals(expected)
    assert store.latest().metrics(["loss"], columns=["value"]).num_rows == 200
    memory.put(str(tmp_path / "r" / "run.json"), f"{target}/s/run.json")
    assert [run.path.rsplit("/", 1)[1] for run in store.runs()] == ["r", "s"]
    (segment, *_) = memory.ls(f"{target}/r/metrics", detail=False)
    memory.pipe_file(segment, b"PAR1")
    with pytest.raises(fitgate.StoreError, match=segment):
        store.run("r").metrics()


def test_a_root_with_odd_letters(tmp_path: Path) -> None:
    """Brackets and stars in a path are no patterns."""
    root = tmp_path / "a[1]*?"
    with fitgate.start_run(root) as run:
        run.log_metric("loss", 1.0)
    assert fitgate.Store(root).latest().id == run.id
    assert fitgate.Store(str(root)).latest().metrics().num_rows == 1


def test_a_thousand_runs_newest_first(tmp_path: Path) -> None:
    """With what else lies about in the folder."""
    (tmp_path / "notes.txt").write_text("no run")
    (tmp_path / "empty").mkdir()
    for i in range(1000):
        (tmp_path / f"r{i}").mkdir()
        created = NOW + timedelta(seconds=i)
        write_run_info(tmp_path / f"r{i}", RunInfo(id=f"r{i}", name="n", state="completed", created=created, updated=created))
    store = fitgate.Store(tmp_path)
    assert [run.id for run in store.runs()] == [f"r{i}" for i in reversed(range(1000))]
    assert store.run("n").id == store.run("latest").id == "r999"


def test_five_thousand_metrics(tmp_path: Path) -> None:
    """Many names in few files; one of them is read alone."""
    names = tuple(f"layer.{i:04d}.grad_norm" for i in range(5000))
    run_dir = tmp_path / "r"
    writer = SegmentWriter(run_dir / "metrics", run_id="r")
    for step in range(60):
        writer.write([Record("train", step, step, 0, step * 1_000_000, names, [step + i / 1e4 for i in range(5000)])])
        if step % 20 == 0:
            writer.flush()
    writer.close()
    write_run_info(run_dir, RunInfo(id="r", name="n", state="running", created=NOW, updated=NOW))
    files = list((run_dir / "metrics").iterdir())
    assert len(files) == 3
    assert max(pq.read_metadata(path).num_row_groups for path in files) < 40
    run = fitgate.Store(tmp_path).run("r")
    assert run.metrics([names[1234]])["value"].to_pylist() == pytest.approx([step + 0.1234 for step in range(60)])
    assert run.metrics().num_rows == 300_000


def test_one_curve_is_read_without_the_others(tmp_path: Path) -> None:
    """Row groups end where a long curve ends, so their statistics rule all others out."""
    writer = SegmentWriter(tmp_path, run_id="r")
    names = tuple(f"m{i:02d}" for i in range(20))
    writer.write([Record("train", s, s, 0, s * 1000, names, [float(s)] * 20) for s in range(6400)])
    writer.close()
    (path,) = tmp_path.iterdir()
    metadata = pq.read_metadata(path)
    spans = [metadata.row_group(g).column(metadata.schema.names.index("name")).statistics for g in range(metadata.num_row_groups)]
    assert [(s.min, s.max) for s in spans if s is not None] == [(name, name) for name in names]


def test_run_json_is_what_a_plain_json_reader_reads(tmp_path: Path) -> None:
    """Identity, state and attempts under their documented names."""
    with fitgate.start_run(tmp_path, name="x", hparams={"lr": 0.1}) as run:
        pass
    content = json.loads((run.path / "run.json").read_text())
    assert {"id": run.id, "name": "x", "state": "completed", "hparams": {"lr": 0.1}, "lost_points": 0}.items() <= content.items()
    assert [attempt["number"] for attempt in content["attempts"]] == [0]
