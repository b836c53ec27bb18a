"""`fitgate demo`, as a user runs it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fitgate
from fitgate.gate import evaluate
from fitgate_callbacks.demo import STRICT, run_demo
from tests._process import run_module

pytestmark = pytest.mark.timeout(300)


def _run(folder: Path, *arguments: str, code: str | None = None) -> Any:
    program = ["-c", code] if code else ["-m", "fitgate"]
    return subprocess.run([sys.executable, *program, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def _line(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(label)).strip().removeprefix(label).strip()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A demo that ran once, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, _run(folder, "demo")


def test_the_demo_deploys_and_says_where_everything_lies(deployed: tuple[Path, Any]) -> None:
    """Exit code 0, a version that is live, checks with value and margin, and no noise on standard error."""
    folder, done = deployed
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "DEPLOY" in done.stdout
    assert done.stdout.count("passes by") == 2
    exported = folder / _line(done.stdout, "exported").split()[0]
    assert exported == folder / "deploy" / "digits" / "1"
    assert json.loads((exported.parent / "CURRENT").read_bytes())["version"] == 1
    run = fitgate.Store(str(folder / "runs")).latest()
    assert run.state == "deployed"
    assert _line(done.stdout, "record") == f"runs/{run.id}"
    for noise in ("GPU", "Tip", "max_epochs", "num_workers", "Warning"):
        assert noise not in done.stdout
    assert "val_acc:" in done.stdout  # of Lightning's progress bar


def test_the_demo_logs_what_a_user_would(deployed: tuple[Path, Any]) -> None:
    """Loss and accuracy of both splits: training every step, validation every epoch."""
    run = fitgate.Store(str(deployed[0] / "runs")).latest()
    counts = {name: run.metrics([name]).num_rows for name in ("train_loss", "train_acc", "val_loss", "val_acc")}
    assert counts == {"train_loss": 345, "train_acc": 345, "val_loss": 15, "val_acc": 15}


def test_every_command_that_the_demo_suggests_works(deployed: tuple[Path, Any]) -> None:
    """As it stands, from the same folder; TensorBoard's only as far as its version."""
    folder, done = deployed
    for label, codes in (("the curves", {0}), ("judge again", {0, 1}), ("all runs", {0})):
        command = shlex.split(_line(done.stdout, label))
        assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode in codes, command
    program, *arguments = shlex.split(_line(done.stdout, "TensorBoard"))
    assert arguments == ["--logdir", "runs"]
    assert subprocess.run([program, "--version_tb"], cwd=folder, capture_output=True, check=False).returncode == 0


def test_the_strict_demo_ends_in_the_improve_report(tmp_path: Path) -> None:
    """Exit code 0 too: it ran as meant. Nothing is exported, and the page is there."""
    done = run_module("fitgate", "demo", "--strict", "--epochs", "2", "--runs", "a store/runs", "--deploy", "out", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "IMPROVE" in done.stdout
    assert done.stdout.count("misses by") == 2
    page = tmp_path / _line(done.stdout, "report")
    assert page.read_text().startswith("<!doctype html>")
    assert not (tmp_path / "out").exists()
    assert shlex.split(_line(done.stdout, "all runs"))[1:] == ["runs", "a store/runs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a store"]


def test_without_scikit_learn_the_demo_says_what_to_install(tmp_path: Path) -> None:
    """One line, exit code 2."""
    code = "import sys; sys.modules['sklearn'] = None; from fitgate.cli import main; main()"
    done = _run(tmp_path, "demo", code=code)
    assert done.returncode == 2
    assert "pip install scikit-learn" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_demo_gives_the_same_numbers_for_the_same_seed(deployed: tuple[Path, Any], tmp_path: Path) -> None:
    """The first run's curve, again; another seed's is another."""
    first = fitgate.Store(str(deployed[0] / "runs")).latest().metrics(["train_loss"])["value"].to_pylist()
    curves = []
    for seed in (0, 1):
        runs = tmp_path / str(seed) / "runs"
        run_demo(strict=False, runs=runs, deploy=tmp_path / "deploy", epochs=1, seed=seed)
        curves.append(fitgate.Store(str(runs)).latest().metrics(["train_loss"])["value"].to_pylist())
    assert curves[0] == first[: len(curves[0])]
    assert curves[1] != curves[0]


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_the_demo_ends_as_meant_with_any_seed(tmp_path: Path) -> None:
    """A dozen seeds deploy, and none comes near what --strict asks for."""
    for seed in range(12):
        decision = run_demo(strict=False, runs=tmp_path / "runs", deploy=tmp_path / "deploy", epochs=15, seed=seed)
        assert decision.verdict == "deploy", (seed, decision.reasons)
        assert evaluate(STRICT, decision.metrics).verdict == "improve", seed
