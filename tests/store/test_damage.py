"""Damaged files: a reader is told which and what to do, and never gets wrong points."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fitgate
from fitgate.store._evidence import BATCHES_FOLDER, SAMPLES, WEIGHT
from fitgate.store._parquet import encode
from fitgate.store._schema import BATCHES, Record
from fitgate.store._segments import SegmentWriter
from fitgate.store._writer import PointsGoneError


def _run(root: Path, steps: int = 300) -> tuple[fitgate.Run, list[Path]]:
    """A run of several files."""
    with fitgate.start_run(root, tensorboard=False) as run:
        pass
    writer = SegmentWriter(run.path / "metrics", run_id=run.id, sealed_rows=steps // 2)
    for step in range(steps):
        writer.write([Record("train", step, step, 0, step * 1_000_000, ("acc", "loss"), ((step * 0.618) % 1, 1 / (step + 1)))])
    writer.close()
    return fitgate.Store(root).run(run.id), sorted((run.path / "metrics").iterdir())


@pytest.mark.parametrize("left", [0, 3, 8, 100, -1, -8, -20])
def test_a_file_cut_short_is_named_with_what_to_do(tmp_path: Path, left: int) -> None:
    """From empty to all but the last byte; other runs are read as ever, and so is the rest of this one."""
    run, files = _run(tmp_path)
    with fitgate.start_run(tmp_path) as other:
        other.log_metric("loss", 1.0)
    whole = run.metrics().num_rows
    cut = files[1]
    cut.write_bytes(cut.read_bytes()[:left])
    with pytest.raises(fitgate.StoreError) as caught:
        run.metrics()
    assert str(cut) in str(caught.value)
    assert "move what is damaged out of its metrics folder" in str(caught.value)
    assert fitgate.Store(tmp_path).run(other.id).metrics().num_rows == 1
    shutil.move(cut, tmp_path / "away.parquet")
    assert 0 < run.metrics().num_rows < whole


def test_a_damaged_file_takes_no_other_point_with_it_while_recording(tmp_path: Path) -> None:
    """Values for old steps and new, in one flush: only what the damaged file may hold is lost, and counted."""
    writer = SegmentWriter(tmp_path / "metrics", run_id="r", sealed_rows=20)

    def log(steps: Iterable[int], scale: float = 1.0) -> None:
        writer.write([Record("train", step, step, 0, step, ("acc", "loss"), (scale * step, -scale * step)) for step in steps])
        writer.flush()

    for start in range(0, 60, 10):
        log(range(start, start + 10))
    files = sorted((tmp_path / "metrics").iterdir())
    files[2].write_bytes(files[2].read_bytes()[:-1])  # steps 20 to 29
    with pytest.raises(PointsGoneError, match=re.escape(f"{files[2]} can't be read")):
        log([5, 25, 45, *range(55, 80)], 3.0)
    log([24], 3.0)  # told once
    writer.close()
    assert (writer.lost, writer.waiting) == (4, 0)
    files[2].unlink()
    query = f"select name, step, value from read_parquet('{tmp_path}/metrics/*.parquet')"  # noqa: S608
    rows = duckdb.connect().execute(query).fetchall()
    again = {5, 45, *range(55, 80)}
    expected = {step: (3.0 if step in again else 1.0) * step for step in range(80) if not 20 <= step < 30}
    assert sorted(rows) == sorted(
        (name, step, sign * value) for step, value in expected.items() for name, sign in (("acc", 1), ("loss", -1))
    )


def test_all_damaged_files_are_named_at_once(tmp_path: Path) -> None:
    """Not one at each try."""
    run, files = _run(tmp_path)
    for path in files[:2]:
        path.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(fitgate.StoreError) as caught:
        run.metrics()
    assert [str(path) in str(caught.value) for path in files[:3]] == [True, True, False]


def test_a_file_that_is_no_segment_is_named(tmp_path: Path) -> None:
    """A whole Parquet file with other columns."""
    run, _ = _run(tmp_path)
    stray = Path(run.path) / "metrics" / "stray.parquet"
    pq.write_table(pa.table({"a": [1]}), stray)
    with pytest.raises(fitgate.StoreError, match=r"stray.parquet can't be read: it lacks columns of a segment"):
        run.metrics()


_FLIP = """
import random, sys
from pathlib import Path
import fitgate
from fitgate.compare._points import read_points
from fitgate.errors import StoreError
from fitgate.store._evidence import validation_at
from fitgate.store._resume import Standing
root, path, tries, readings = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(",")
run = fitgate.Store(root).latest()

