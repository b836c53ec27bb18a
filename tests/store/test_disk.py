"""Real disks that fill up, turn read-only or lose their folders while a run is recorded."""

import errno
import logging
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fitgate
from fitgate._files import replace_bytes
from fitgate.gate import judge
from fitgate.store._open import open_recorder
from fitgate.store._recorder import Recorder
from fitgate.store._run_file import FitFacts
from fitgate.store._schema import BATCHES, Record
from fitgate.tensorboard.rebuild import rebuild_events

NEVER_S = 3600.0
PER_FLUSH = 1000


@contextmanager
def _mounted(folder: Path, *, kilobytes: int) -> Iterator[Callable[[str], None]]:
    """A small disk in memory. Gives what mounts it again with another option."""
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], check=False).returncode:  # noqa: S607
        pytest.skip("mounting a small disk needs root")

    def remount(option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)  # noqa: S607

    try:
        yield remount
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607


def _log(recorder: Recorder, start: int, count: int = PER_FLUSH) -> None:
    """Noise that does not compress, and a flush."""
    for step in range(start, start + count):
        recorder.record(
            Record("train", step, step, 0, 1_700_000_000_000_000 + step * 300_000, ("loss",), ((step * 0.6180339887498949) % 1,))
        )
    recorder.flush()


def _of_a_batch(step: int) -> Record:
    return Record(BATCHES, step, step, 0, 1_700_000_000_000_000, ("samples", "val_loss"), (8.0 * (step + 1), 0.5))


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def _on_disk(run_dir: Path) -> list[int]:
    query = f"select step from read_parquet('{run_dir}/metrics/*.parquet') order by step"  # noqa: S608
    return [row[0] for row in duckdb.connect().execute(query).fetchall()]


def _tensorboard(run_dir: Path) -> EventAccumulator:
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    return events


def _in_tensorboard(run_dir: Path) -> list[int]:
    return [event.step for event in _tensorboard(run_dir).Scalars("loss")]


def _fill_up(folder: Path) -> Path:
    """Leave no free byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def test_a_full_disk_that_gets_room_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning; what was there stays readable, what came meanwhile is written later, TensorBoard's file goes on whole."""
    with _mounted(tmp_path / "disk", kilobytes=4096):
        run_dir = tmp_path / "disk" / "r"
        recorder = open_recorder(run_dir, flush_every_s=NEVER_S)
        _log(recorder, 0)
        filler = _fill_up(tmp_path / "disk")
        for start in range(PER_FLUSH, 5 * PER_FLUSH, PER_FLUSH):
            _log(recorder, start)
            assert _on_disk(run_dir) == list(range(PER_FLUSH)), "the last good version of the file"
        recorder.update(hparams={"lr": 0.1})
        assert recorder.info.lost_points == 4 * PER_FLUSH, "as long as they are not on the disk"
        (warning,) = _warnings(caplog)
        assert "No space left on device" in warning
        filler.unlink()
        _log(recorder, 5 * PER_FLUSH)
        assert _on_disk(run_dir) == list(range(6 * PER_FLUSH))
        recorder.close()
        assert _on_disk(run_dir) == list(range(6 * PER_FLUSH))
        assert _in_tensorboard(run_dir) == list(range(6 * PER_FLUSH))
        assert fitgate.Store(run_dir.parent).run("r").info.lost_points == 0
        assert len(_warnings(caplog)) == 1
        assert not list(run_dir.rglob("*.tmp"))


