"""`fitgate tensorboard`, with the real TensorBoard."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

import fitgate

RUN = "net-20261123-090000-sad-fox"


def _points(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(run_dir), size_guidance={"scalars": 0}).Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def _recorded(root: Path, run_id: str) -> dict[str, list[tuple[int, float]]]:
    table = fitgate.Store(str(root)).run(run_id).metrics()
    points: dict[str, list[tuple[int, float]]] = {}
    for row in table.to_pylist():
        points.setdefault(row["name"], []).append((row["step"], float(np.float32(row["value"]))))
    return points


def test_rebuilt_events_are_the_parquet_points(root: Path, invoke: Any) -> None:
    """As float32, with their steps; a second time changes nothing, and one event file is there."""
    for _ in range(2):
        done = invoke("tensorboard", root, "--rebuild")
        assert done.exit_code == 0
        assert f"{RUN}: 48 points" in done.stdout
        assert _points(root / RUN) == _recorded(root, RUN)
        assert len(list((root / RUN).glob("events*"))) == 1
        assert not list((root / RUN).glob(".*"))


def test_a_broken_mirror_is_replaced(tmp_path: Path, invoke: Any) -> None:
    """The events of a run by hand are cut in the middle; afterwards every point is back."""
    with fitgate.start_run(tmp_path, name="by-hand") as run:
        for step in range(50):
            run.log_metric("loss", 1 / (1 + step), step=step)
    (events,) = run.path.glob("events*")
    events.write_bytes(events.read_bytes()[:700])
    assert len(_points(run.path)["loss"]) < 50
    invoke("tensorboard", tmp_path, "--rebuild")
    assert _points(run.path) == _recorded(tmp_path, run.id)
    assert not events.exists()


def test_what_somebody_else_wrote_stays(root: Path, invoke: Any) -> None:
    """A file with a tag that the run never recorded, or with something else than scalars, is left alone."""
    for tag, value in (("weights", {"simple_value": 1.0}), ("val_acc", {"image": Summary.Image(width=1, height=1)})):
        writer = EventFileWriter(str(root / RUN), filename_suffix=f".{tag}")
        writer.add_event(Event(step=1, summary=Summary(value=[Summary.Value(tag=tag, **value)])))
        writer.close()
    before = set((root / RUN).glob("events*"))
    assert "2 with other content stay" in invoke("tensorboard", root, "--rebuild").stdout
    after = set((root / RUN).glob("events*"))
    assert before < after
    assert len(after - before) == 1


def test_a_running_run_is_left_alone(tmp_path: Path, invoke: Any) -> None:
    """Its own writer has the file open."""
    with fitgate.start_run(tmp_path) as run:
        run.log_metric("loss", 1.0)
        run.flush()
        before = list(run.path.glob("events*"))
        assert "running" in invoke("tensorboard", tmp_path, "--rebuild").stdout
        assert list(run.path.glob("events*")) == before


def test_validation_values_keep_their_own_tag(tmp_path: Path, invoke: Any) -> None:
    """Where one name stands in two stages and the old events tell them apart, so do the new ones."""
    from fitgate.store._open import open_recorder  # noqa: PLC0415 - for this alone
    from fitgate.store._schema import Record  # noqa: PLC0415

    recorder = open_recorder(tmp_path / "r", tags={("validate", "accuracy"): "accuracy/validate"})
    for step in range(3):
        recorder.record(Record("train", step, step + 1, 0, 1000 + step, ("accuracy",), (0.1 * step,)))
        recorder.record(Record("validate", step, step + 1, 0, 2000 + step, ("accuracy",), (0.2 * step,)))
    recorder.close()
    recorder.update(state="completed")
    before = _points(tmp_path / "r")
    assert set(before) == {"accuracy", "accuracy/validate"}
    invoke("tensorboard", tmp_path, "--rebuild")
    assert _points(tmp_path / "r") == before


@pytest.mark.timeout(180)
def test_the_real_tensorboard_serves_the_store(root: Path, invoke: Any) -> None:
    """Started as a user starts it, with --port and an option passed through; Ctrl-C ends it."""
    invoke("tensorboard", root, "--rebuild")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "fitgate",
        "tensorboard",
        str(root),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--reload_interval",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        tags = _tags(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", process)
        assert set(tags) == {run.id for run in fitgate.Store(str(root)).runs()}
        assert set(tags[RUN]) == {"train_loss", "val_acc", "val_loss"}
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def _tags(url: str, process: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own server
                tags: dict[str, Any] = json.load(answer)
        except OSError:
            tags = {}
        if len(tags) == 3:
            return tags
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_no_store_no_tensorboard(invoke: Any) -> None:
    """One line, before anything is started."""
    done = invoke("tensorboard", "nowhere", "--port", "6007")
    assert done.exit_code == 2
    assert "no store at 'nowhere'" in done.stderr


def test_options_alone_leave_the_root_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Any) -> None:
    """`fitgate tensorboard -- --reload_interval 5`: the first word is no ROOT."""
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: started.append(arguments))
    for arguments in (["--", "--reload_interval", "5"], ["--reload_interval", "5"], ["--port", "1", "runs", "--reload_interval=5"]):
        invoke("tensorboard", *arguments)
    rest = [arguments[arguments.index("--logdir") :] for arguments in started]
    assert rest == [
        ["--logdir", "runs", "--reload_interval", "5"],
        ["--logdir", "runs", "--reload_interval", "5"],
        ["--logdir", "runs", "--port", "1", "--reload_interval=5"],
    ]