def compared():
    points = read_points(run, "loss")
    if points.problem:
        raise StoreError(points.problem)
    return repr((points.steps, points.epochs, points.seconds, points.series))

def batches():
    found = validation_at(run, 7)
    return found.passes, {name: sums.tolist() for name, sums in found.sums.items()}

def standing():
    return Standing(Path(run.path), rank=0, resumed_step=120, first_step=60)

READ = {
    "all": lambda: run.metrics().to_pylist(),
    "one": lambda: run.metrics(["loss"], stage="train").to_pylist(),
    "last": run.last_values,
    "compared": compared,
    "resumed": lambda: [(b.stage, b.names, b.axes.tolist(), b.values.tolist()) for b in standing().ahead],
    "batches": batches,
}
rng = random.Random(7)
good = path.read_bytes()
expected = {name: READ[name]() for name in readings}
told = same = 0
every = range(len(good)) if tries == 0 else sorted(rng.sample(range(len(good)), tries))
for place in every:
    bad = bytearray(good)
    bad[place] ^= 1 << rng.randrange(8)
    path.write_bytes(bad)
    for name in readings:
        try:
            found = READ[name]()
        except StoreError as error:
            assert path.name in str(error)
            told += 1
        else:
            assert found == expected[name], f"bit flipped in byte {place} of {len(good)}: other points ({name}), and nobody says so"
            same += 1
print(told, same)
"""
_POINTS = "all,one,last,compared,resumed"


def _flip(root: Path, file: Path, *, tries: int, readings: str = _POINTS) -> tuple[int, int]:
    command = [sys.executable, "-c", _FLIP, str(root), str(file), str(tries), readings]
    # In a process of its own: what a damaged file does to a reader may be worse than an exception.
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told, same = map(int, done.stdout.split())
    return told, same


def _batches(root: Path) -> Path:
    """A run with one file of what stands behind a validation's values."""
    with fitgate.start_run(root, tensorboard=False) as run:
        pass
    writer = SegmentWriter(run.path / BATCHES_FOLDER, run_id=run.id, stages=frozenset({BATCHES}))
    names = (SAMPLES, "val_loss", f"val_loss{WEIGHT}")
    writer.write([Record(BATCHES, n, 7, 0, n, names, (8.0 * n, 5.0 * n, 8.0 * n)) for n in range(1, 40)])
    writer.close()
    (file,) = (run.path / BATCHES_FOLDER).iterdir()
    return file


def test_a_flipped_bit_is_told_or_does_no_harm(tmp_path: Path) -> None:
    """Four hundred bytes all over the file, footer included: an error that names the file, or exactly the same points, whoever reads."""
    _, files = _run(tmp_path)
    told, _ = _flip(tmp_path, files[0], tries=400)
    assert told > 800


def test_a_flipped_bit_behind_a_validation_is_told_or_does_no_harm(tmp_path: Path) -> None:
    """A confidence bound rests on that file: a wrong number in it would decide wrongly."""
    told, _ = _flip(tmp_path, _batches(tmp_path), tries=300, readings="batches")
    assert told > 150


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_any_flipped_bit_is_told_or_does_no_harm(tmp_path: Path) -> None:
    """Every byte of the file."""
    _, files = _run(tmp_path)
    told, same = _flip(tmp_path, files[0], tries=0)
    assert told > same


def test_readers_that_know_nothing_of_the_footer_checksum_read_all(tmp_path: Path) -> None:
    """The eight bytes before the footer are in nobody's way."""
    run, files = _run(tmp_path)
    data = files[0].read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    assert data[-8 - length - 8 : -8 - length - 4] == b"fgt1"
    (count,) = duckdb.connect().execute(f"select count(*) from read_parquet('{run.path}/metrics/*.parquet')").fetchone() or (0,)  # noqa: S608
    assert count == run.metrics().num_rows


def test_a_file_rewritten_by_another_tool_is_read(tmp_path: Path) -> None:
    """DuckDB's own layout: no checksums, rows in another order, other encodings."""
    run, files = _run(tmp_path)
    expected = run.metrics()
    target = tmp_path / "rewritten.parquet"
    query = f"copy (select * from read_parquet('{files[0]}') order by value) to '{target}' (format parquet)"  # noqa: S608
    duckdb.connect().execute(query)
    os.replace(target, files[0])
    assert run.metrics().equals(expected)
    assert run.metrics(["loss"], stage="train").equals(expected.filter(pa.compute.field("name") == "loss"))


def test_encoding_the_same_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """Files are reproducible."""
    table = pq.read_table(_run(tmp_path)[1][0], read_dictionary=["run_id", "stage", "name"])
    first, second = (encode([table]) for _ in range(2))
    assert first == second
