"""The recorder: whatever a writer, a value or a fork does, training goes on and the truth is told."""

import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fitgate
from fitgate.store._batch import Batch
from fitgate.store._recorder import Recorder, pause_s
from fitgate.store._run_file import Attempt, RunInfo, read_run_info
from fitgate.store._schema import STAGES, Record
from fitgate.store._segments import SegmentWriter
from fitgate.tensorboard import EventWriter

NEVER_S = 3600.0


def _info(run_id: str = "r") -> RunInfo:
    now = datetime.now(UTC)
    return RunInfo(id=run_id, name=run_id, state="running", created=now, updated=now, attempts=(Attempt(number=0, started=now),))


def _record(step: int, names: tuple[str, ...] = ("loss",), values: Sequence[object] | None = None) -> Record:
    return Record("train", step, step, 0, time.time_ns() // 1000, names, values or [float(step)] * len(names))


def _recorder(run_dir: Path, *more: object, **options: object) -> Recorder:
    truth = SegmentWriter(run_dir / "metrics", run_id=run_dir.name)
    return Recorder(run_dir, _info(run_dir.name), [truth], more, **options)  # type: ignore[arg-type]


def _steps(run_dir: Path) -> list[object]:
    return fitgate.Store(run_dir.parent).run(run_dir.name).metrics(["loss"])["step"].to_pylist()


def _written(run_dir: Path) -> RunInfo:
    return read_run_info((run_dir / "run.json").read_bytes(), "run.json")


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class Broken:
    """A writer that raises in one of its calls, as long as it is told to."""

    name = "postcards"
    stages = STAGES

    def __init__(self, error: BaseException | None, call: str = "flush") -> None:
        self.error = error
        self.call = call
        self.points = 0
        self.waiting = 0
        self.lost = 0
        self.flushes = 0

    def write(self, records: Sequence[Record]) -> None:
        self._maybe("write")
        self.waiting += sum(len(record.names) for record in records)

    def flush(self) -> None:
        self.flushes += 1
        self._maybe("flush")
        self.points, self.waiting = self.points + self.waiting, 0

    def close(self) -> None:
        self.flush()

    def _maybe(self, call: str) -> None:
        if self.error is not None and call == self.call:
            raise self.error


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("odd"), MemoryError(), SystemExit(3), KeyError("x")]
)
def test_a_writer_that_raises_anything_in_the_background(tmp_path: Path, caplog: pytest.LogCaptureFixture, error: BaseException) -> None:
    """Recording goes on, one warning says what and since when, and nothing is lost once it works again."""
    truth = Broken(error)
    recorder = Recorder(tmp_path / "r", _info(), [truth], flush_every_s=0.01)
    for step in range(50):
        recorder.record(_record(step))
        time.sleep(0.002)
    _until(lambda: _written(tmp_path / "r").lost_points == 50)
    truth.error = None
    _until(lambda: _written(tmp_path / "r").lost_points == 0)
    recorder.close()
    assert truth.points == 50
    (warning,) = _warnings(caplog)
    assert "postcards" in warning
    assert type(error).__name__ in warning
    assert " since " in warning


def test_a_mirror_that_fails_hurts_neither_the_points_nor_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Parquet has everything, nothing counts as lost, one warning."""
    for call in ("flush", "write"):
        run_dir = tmp_path / call
        recorder = _recorder(run_dir, Broken(ValueError("no stamps"), call), flush_every_s=NEVER_S)
        for step in range(5):
            recorder.record(_record(step))
            recorder.flush()
        recorder.close()
        assert _steps(run_dir) == list(range(5))
        assert _written(run_dir).lost_points == 0
    assert ["no stamps" in warning for warning in _warnings(caplog)] == [True, True]


def test_a_mirror_that_fails_again_is_told_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A first failure may be that of a disk that is about to fail the points too, and is told only if nothing comes after it."""
    recorder = _recorder(tmp_path / "r", Broken(ValueError("no stamps")), flush_every_s=NEVER_S)
    told = []
    for step in range(3):
        recorder.record(_record(step))
        recorder.flush()
        told.append(len(_warnings(caplog)))
    recorder.close()
    assert told == [0, 1, 1]


