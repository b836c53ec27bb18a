"""Publishing survives kill -9 at every step, and two publishers at once."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitgate.errors import RegistryError
from fitgate.registry import (
    new_staging,
    promote,
    publish,
    read_current,
    read_history,
    rollback,
    tidy,
    verify,
    verify_version,
    version_dir,
    version_numbers,
    write_manifest,
)

Release = Callable[..., int]
_SIGNATURE = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 2]}],
}


def _release(model_dir: Path, text: str) -> int:
    staging = new_staging(model_dir, "run")
    (staging.folder / "model.onnx").write_text(text)
    (staging.folder / "gate.json").write_text("{}")
    write_manifest(staging.folder, {"metrics": {"val_acc": 0.9}, "signature": _SIGNATURE})
    return publish(staging, model_dir, why=text)


_STEPS = {
    "open",
    "write",
    "close",
    "flush",
    "fsync",
    "replace",
    "rename",
    "mkdir",
    "rmdir",
    "unlink",
    "remove",
    "chmod",
    "flock",
    "symlink",
}
"""What a process asks of the file system by these names, and of files that it has open."""


def _act(model_dir: Path, action: str) -> None:
    if action == "publish":
        _release(model_dir, "killed")
    elif action == "promote":
        promote(model_dir, 1)
    else:
        rollback(model_dir)


def _act_to_step(model_dir: Path, action: str, at: int | None, counted: Any) -> None:
    """In a child: SIGKILL right before the `at`-th thing that is asked of the file system; None only counts them."""
    count = 0

    def profile(_frame: Any, event: str, function: Any) -> None:
        nonlocal count
        if event == "c_call" and function.__name__ in _STEPS:
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)
    _act(model_dir, action)
    sys.setprofile(None)
    counted.value = count


def _count_steps(model_dir: Path, action: str) -> int:
    context = multiprocessing.get_context("fork")
    counted = context.Value("i", 0)
    process = context.Process(target=_act_to_step, args=(model_dir, action, None, counted))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return int(counted.value)


def _kill_at(model_dir: Path, at: int, action: str) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_act_to_step, args=(model_dir, action, at, context.Value("i", 0)))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def _assert_whole(model_dir: Path, lives: set[int]) -> None:
    """CURRENT names a whole, verified version, and so is every other that has a number."""
    current = read_current(model_dir)
    assert current is not None
    assert current.version in lives
    for number in version_numbers(model_dir):
        verify_version(version_dir(model_dir, number))
    assert {p.path for p in verify(model_dir).problems} <= {"config.pbtxt"}
    assert [move.version for move in read_history(model_dir)][:2] == [1, 2]


def _kill_at_each_step(tmp_path: Path, action: str, *, most: int | None = None) -> int:
    """Kill at each step, from the last one backwards: that is where things move. Gives how many were killed."""
    template = tmp_path / action / "template"
    assert [_release(template, "one"), _release(template, "two")] == [1, 2]
    steps = _count_steps(shutil.copytree(template, tmp_path / action / "count"), action)
    chosen = range(steps, max(0, steps - (most or steps)), -1)
    for at in chosen:
        model_dir = shutil.copytree(template, tmp_path / action / str(at))
        _kill_at(model_dir, at, action)
        _assert_whole(model_dir, {2, 3} if action == "publish" else {1, 2})
        # The next publisher cleans up, gets a number of its own, and leaves everything in step.
        number = _release(model_dir, "next")
        assert read_current(model_dir).version == number  # type: ignore[union-attr]
        assert not verify(model_dir).problems
        assert sorted(path.name for path in model_dir.glob(".*")) == [".lock"]
        assert [move.version for move in read_history(model_dir)][-1] == number
    return len(chosen)


@pytest.mark.parametrize(("action", "most"), [("publish", 45), ("promote", 5), ("rollback", 5)])
def test_killed_at_its_last_steps_current_names_a_whole_version(tmp_path: Path, action: str, most: int) -> None:
    """Those in which CURRENT, history.jsonl and config.pbtxt are written; `make stress` takes all."""
    assert _kill_at_each_step(tmp_path, action, most=most) == most


def test_killed_in_a_first_publication_nothing_is_off(tmp_path: Path) -> None:
    """At each step from where the version gets its number: CURRENT or a line of the history may not be there yet, and nothing was removed."""
    (tmp_path / "count").mkdir()
    steps, states = _count_steps(tmp_path / "count", "publish"), set()
    for at in range(steps, 0, -1):
        model_dir = tmp_path / str(at)
        model_dir.mkdir()
        _kill_at(model_dir, at, "publish")
        if not version_numbers(model_dir):
            break
        assert {problem.path for problem in verify(model_dir).problems} <= {"config.pbtxt"}
        states.add((read_current(model_dir) is None, len(read_history(model_dir))))
    assert states == {(True, 0), (False, 0), (False, 1)}
    assert _release(model_dir, "next") == 1
    assert not verify(model_dir).problems


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_killed_at_each_step_two_hundred_times(tmp_path: Path) -> None:
    """Every step of publish, promote and rollback in turn, until 200 processes have been killed."""
    killed = 0
    turn = 0
    while killed < 200:
        for action in ("publish", "promote", "rollback"):
            killed += _kill_at_each_step(tmp_path / str(turn), action)
        turn += 1


def _publish_some(model_dir: Path, name: str, count: int) -> None:
    for index in range(count):
        _release(model_dir, f"{name}-{index}")


def test_publishers_at_once_all_get_a_version(tmp_path: Path) -> None:
    """Four processes, five versions each: twenty numbers, each whole, and a history in the order they went live."""
    model_dir = tmp_path / "m"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_publish_some, args=(model_dir, f"p{i}", 5)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0] * 4
    assert version_numbers(model_dir) == tuple(range(1, 21))
    history = read_history(model_dir)
    assert [move.version for move in history] == list(range(1, 21))
    assert [move.previous for move in history] == [None, *range(1, 20)]
    assert {move.why for move in history} == {f"p{i}-{j}" for i in range(4) for j in range(5)}
    assert read_current(model_dir).version == 20  # type: ignore[union-attr]
    assert not verify(model_dir).problems


def test_a_number_taken_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where locks do not reach, the exclusive rename still gives both publishers a number."""
    model_dir = tmp_path / "m"
    _release(model_dir, "one")
    monkeypatch.setattr("fitgate.registry._publish.next_number", lambda _folder: 1)  # what another publisher's view would be
    assert _release(model_dir, "two") == 2
    verify_version(model_dir / "1")