def test_a_full_disk_that_stays_full_fails_the_gate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The points that never came to the disk are counted in run.json, and such a run is not judged on its numbers."""
    with _mounted(tmp_path / "disk", kilobytes=4096):
        run_dir = tmp_path / "disk" / "r"
        recorder = open_recorder(run_dir, flush_every_s=NEVER_S, tensorboard=False)
        _log(recorder, 0)
        filler = _fill_up(tmp_path / "disk")
        _log(recorder, PER_FLUSH)
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - 4096)  # a page: enough for run.json, not for the points
        recorder.update(state="completed", fit=FitFacts(global_step=0, steps=1))
        recorder.close()
        run = fitgate.Store(run_dir.parent).run("r")
        assert run.info.lost_points == PER_FLUSH
        decision = judge(run, ["loss < 1"])
        assert decision.verdict == "improve"
        assert f"lost_points: {PER_FLUSH} points could not be written" in decision.reasons
        assert judge(run, ["loss < 1"], allow=["lost_points"]).verdict == "deploy"
        assert len(_warnings(caplog)) == 1


def test_a_disk_that_turns_read_only_to_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even run.json can say what is lost: a warning does."""
    with _mounted(tmp_path / "disk", kilobytes=4096) as remount:
        run_dir = tmp_path / "disk" / "r"
        recorder = open_recorder(run_dir, flush_every_s=NEVER_S, tensorboard=False)
        _log(recorder, 0)
        remount("ro")
        _log(recorder, PER_FLUSH)
        recorder.close()
        recorder.update(state="completed")
        beginning, end = _warnings(caplog)
        assert "Read-only file system" in beginning
        assert f"{PER_FLUSH} points are lost, and run.json could not be written" in end
        assert _on_disk(run_dir) == list(range(PER_FLUSH))