def test_mirrors_are_written_at_every_second_flush_and_whenever_one_asks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing waits at the end. One that fails is tried each time, and told."""
    truth, mirror = Broken(None), Broken(None)
    recorder = Recorder(tmp_path / "r", _info(), [truth], [mirror], flush_every_s=0.02)
    for step in range(200):
        recorder.record(_record(step))
        time.sleep(0.005)
    assert 0 < mirror.flushes < truth.flushes
    recorder.flush()
    assert (truth.points, mirror.points) == (200, 200)
    mirror.error = ValueError("no stamps")
    for step in range(200, 10_000):
        recorder.record(_record(step))
        time.sleep(0.001)
        if _warnings(caplog):
            break
    mirror.error = None
    recorder.close()
    assert truth.points == mirror.points == step + 1
    (warning,) = _warnings(caplog)
    assert "no stamps" in warning


def test_what_belongs_to_a_checkpoint_is_mirrored_as_soon_as_it_is_flushed(tmp_path: Path) -> None:
    """A fit that goes on from there does not tell it again."""
    truth, mirror = Broken(None), Broken(None)
    recorder = Recorder(tmp_path / "r", _info(), [truth], [mirror], flush_every_s=0.3)
    recorder.record(_record(4))
    recorder.flush(checkpoint_step=5)
    recorder.record(_record(5))
    _until(lambda: truth.points == 2)
    _until(lambda: mirror.points == 2)
    assert mirror.flushes == truth.flushes
    recorder.close()


def test_an_outage_that_reaches_a_mirror_first_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says that points wait, and not that Parquet has them all."""
    full = OSError(28, "No space left on device")
    truth, mirror = Broken(None), Broken(full)
    recorder = Recorder(tmp_path / "r", _info(), [truth], [mirror], flush_every_s=NEVER_S)
    for step, error in enumerate([None, full, full, None]):
        truth.error = error
        mirror.error = full if step < 3 else None
        recorder.record(_record(step))
        recorder.flush()
    recorder.close()
    (warning,) = _warnings(caplog)
    assert "points wait in memory" in warning
    assert truth.points == mirror.points == 4


def test_points_that_fail_again_are_told_though_a_mirror_never_recovers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An outage of the points is over when they are written, whatever else goes on failing."""
    full = OSError(28, "No space left on device")
    truth, mirror = Broken(None), Broken(ValueError("no stamps"))
    recorder = Recorder(tmp_path / "r", _info(), [truth], [mirror], flush_every_s=NEVER_S)
    for step, error in enumerate([full, full, None, None, full, full, None]):
        truth.error = error
        recorder.record(_record(step))
        recorder.flush()
    recorder.close()
    assert ["points wait in memory" in warning for warning in _warnings(caplog)] == [True, True]


def test_a_rank_that_writes_no_run_json_does_not_say_that_it_could_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rank 0 is told what others have lost, and writes it down."""
    truth = Broken(ValueError("no stamps"), "write")
    recorder = Recorder(tmp_path / "r", _info(), [truth], flush_every_s=NEVER_S, owns_run_file=False)
    recorder.record(_record(0))
    recorder.flush()
    truth.error = None
    recorder.close()
    assert recorder.lost == 1
    assert len(_warnings(caplog)) == 2
    assert "1 points are lost of those that this process recorded" in _warnings(caplog)[1]
    assert not any("run.json" in warning for warning in _warnings(caplog))