def test_what_changed_since_it_was_sealed_is_not_published(tmp_path: Path) -> None:
    """Digests are verified at the last moment."""
    model_dir = tmp_path / "m"
    staging = new_staging(model_dir, "run")
    (staging.folder / "model.onnx").write_text("right")
    write_manifest(staging.folder, {})
    (staging.folder / "model.onnx").write_text("wrong")
    with pytest.raises(RegistryError, match=r"model\.onnx: has other bytes"):
        publish(staging, model_dir, why="test")
    assert version_numbers(model_dir) == ()
    assert read_current(model_dir) is None


def test_stale_stagings_are_removed_and_living_ones_are_not(tmp_path: Path) -> None:
    """A killed publisher's folder goes at the next start; one whose process lives stays, in this process or another."""
    model_dir = tmp_path / "m"
    ours = new_staging(model_dir, "ours")
    (ours.folder / "model.onnx").write_text("being written")
    ready = tmp_path / "ready"
    context = multiprocessing.get_context("fork")

    def stage_and_wait() -> None:
        held = new_staging(model_dir, "theirs")
        ready.touch()
        threading.Event().wait(100)
        held.drop()

    process = context.Process(target=stage_and_wait)
    process.start()
    deadline = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    tidy(model_dir)
    assert sorted(p.name[:14] for p in model_dir.glob(".staging*") if p.is_dir()) == [".staging-ours-", ".staging-their"]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    tidy(model_dir)
    assert [p.name[:14] for p in model_dir.glob(".staging*") if p.is_dir()] == [".staging-ours-"]
    ours.drop()
    assert not list(model_dir.glob(".staging*"))