def test_a_disk_that_is_read_only_for_a_while(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost, TensorBoard's events included."""
    with _mounted(tmp_path / "disk", kilobytes=4096) as remount:
        run_dir = tmp_path / "disk" / "r"
        recorder = open_recorder(run_dir, flush_every_s=NEVER_S)
        _log(recorder, 0)
        recorder.close()  # or an open file would keep the disk from turning read-only
        remount("ro")
        _log(recorder, PER_FLUSH)
        remount("rw")
        _log(recorder, 2 * PER_FLUSH)
        recorder.close()
        assert _on_disk(run_dir) == _in_tensorboard(run_dir) == list(range(3 * PER_FLUSH))
        assert fitgate.Store(run_dir.parent).run("r").info.lost_points == 0
        assert len(_warnings(caplog)) == 1


def test_a_run_folder_removed_while_recording(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is made again with all that is in memory, run.json too; one warning, which says so."""
    run_dir = tmp_path / "r"
    recorder = open_recorder(run_dir, flush_every_s=NEVER_S, hparams={"lr": 0.1})
    recorder.record(_of_a_batch(0))
    _log(recorder, 0)
    shutil.rmtree(run_dir)
    _log(recorder, PER_FLUSH)
    assert _on_disk(run_dir) == list(range(2 * PER_FLUSH))
    _log(recorder, 2 * PER_FLUSH)
    recorder.close()
    assert _on_disk(run_dir) == list(range(3 * PER_FLUSH))
    assert _in_tensorboard(run_dir) == list(range(PER_FLUSH, 3 * PER_FLUSH)), "the mirror goes on in a new file"
    assert "_hparams_/session_start_info" in _tensorboard(run_dir).PluginTagToContent("hparams")
    recorder.update(state="completed")
    rebuild_events(fitgate.Store(tmp_path).run("r"))
    assert _in_tensorboard(run_dir) == list(range(3 * PER_FLUSH))
    assert fitgate.Store(tmp_path).run("r").info.lost_points == 0
    (warning,) = _warnings(caplog)
    assert warning.count("arquet files were removed; they are written again, with all points.") == 2, "the points', and the validations'"
    assert "TensorBoard events were removed; those of before are missing there until `fitgate tensorboard --rebuild`" in warning
    assert "wait" not in warning


def test_sealed_points_removed_while_recording_are_lost_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What only the removed files held is counted, also when that is noticed by the last flush."""
    for last in (False, True):
        run_dir = tmp_path / f"r{last}"
        recorder = open_recorder(run_dir, flush_every_s=NEVER_S, tensorboard=False)
        _log(recorder, 0, 200_000)
        _log(recorder, 200_000, 10)
        shutil.rmtree(run_dir / "metrics")
        if not last:
            recorder.flush()
        recorder.close()
        assert _on_disk(run_dir) == list(range(128_000, 200_010))
        assert fitgate.Store(tmp_path).run(run_dir.name).info.lost_points == 128_000
    first, second = _warnings(caplog)
    assert all("128000 points that no other file held are lost" in warning for warning in (first, second))
    assert "wait" not in first + second


def test_one_sealed_file_removed_while_the_newest_stays_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody misses it when writing; run.json says what is gone all the same."""
    run_dir = tmp_path / "r"
    recorder = open_recorder(run_dir, flush_every_s=NEVER_S, tensorboard=False)
    _log(recorder, 0, 200_000)
    recorder.flush()
    min((run_dir / "metrics").glob("*.parquet")).unlink()
    _log(recorder, 200_000, 10)
    recorder.close()
    assert _on_disk(run_dir) == list(range(128_000, 200_010))
    assert fitgate.Store(tmp_path).run("r").info.lost_points == 128_000
    assert len(_warnings(caplog)) == 1


def test_what_stands_behind_a_validation_is_lost_as_points_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where it alone can't be written: told, counted as long as it waits, and written when it can be."""
    run_dir = tmp_path / "r"
    recorder = open_recorder(run_dir, flush_every_s=NEVER_S, tensorboard=False)
    (run_dir / "validation").write_text("in the way")
    for step in range(3):
        recorder.record(_of_a_batch(step))
        _log(recorder, step * PER_FLUSH)
        assert recorder.info.lost_points == 2 * (step + 1)
    (warning,) = _warnings(caplog)
    assert "Writing the validations' Parquet files to" in warning
    assert "points wait in memory" in warning
    assert _on_disk(run_dir) == list(range(3 * PER_FLUSH))
    (run_dir / "validation").unlink()
    recorder.close()
    assert fitgate.Store(tmp_path).run("r").info.lost_points == 0
    query = f"select name, count(*) from read_parquet('{run_dir}/validation/*.parquet') group by name order by name"  # noqa: S608
    assert duckdb.connect().execute(query).fetchall() == [("samples", 3), ("val_loss", 3)]
    assert len(_warnings(caplog)) == 1


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EBADF, errno.EIO])
def test_a_file_system_that_knows_no_fsync_of_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Some mounts answer so: sealed files are there all the same, and nothing is lost. An error of the disk is one."""
    fsync = os.fsync

    def of_files_alone(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    recorder = open_recorder(tmp_path / "r", flush_every_s=NEVER_S, tensorboard=False)
    _log(recorder, 0, 10)
    recorder.close()
    assert recorder.info.lost_points == 0
    assert ["All points are on the disk" in warning for warning in _warnings(caplog)] == [True] * (code == errno.EIO)
    assert _on_disk(tmp_path / "r") == list(range(10))


def test_a_folder_replaced_by_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Recording goes on, and everything in memory is written when the file is gone."""
    run_dir = tmp_path / "r"
    recorder = open_recorder(run_dir, flush_every_s=NEVER_S, tensorboard=False)
    _log(recorder, 0)
    shutil.rmtree(run_dir)
    run_dir.write_text("in the way")
    _log(recorder, PER_FLUSH)
    _log(recorder, 2 * PER_FLUSH)
    run_dir.unlink()
    _log(recorder, 3 * PER_FLUSH)
    recorder.close()
    assert _on_disk(run_dir) == list(range(4 * PER_FLUSH))
    assert len(_warnings(caplog)) == 1


_LIMITED = """
import resource, signal, sys
from pathlib import Path
from fitgate.store._open import open_recorder
from fitgate.store._schema import Record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # Python's own default: writing fails instead
recorder = open_recorder(Path(sys.argv[1]), flush_every_s=3600)
def log(start):
    for step in range(start, start + 1000):
        recorder.record(Record("train", step, step, 0, step * 300_000, ("loss",), ((step * 0.6180339887498949) % 1,)))
    recorder.flush()
log(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
log(1000)
print(recorder.info.lost_points)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log(2000)
recorder.close()
print(recorder.info.lost_points)
"""


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    """And not the one that it would first have been written to."""
    path = tmp_path / "nowhere" / "report.html"
    with pytest.raises(FileNotFoundError) as caught:
        replace_bytes(path, b"")
    assert caught.value.filename == str(path)


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """The limit on file sizes, which needs no root: a part of a write succeeds, then it fails; nothing is torn."""
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(tmp_path / "r")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1000", "0"], done.stderr
    assert _on_disk(tmp_path / "r") == _in_tensorboard(tmp_path / "r") == list(range(3000))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY, "only the child was limited"
