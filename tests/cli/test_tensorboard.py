"""`fitgate tensorboard`, with the real TensorBoard."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

import fitgate
from fitgate.store._open import open_recorder
from fitgate.store._run_file import Attempt, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter
from fitgate.tensorboard import EventWriter

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


def test_whatever_else_the_files_hold_goes_over(root: Path, invoke: Any) -> None:
    """Pictures, another tag, a tensor under a metric's own tag, hyperparameters: in the new file as they were, once."""
    invoke("tensorboard", root, "--rebuild")
    values = [
        Summary.Value(tag="weights", simple_value=1.0),
        Summary.Value(tag="digit", image=Summary.Image(width=1, height=1, encoded_image_string=b"png")),
        scalar_pb("val_acc", 0.5).value[0],
        hparams_pb({"lr": 0.1}).value[0],
    ]
    writer = EventFileWriter(str(root / RUN))
    point = Summary.Value(tag="val_acc", simple_value=99.0)  # not what Parquet says
    for together in ([values[0]], [point], [values[1]], [point, values[2]], [values[3]]):
        writer.add_event(Event(step=1, summary=Summary(value=together)))
    writer.close()
    for _ in range(2):
        assert f"{RUN}: 48 points and 4 other events" in invoke("tensorboard", root, "--rebuild").stdout
        (events,) = (root / RUN).glob("events*")
        written = [value for event in LegacyEventFileLoader(str(events)).Load() for value in event.summary.value]
        assert [value for value in written if value in values] == values
        points = _points(root / RUN)
        assert points.pop("weights") == [(1, 1.0)]
        assert points == _recorded(root, RUN)


def test_what_a_resume_went_back_behind_is_gone_and_nothing_else(tmp_path: Path, invoke: Any) -> None:
    """Two attempts, the second from step 4: TensorBoard shows the points that count, though the old files said to forget some."""
    began = datetime.now(UTC)
    for attempt, steps in ((0, range(8)), (1, range(4, 6))):
        records = [Record("train", s, s + 1, 0, 1000 * attempt + s, ("loss",), (s + 10.0 * attempt,)) for s in steps]
        for writer in (
            SegmentWriter(tmp_path / "r" / "metrics", run_id="r", attempt=attempt),
            EventWriter(tmp_path / "r", purge_from=4 if attempt else None),
        ):
            writer.write(records)
            writer.close()
    attempts = (Attempt(number=0, started=began), Attempt(number=1, started=began, resumed_step=4))
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="completed", created=began, updated=began, attempts=attempts))
    invoke("tensorboard", tmp_path, "--rebuild")
    assert _points(tmp_path / "r") == {"loss": [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 14.0), (5, 15.0)]}


def test_a_file_that_holds_no_events_stays(root: Path, invoke: Any) -> None:
    """Whatever it is, it isn't ours."""
    stranger = root / RUN / "events.out.tfevents.notes"
    stranger.write_text("not an event file")
    invoke("tensorboard", root, "--rebuild")
    assert stranger.read_text() == "not an event file"
    assert len(list((root / RUN).glob("events*"))) == 2


def test_a_running_run_and_an_empty_one_are_left_alone(tmp_path: Path, invoke: Any) -> None:
    """The first one's own writer has the file open."""
    with fitgate.start_run(tmp_path) as run:
        run.log_metric("loss", 1.0)
        run.flush()
        before = list(run.path.glob("events*"))
        assert "running" in invoke("tensorboard", tmp_path, "--rebuild").stdout
        assert list(run.path.glob("events*")) == before
    with fitgate.start_run(tmp_path / "other"):
        pass
    assert "no points" in invoke("tensorboard", tmp_path / "other", "--rebuild").stdout


def test_a_rebuild_that_fails_leaves_everything_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch, invoke: Any) -> None:
    """The disk is full in the middle of the new file: the old one stays, and nothing half-made beside it."""
    invoke("tensorboard", root, "--rebuild")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def full(source: Any, target: Any) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fitgate.tensorboard.rebuild.shutil.copyfile", full)
    assert invoke("tensorboard", root, "--rebuild").exit_code != 0
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("apart", [("validate", "accuracy"), ("train", "accuracy")], ids=str)
def test_values_of_two_stages_keep_their_own_tags(tmp_path: Path, invoke: Any, apart: tuple[str, str]) -> None:
    """Where one name stands in two stages and the old events tell them apart, so do the new ones."""
    tag = f"{apart[1]}/{apart[0]}"
    recorder = open_recorder(tmp_path / "r", tags={apart: tag})
    for step in range(3):
        recorder.record(Record("train", step, step + 1, 0, 1000 + step, ("accuracy",), (0.1 * step,)))
        recorder.record(Record("validate", step, step + 1, 0, 2000 + step, ("accuracy",), (0.2 * step,)))
    recorder.close()
    recorder.update(state="completed")
    before = _points(tmp_path / "r")
    assert set(before) == {"accuracy", tag}
    invoke("tensorboard", tmp_path, "--rebuild")
    assert _points(tmp_path / "r") == before


def test_two_stages_are_two_curves_without_the_old_events_too(tmp_path: Path, invoke: Any) -> None:
    """Nothing tells which of them had a tag of its own: validation has it then. What stands in one stage keeps its name."""
    recorder = open_recorder(tmp_path / "r", tensorboard=False)
    for stage, value in (("train", 0.25), ("validate", 0.5)):
        recorder.record(Record(stage, 0, 1, 0, 1000, ("acc", f"{stage}_only"), (value, 1.0)))
    recorder.close()
    recorder.update(state="completed")
    for _ in range(2):
        invoke("tensorboard", tmp_path, "--rebuild")
        points = {"acc": [(0, 0.25)], "acc/validate": [(0, 0.5)], "train_only": [(0, 1.0)], "validate_only": [(0, 1.0)]}
        assert _points(tmp_path / "r") == points


def test_a_damaged_run_keeps_no_other_from_being_rebuilt(root: Path, invoke: Any) -> None:
    """It is named at the end, with what to do, and the exit code tells."""
    damaged = max(root.iterdir()).name
    next((root / damaged / "metrics").glob("*.parquet")).write_bytes(b"PAR1")
    done = invoke("tensorboard", root, "--rebuild")
    assert done.exit_code == 2
    assert f"{damaged} is left as it was: " in done.stderr
    assert [run.id for run in fitgate.Store(str(root)).runs() if f"{run.id}: 48 points" in done.stdout] == sorted(
        (path.name for path in root.iterdir() if path.name != damaged), reverse=True
    )


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
    assert "no runs are recorded in 'nowhere'" in done.stderr


def test_options_alone_leave_the_root_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Any) -> None:
    """`fitgate tensorboard -- --reload_interval 5`: the first word is no ROOT."""
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: started.append(arguments))
    for arguments in (
        ["--", "--reload_interval", "5"],
        ["--reload_interval", "5"],
        ["--port", "1", "runs", "--reload_interval=5"],
        ["--root", "runs", "--reload_interval", "5"],
    ):
        invoke("tensorboard", *arguments)
    rest = [arguments[arguments.index("--logdir") :] for arguments in started]
    assert rest == [
        ["--logdir", "runs", "--reload_interval", "5"],
        ["--logdir", "runs", "--reload_interval", "5"],
        ["--logdir", "runs", "--port", "1", "--reload_interval=5"],
        ["--logdir", "runs", "--reload_interval", "5"],
    ]
