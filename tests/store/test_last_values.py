"""The last value of each metric: DuckDB's, and without reading the curves."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

import fitgate
from fitgate.errors import StoreError
from fitgate.store._run_file import Attempt, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

BEGAN = datetime(2026, 11, 23, 8, tzinfo=UTC)


def _run(root: Path, seed: int, *, resumed: list[int | None] | None = None, rows: int = 60) -> fitgate.Run:
    """Attempts of a few small files each: two stages, two ranks, NaN among the values, late points, steps that stand still or fall."""
    rng = np.random.default_rng(seed)
    attempts = [Attempt(number=n, started=BEGAN + timedelta(hours=n), resumed_step=step) for n, step in enumerate(resumed or [None])]
    for attempt in attempts:
        for rank in (0, 1):
            writer = SegmentWriter(root / "r" / "metrics", run_id="r", attempt=attempt.number, rank=rank, sealed_rows=rows)
            first = attempt.resumed_step or 0
            for step in range(first, first + int(rng.integers(40, 150))):
                stage = "validate" if step % 7 == 0 else "train"
                names = ("a_loss", "acc", "only_here") if step == first + 3 else ("a_loss", "acc")
                values = rng.choice([*rng.normal(size=5), np.nan], size=len(names))
                writer.write([Record(stage, step, step // 2, 0, step, names, values.tolist())])
                if step % 11 == 0:
                    writer.write([Record("train", max(step - 30, 0), step // 2, 0, step, ("late",), (float(step),))])
                writer.write([Record("train", 10_000 - abs(step - first - 25), step // 2, 0, step, ("swept",), (float(step),))])
                if step % 13 == 0:
                    writer.flush()
            writer.close()
    info = RunInfo(id="r", name="r", state="completed", created=BEGAN, updated=BEGAN, attempts=tuple(attempts))
    write_run_info(root / "r", info)
    return fitgate.Store(str(root)).run("r")


def _by_duckdb(root: Path, run: fitgate.Run) -> dict[tuple[str, str], float]:
    masks = " ".join(
        f"and not (attempt < {a.number} and global_step > {a.resumed_step})" for a in run.info.attempts if a.resumed_step is not None
    )
    query = f"""
        select stage, name, value from read_parquet('{root}/r/metrics/*.parquet') where rank = 0 {masks}
        qualify row_number() over (partition by stage, name order by step desc, attempt desc) = 1 order by name, stage
    """  # noqa: S608 - a path of our own
    return {(stage, name): value for stage, name, value in duckdb.connect().execute(query).fetchall()}


@pytest.mark.parametrize("resumed", [None, [None, None], [None, 20], [None, 30, 10]])
@pytest.mark.parametrize("seed", range(4))
def test_last_values_are_duckdbs(tmp_path: Path, seed: int, resumed: list[int | None] | None) -> None:
    """In one attempt of many files, in two that don't go on from each other, and over resumes."""
    run = _run(tmp_path, seed, resumed=resumed)
    expected = _by_duckdb(tmp_path, run)
    found = run.last_values()
    assert list(found) == list(expected)
    np.testing.assert_array_equal(list(found.values()), list(expected.values()))
    assert run.last_values(["acc"], "validate") == pytest.approx({("validate", "acc"): expected["validate", "acc"]}, nan_ok=True)
    assert run.last_values(["nobody"]) == {}


def test_last_values_from_another_file_system(tmp_path: Path) -> None:
    """The same from a store in memory."""
    run = _run(tmp_path, 1)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/last-values", recursive=True)
    try:
        far = fitgate.Store("memory://last-values").run("r").last_values()
    finally:
        memory.rm("/last-values", recursive=True)
    np.testing.assert_array_equal(list(far.values()), list(run.last_values().values()))


def test_curves_are_not_read(tmp_path: Path) -> None:
    """Pages of older files may be spoilt: nobody looks at them. A footer that is spoilt is told, as by `metrics`."""
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r", sealed_rows=500)
    writer.write([Record("train", step, step + 1, 0, step, ("loss", "acc"), (1.0 / (step + 1), 0.5)) for step in range(1000)])
    writer.close()
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="completed", created=BEGAN, updated=BEGAN))
    run = fitgate.Store(str(tmp_path)).run("r")
    oldest, *_, newest = sorted((tmp_path / "r" / "metrics").glob("*.parquet"))
    pages = [pq.read_metadata(oldest).row_group(g).column(9) for g in range(pq.read_metadata(oldest).num_row_groups)]
    data = bytearray(oldest.read_bytes())
    for page in pages:
        start = page.dictionary_page_offset or page.data_page_offset
        data[start : start + page.total_compressed_size] = b"\xff" * page.total_compressed_size
    oldest.write_bytes(data)
    with pytest.raises(StoreError):
        run.metrics()
    assert run.last_values() == {("train", "acc"): 0.5, ("train", "loss"): 1 / 1000}
    newest.write_bytes(newest.read_bytes()[:-4])
    with pytest.raises(StoreError, match=newest.name):
        run.last_values()
