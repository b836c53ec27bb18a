"""Several attempts at one run: after one another or at once, none hides another."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import fitgate
from fitgate.store._attempts import seems_alive
from fitgate.store._checkpoints import WrittenCheckpoint
from fitgate.store._open import open_recorder
from fitgate.store._recorder import Recorder
from fitgate.store._resume import Standing
from fitgate.store._run_file import Attempt, RunInfo, read_run_info, write_run_info
from fitgate.store._schema import Record

NEVER_S = 3600.0


def _log(recorder: Recorder, steps: range, value: float) -> None:
    for step in steps:
        recorder.record(Record("train", step, step, 0, step, ("loss",), (value,)))


def _begin(run_dir: Path, resumed_step: int | None = None) -> Recorder:
    return open_recorder(run_dir, resumed_step=resumed_step, tensorboard=False, flush_every_s=NEVER_S)


def _info(run_dir: Path) -> RunInfo:
    return read_run_info((run_dir / "run.json").read_bytes(), "run.json")


def _losses(run_dir: Path) -> list[object]:
    return fitgate.Store(run_dir.parent).run("r").metrics(["loss"])["value"].to_pylist()


def test_an_idle_recorder_that_goes_on_keeps_a_later_attempt(tmp_path: Path) -> None:
    """Its points are kept, and so are the later attempt's mark, its state and what it wrote."""
    run_dir = tmp_path / "r"
    first = _begin(run_dir)
    _log(first, range(10), 1.0)
    first.close()
    first.update(state="completed")
    second = _begin(run_dir, resumed_step=5)
    _log(second, range(6, 8), 2.0)
    written = WrittenCheckpoint(path="/b.ckpt", global_step=8, attempt=1, mark="1:1")
    second.update(state="deployed", checkpoints=(written,))
    second.close()
    expected = [1.0] * 6 + [2.0] * 2
    assert _losses(run_dir) == expected
    assert not second.superseded
    assert first.superseded
    first.record(Record("validate", 9, 9, 0, 9, ("val",), (3.0,)))
    mine = WrittenCheckpoint(path="/a.ckpt", global_step=10, attempt=0, mark="2:2")
    first.update(checkpoints=(mine,))
    first.close()
    info = _info(run_dir)
    assert ([a.number for a in info.attempts], info.attempts[1].resumed_step, info.state) == ([0, 1], 5, "deployed")
    assert set(info.checkpoints) == {written, mine}
    assert _losses(run_dir) == expected
    second.update(state="improve")
    assert (_info(run_dir).state, set(_info(run_dir).checkpoints)) == ("improve", {written, mine})


def test_lost_points_of_two_attempts_add_up(tmp_path: Path) -> None:
    """Whoever writes run.json last."""
    run_dir = tmp_path / "r"
    recorders = [_begin(run_dir), _begin(run_dir, resumed_step=0)]
    for times in (1, 2):
        for recorder in recorders:
            recorder.count_lost_elsewhere(10 * times)
        assert _info(run_dir).lost_points == 20 * times
    recorders[0].count_lost_elsewhere(0)
    assert _info(run_dir).lost_points == 20


def test_points_of_an_attempt_that_run_json_no_longer_knows_are_masked_too(tmp_path: Path) -> None:
    """Somebody has removed a damaged run.json, and the fit goes on from a checkpoint."""
    run_dir = tmp_path / "r"
    first = _begin(run_dir)
    _log(first, range(10), 1.0)
    first.close()
    (run_dir / "run.json").unlink()
    standing = Standing(run_dir, rank=0, resumed_step=5, first_step=6)
    assert standing.has("train", "loss", 5, 1.0)
    second = _begin(run_dir, resumed_step=5)
    _log(second, range(6, 8), 2.0)
    second.close()
    assert [attempt.number for attempt in _info(run_dir).attempts] == [1]
    assert _losses(run_dir) == [1.0] * 6 + [2.0] * 2


_ATTEMPT = """
import sys, time
from pathlib import Path
from fitgate.store._open import open_recorder
from fitgate.store._schema import Record
run_dir, go = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
recorder = open_recorder(run_dir, resumed_step=3, tensorboard=False, flush_every_s=0.005)
number = recorder.info.attempts[-1].number
for step in range(4, 40):
    recorder.record(Record("train", step, step, 0, step, ("loss",), (float(number),)))
    recorder.update(state="running")
    time.sleep(0.002)
recorder.close()
recorder.update(state="completed")
"""


def test_processes_that_go_on_with_one_run_at_the_same_time(tmp_path: Path) -> None:
    """Each has an attempt of its own, all are on record, nothing is mixed."""
    run_dir, go = tmp_path / "r", tmp_path / "go"
    first = _begin(run_dir)
    _log(first, range(10), 0.0)
    first.close()
    first.update(state="completed")
    command = [sys.executable, "-c", _ATTEMPT, str(run_dir), str(go)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    told = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, told
    info = _info(run_dir)
    assert ([a.number for a in info.attempts], info.state) == ([0, 1, 2, 3, 4], "completed")
    assert {a.pid for a in info.attempts[1:]} == {process.pid for process in processes}
    assert _losses(run_dir) == [0.0] * 4 + [4.0] * 36
    files = {path.name.split("-")[0] for path in (run_dir / "metrics").glob("*.parquet")}
    assert files == {f"a{number:03d}" for number in range(5)}


def test_going_on_with_a_run_that_is_being_recorded_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By name of the process; not of one that was killed, whose run.json says running too."""
    command = [sys.executable, "-c", _ATTEMPT.replace("range(4, 40)", "range(4, 10**9)"), str(tmp_path / "r"), str(tmp_path)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "r" / "run.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with caplog.at_level(logging.WARNING, "fitgate"):
            recorder = _begin(tmp_path / "r", resumed_step=5)
        (warning,) = caplog.messages
        assert f"process {process.pid} on {socket.gethostname()} seems to record in this run still, as attempt 0" in warning
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    recorder.close()
    info = replace(
        _info(tmp_path / "r"), attempts=(Attempt(number=0, started=datetime.now(UTC), host=socket.gethostname(), pid=process.pid),)
    )
    write_run_info(tmp_path / "r", info)
    caplog.clear()
    _begin(tmp_path / "r", resumed_step=5).close()
    assert not caplog.messages
    assert seems_alive(replace(info, attempts=())) is None
