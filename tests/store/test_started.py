"""run.json says how the run was started, in which folder, and from which code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fitgate
from fitgate._started import git_state, started_command
from fitgate.store._run_file import read_run_info

_TRAIN = "import sys, fitgate\nwith fitgate.start_run(sys.argv[1], tensorboard=False) as run:\n    run.log_metric('loss', 1.0)\n"


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a package in it that trains."""
    folder = tmp_path / "pro ject"
    (folder / "nets").mkdir(parents=True)
    (folder / "nets" / "train.py").write_text(_TRAIN)
    _git(folder, "init", "-q")
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.mark.parametrize("more", ["", "# changed\n"])
def test_run_json_says_how_the_run_was_started(project: Path, tmp_path: Path, more: str) -> None:
    """As a module, with its arguments; the commit is git's own, and an edited file shows."""
    (project / "nets" / "train.py").write_text(_TRAIN + more)
    root = tmp_path / "runs"
    subprocess.run([sys.executable, "-m", "nets.train", str(root), "--name", "a b"], cwd=project, check=True)
    (attempt,) = fitgate.Store(str(root)).latest().info.attempts
    assert attempt.command == f"python -m nets.train {root} --name 'a b'"
    assert attempt.cwd == str(project)
    assert attempt.git == {"commit": _git(project, "rev-parse", "HEAD"), "dirty": bool(more)}


def test_the_runs_themselves_are_no_change(project: Path) -> None:
    """A store within the repository, which nobody told git to ignore: a second run is of the same clean code."""
    for _ in range(2):
        subprocess.run([sys.executable, "-m", "nets.train", "sub/runs"], cwd=project, check=True)
    found = [run.info.git for run in fitgate.Store(str(project / "sub" / "runs")).runs()]
    assert found == [{"commit": _git(project, "rev-parse", "HEAD"), "dirty": False}] * 2
    (project / "new.py").touch()
    subprocess.run([sys.executable, "-m", "nets.train", "sub/runs"], cwd=project, check=True)
    latest = fitgate.Store(str(project / "sub" / "runs")).latest().info.git
    assert latest is not None
    assert latest["dirty"]


def test_a_file_whose_name_is_no_text(project: Path) -> None:
    """Where git gives names as they are: the code is dirty, and nothing else happens."""
    _git(project, "config", "core.quotepath", "false")
    Path(os.fsdecode(bytes(project) + b"/\xff.py")).touch()
    assert git_state(project) == {"commit": _git(project, "rev-parse", "HEAD"), "dirty": True}


def test_the_code_is_the_scripts_wherever_it_is_started(project: Path, tmp_path: Path) -> None:
    """Started from a folder that is no repository."""
    script = project / "nets" / "train.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "runs")], cwd=tmp_path, check=True)
    (attempt,) = fitgate.Store(str(tmp_path / "runs")).latest().info.attempts
    assert attempt.cwd == str(tmp_path)
    assert attempt.git is not None
    assert attempt.git["commit"] == _git(project, "rev-parse", "HEAD")


def test_a_run_json_without_it_is_read(tmp_path: Path) -> None:
    """As earlier versions wrote it."""
    with fitgate.start_run(tmp_path, tensorboard=False) as run:
        run.log_metric("loss", 1.0)
    content = json.loads((run.path / "run.json").read_bytes())
    for attempt in content["attempts"]:
        for key in ("command", "cwd", "git"):
            del attempt[key]
    info = read_run_info(json.dumps(content).encode(), "run.json")
    assert (info.attempts[0].command, info.git) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["/usr/bin/python3", "train.py", "--lr", "0.1"], "python train.py --lr 0.1"),
        ([sys.executable, str(Path(sys.executable).parent / "fitgate"), "demo", "--strict"], "fitgate demo --strict"),
        (["python", os.path.relpath(Path(sys.executable).parent / "fitgate"), "demo"], "fitgate demo"),
        (["python", "-m", "fitgate", "demo"], "fitgate demo"),
        (["python", "-c", "print('a')"], "python -c 'print('\"'\"'a'\"'\"')'"),
        (
            ["python", "t.py", "--hub-token", "abc", "--db.password=x", "--tokens", "5"],
            "python t.py --hub-token … --db.password=… --tokens 5",
        ),
        (["python"], None),
        (["python", "-m", "ipykernel_launcher", "-f", "a.json"], None),
        (["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()", "--multiprocessing-fork"], None),
        (["python", "-c", "x" * 10_000], None),
    ],
)
def test_the_command_is_one_to_type(arguments: list[str], line: str | None) -> None:
    """Quoted, without what nobody should read; nothing where there is nothing to type."""
    assert started_command(arguments) == line


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    """Nor is there an error."""
    assert git_state(tmp_path) is None