def test_what_a_mirror_begins_with_takes_no_room_from_what_comes(tmp_path: Path) -> None:
    """A run that is told TensorBoard again may be longer than what may wait."""
    block = Batch([_record(step) for step in range(200)]).blocks[0]
    recorder = _recorder(tmp_path / "r", EventWriter(tmp_path / "r", again=[block]), flush_every_s=NEVER_S, max_waiting_points=100)
    for step in range(200, 250):
        recorder.record(_record(step))
    recorder.close()
    events = EventAccumulator(str(tmp_path / "r"), size_guidance={"scalars": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(250))


def test_a_closed_run_that_goes_on_is_alive_before_anything_is_recorded(tmp_path: Path) -> None:
    """A fit whose first step takes minutes, after a validation by the same trainer."""
    run_dir = tmp_path / "r"
    recorder = _recorder(run_dir, flush_every_s=NEVER_S, heartbeat_s=0.02)
    recorder.close(state="completed")
    recorder.go_on(state="running")
    first = _written(run_dir)
    assert first.state == "running"
    _until(lambda: _written(run_dir).updated > first.updated)
    recorder.close()


def test_what_can_not_be_written_at_the_end_is_counted_in_run_json(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last flush fails: run.json has the number, the one warning too."""
    recorder = Recorder(tmp_path / "r", _info(), [Broken(OSError("gone"))], flush_every_s=NEVER_S)
    recorder.record(_record(0, ("loss", "acc")))
    recorder.close()
    recorder.update(state="completed")
    assert _written(tmp_path / "r").lost_points == 2
    (warning,) = _warnings(caplog)
    assert "2 points are lost" in warning


def test_waiting_points_are_bounded_and_what_is_dropped_is_counted(tmp_path: Path) -> None:
    """Beyond the bound the newest are dropped; after the disk recovered those count as lost, and only those."""
    truth = Broken(OSError("full"))
    recorder = Recorder(tmp_path / "r", _info(), [truth], flush_every_s=NEVER_S, max_waiting_points=100)
    for step in range(30):
        recorder.record(_record(step, ("a", "b", "c", "d", "e")))
        recorder.flush()
    assert truth.waiting == 100
    assert _written(tmp_path / "r").lost_points == 150
    truth.error = None
    recorder.flush()
    assert truth.points == 100
    assert _written(tmp_path / "r").lost_points == 50
    recorder.close()


def test_a_writer_that_hangs_does_not_fill_the_memory(tmp_path: Path) -> None:
    """The training loop's own list is bounded too, and appending to it never waits."""
    hang = threading.Event()
    truth = Broken(None)
    truth.flush = hang.wait  # type: ignore[method-assign,assignment]
    recorder = Recorder(tmp_path / "r", _info(), [truth], flush_every_s=0.01, max_waiting_points=200_000)
    names = tuple(f"m{i}" for i in range(100))
    recorder.record(_record(0))
    _until(lambda: truth.waiting == 1)
    for step in range(3000):
        recorder.record(_record(step, names, [0.0] * 100))
    hang.set()
    recorder.close()
    assert _written(tmp_path / "r").lost_points == 100_100  # the writer has one point already: of 2000 records one does not fit
    assert truth.waiting == 199_901


def test_much_at_once_is_written_before_the_flush_is_due(tmp_path: Path) -> None:
    """A long `flush_every_s` does not pile up what comes quickly."""
    run_dir = tmp_path / "r"
    recorder = _recorder(run_dir, flush_every_s=NEVER_S)
    for step in range(100_001):
        recorder.record(_record(step))
    _until(lambda: list(run_dir.glob("metrics/*.parquet")))
    recorder.close()
    assert len(_steps(run_dir)) == 100_001


def test_a_value_that_is_no_number_takes_no_other_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted as lost and named; so is one that can't be fetched from its device."""

    def fetch(records: list[Record]) -> list[Record]:
        if any(record.step == 5 for record in records):
            message = "device-side assert"
            raise RuntimeError(message)
        return records

    run_dir = tmp_path / "r"
    recorder = _recorder(run_dir, flush_every_s=NEVER_S, fetch=fetch)
    for step in range(8):
        recorder.record(_record(step, values=["what?"] if step == 2 else None))
    recorder.close()
    assert _steps(run_dir) == [0, 1, 3, 4, 6, 7]
    assert _written(run_dir).lost_points == 2
    (warning,) = _warnings(caplog)
    assert "loss at step 2" in warning


@pytest.mark.parametrize("flush_every_s", [0.01, NEVER_S])
def test_run_json_tells_a_living_run_from_a_silent_one(tmp_path: Path, flush_every_s: float) -> None:
    """It is rewritten from the start, also before any record and however seldom points are flushed; five minutes without count as lost."""
    run_dir = tmp_path / "r"
    recorder = _recorder(run_dir, flush_every_s=flush_every_s, heartbeat_s=0.02)
    first = _written(run_dir).updated
    _until(lambda: _written(run_dir).updated > first)
    recorder.close()
    info = _written(run_dir)
    assert info.shown_state(info.updated + timedelta(minutes=4, seconds=59)) == "running"
    assert info.shown_state(info.updated + timedelta(minutes=5, seconds=1)) == "lost"


def test_a_run_json_that_can_not_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each heartbeat fails, one warning; the points are there, and so is run.json later."""
    run_dir = tmp_path / "r"
    recorder = _recorder(run_dir, flush_every_s=NEVER_S, heartbeat_s=0.02)
    while not (run_dir / "run.json").is_dir():  # a rename over a folder fails for root too
        (run_dir / "run.json").unlink()
        with suppress(FileExistsError):  # the background has written it again
            (run_dir / "run.json").mkdir()
    for step in range(5):
        recorder.record(_record(step))
        recorder.flush()
    _until(lambda: _warnings(caplog))
    time.sleep(0.2)  # more heartbeats
    (warning,) = _warnings(caplog)
    assert "run.json" in warning
    (run_dir / "run.json").rmdir()
    recorder.close()
    assert _steps(run_dir) == list(range(5))


@pytest.mark.parametrize("every_s", [0.001, 0.05, 0.3, 1.0, 10.0, 3600.0])
@pytest.mark.parametrize("work_s", [0.0, 0.0005, 0.002, 0.005, 0.01, 0.1, 10.0])
@pytest.mark.parametrize("longest_s", [0.0, 0.01, 0.05, 0.1, 0.5, 20.0])
def test_flushes_leave_a_core_alone_as_far_as_the_promise_allows(every_s: float, work_s: float, longest_s: float) -> None:
    """Never before they are due nor so late that points would be older than a second more; a tenth of a core, or a quarter of a per cent."""
    pause = pause_s(every_s, work_s, longest_s)
    share = work_s / pause
    latest = every_s + max(0.5, 0.8 - 4 * longest_s)
    assert every_s <= pause <= latest
    assert pause + 2 * min(longest_s, 0.25) <= every_s + 1  # flushes twice as slow keep the promise, or half a second is left
    assert share <= 0.1001 or pause == latest
    assert share <= 0.002501 or pause >= min(every_s * 1.75, latest)
    assert pause == every_s or share >= 0.002499  # no later than that takes


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan"), 1e300, True, "1", None])
def test_a_time_between_flushes_that_no_thread_can_wait_is_refused(tmp_path: Path, seconds: object) -> None:
    """Before a run begins: a thread that dies of it would record nothing, and say nothing."""
    with pytest.raises((TypeError, ValueError), match="flush_every_s must be"):
        fitgate.start_run(tmp_path, flush_every_s=seconds)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_forked_child_never_writes_and_never_waits(tmp_path: Path) -> None:
    """Not even where the fork came while the thread was writing; the parent's points are there once."""
    run_dir = tmp_path / "r"
    writing, go_on = threading.Event(), threading.Event()

    class Slow(EventWriter):
        def flush(self) -> None:
            writing.set()
            assert go_on.wait(60)
            super().flush()

    recorder = _recorder(run_dir, Slow(run_dir), flush_every_s=0.01)
    recorder.record(_record(0))
    assert writing.wait(60)
    before = sorted(run_dir.rglob("*"))
    child = os.fork()
    if child == 0:
        recorder.record(_record(99))
        recorder.flush()
        recorder.update(state="failed")
        recorder.close()
        os._exit(17 if sorted(run_dir.rglob("*")) == before else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 17
    go_on.set()
    recorder.record(_record(1))
    recorder.close()
    assert _steps(run_dir) == [0, 1]
    assert _written(run_dir).state == "running"


_WORKERS = """
import sys, torch, fitgate
from torch.utils.data import DataLoader, Dataset

class Data(Dataset):
    def __len__(self): return 64
    def __getitem__(self, i):
        if run is not None and i % 8 == 0:
            run.log_metric("from a worker", i, step=i)  # no child may write
        return torch.tensor(i)

run = None
if __name__ == "__main__":
    run = fitgate.start_run(sys.argv[1], flush_every_s=0.01)
    for epoch in range(3 if sys.argv[2] == 'fork' else 1):  # each spawned worker imports torch
        for step, batch in enumerate(DataLoader(Data(), batch_size=4, num_workers=2, multiprocessing_context=sys.argv[2])):
            run.log_metric("loss", float(batch.sum()), step=epoch * 16 + step)
    run.close()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers_of_a_recording_process(tmp_path: Path, method: str) -> None:
    """Workers start, end and write nothing, and one that would says so once; every point of the training is there."""
    script = tmp_path / "train.py"
    script.write_text(_WORKERS)
    command = [sys.executable, str(script), str(tmp_path / "runs"), method]
    done = subprocess.run(command, check=True, timeout=110, capture_output=True, text=True)
    told = "metric 'from a worker': run "
    assert done.stderr.count(told) == (3 if method == "fork" else 0), done.stderr  # the other worker's samples are logged by none
    (run,) = fitgate.Store(tmp_path / "runs").runs()
    assert run.state == "completed"
    table = run.metrics()
    assert set(table["name"].to_pylist()) == {"loss"}
    assert table["step"].to_pylist() == list(range(48 if method == "fork" else 16))


_INTERRUPTED = """
import random, signal, sys, threading
import fitgate
random.seed(0)
signal.signal(signal.SIGALRM, signal.default_int_handler)  # as Ctrl-C is, at a time of our own
hits = 0
run = fitgate.start_run(sys.argv[1], flush_every_s=3600)
for step in range(1000):
    run.log_metric("loss", step, step=step)
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-3))
        run.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        hits += 1
run.close()
print(hits)
"""


def test_ctrl_c_in_the_middle_of_a_flush(tmp_path: Path) -> None:
    """A thousand flushes, hundreds of them interrupted: each point once in Parquet and in TensorBoard, and none counted as lost."""
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50
    run = fitgate.Store(tmp_path).latest()
    events = EventAccumulator(run.path, size_guidance={"scalars": 0})
    events.Reload()
    assert run.metrics(["loss"])["step"].to_pylist() == [event.step for event in events.Scalars("loss")] == list(range(1000))
    assert (run.info.lost_points, run.state) == (0, "completed")


def test_two_recorders_in_one_process_stay_separate(tmp_path: Path) -> None:
    """Each run has its own points, threads and state."""
    runs = [fitgate.start_run(tmp_path, name=name, flush_every_s=0.01) for name in ("a", "b")]
    for step in range(100):
        runs[step % 2].log_metric("loss", step, step=step)
    runs[0].close()
    runs[1].log_metric("loss", 101, step=101)
    runs[1].close()
    first, second = (fitgate.Store(tmp_path).run(run.id).metrics()["step"].to_pylist() for run in runs)
    assert first == list(range(0, 100, 2))
    assert second == list(range(1, 102, 2))


def test_points_of_a_process_that_just_ends_are_there(tmp_path: Path) -> None:
    """No close, no flush: the interpreter's exit brings them to the disk, in a second recording after a close too."""
    code = (
        "import fitgate, sys\n"
        "run = fitgate.start_run(sys.argv[1], flush_every_s=3600)\n"
        "run.log_metric('loss', 1.0, step=0)\n"
        "run._recorder.close()\n"
        "run.log_metric('loss', 2.0, step=1)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert fitgate.Store(tmp_path).latest().metrics()["value"].to_pylist() == [1.0, 2.0]


def test_closing_ends_the_thread_and_forgets_the_exit_hook(tmp_path: Path) -> None:
    """A thousand runs in one process leave no thread behind."""
    before = threading.active_count()
    recorder = _recorder(tmp_path / "r", flush_every_s=NEVER_S)
    assert threading.active_count() == before + 1
    recorder.close()
    recorder.close()
    assert threading.active_count() == before


def test_a_recorder_does_not_pickle(tmp_path: Path) -> None:
    """The message says what to pickle instead."""
    recorder = _recorder(tmp_path / "r", flush_every_s=NEVER_S)
    with pytest.raises(TypeError, match="pickle the callback"):
        pickle.dumps(recorder)
    recorder.close()


def test_recording_imports_no_pandas(tmp_path: Path) -> None:
    """A third of a second and 40 MB that the first flush would cost a training."""
    code = (
        "import fitgate, sys\n"
        "with fitgate.start_run(sys.argv[1]) as run:\n"
        "    run.log_metrics({'loss': 0.5, 'acc': 1}, step=0); run.flush(); run.log_metric('loss', 0.25)\n"
        "print([m for m in ('pandas', 'torch') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_imports_no_pandas(tmp_path: Path) -> None:
    """A sixth of the time of `fitgate runs`; of one metric, of several in one row group, and of the last values."""
    with fitgate.start_run(tmp_path) as run:
        for step in range(3):
            run.log_metrics({"loss": 0.5, "acc": 1}, step=step)
    code = (
        "import fitgate, sys\n"
        "run = fitgate.Store(sys.argv[1]).latest()\n"
        "print(run.metrics(['acc'])['value'].to_pylist(), len(run.metrics()), run.last_values(), 'pandas' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1.0, 1.0, 1.0] 6 {('train', 'acc'): 1.0, ('train', 'loss'): 0.5} False"


def test_records_may_hold_tensors_on_the_cpu(tmp_path: Path) -> None:
    """One-element tensors are numbers."""
    run_dir = tmp_path / "r"
    recorder = _recorder(run_dir, flush_every_s=NEVER_S)
    recorder.record(_record(0, values=[torch.tensor(0.5)]))
    recorder.close()
    assert fitgate.Store(tmp_path).run("r").metrics()["value"].to_pylist() == [0.5]
