"""`fitgate compare`, as one types it."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import fitgate
from fitgate.cli import app

MakeRun = Callable[..., fitgate.Run]


@pytest.fixture
def run(make_run: MakeRun, tmp_path: Path) -> Callable[..., Result]:
    """Run the command over a store of three runs: `main` at 0.90, `worse` at 0.88, `other` without the metric."""
    make_run("main", {"val_acc": [0.5, 0.9], "val_loss": [0.9, 0.3]}, hparams={"lr": 0.1})
    make_run("worse", {"val_acc": [0.5, 0.88], "val_loss": [0.9, 0.2]}, hparams={"lr": 0.2})
    make_run("other", {"val_f1": [0.5]})

    def invoke(*arguments: str) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["compare", *arguments, "--root", str(tmp_path)])

    return invoke


def test_without_arguments_all_runs_are_compared(run: Callable[..., Result]) -> None:
    """By a metric and a direction that it names."""
    done = run()
    assert done.exit_code == 0
    assert "val_acc, higher is better" in done.stdout
    assert "metric: the accuracy on validation data, recorded by 2 of 3 runs" in done.stdout
    assert done.stdout.index("main") < done.stdout.index("worse")
    assert "no rank: other never recorded val_acc" in done.stdout
    assert done.stderr == ""


def test_runs_are_named_by_prefix_or_latest_and_the_mode_is_given(run: Callable[..., Result]) -> None:
    """Only those are compared."""
    done = run("ma", "worse", "--metric", "val_loss", "--json")
    assert [(r["id"], r["best"]["value"]) for r in json.loads(done.stdout)["runs"]] == [("worse", 0.2), ("main", 0.3)]
    done = run("main", "worse", "--metric", "val_loss", "--mode", "max", "--json")
    assert [(r["id"], r["best"]["value"]) for r in json.loads(done.stdout)["runs"]] == [("main", 0.9), ("worse", 0.9)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("worse", "--metric", "val_acc", "--fail-if-worse", "0.01"), 1),
        (("worse", "--metric", "val_acc", "--fail-if-worse", "0.05"), 0),
        (("worse", "--metric", "val_loss", "--fail-if-worse", "0"), 0),
        (("worse", "--metric", "val_loss", "--mode", "max", "--fail-if-worse", "0.5"), 0),
        (("other", "--metric", "val_acc", "--fail-if-worse", "99"), 1),
        (("other", "--metric", "val_f1", "--fail-if-worse", "0"), 2),
        (("worse", "--metric", "val_ac", "--fail-if-worse", "0.01"), 2),
        (("nobody", "--metric", "val_acc", "--fail-if-worse", "0.01"), 2),
        (("worse", "other", "--metric", "val_acc", "--fail-if-worse", "0.01"), 2),
        (("main", "--metric", "val_acc", "--fail-if-worse", "0.01"), 2),
        (("worse", "--fail-if-worse", "0.01"), 2),
        (("worse", "--metric", "val_acc", "--fail-if-worse", "-1"), 2),
    ],
)
def test_exit_codes_against_a_baseline(run: Callable[..., Result], arguments: tuple[str, ...], code: int) -> None:
    """0 not worse, 1 worse, by more than allowed or for want of a value, 2 wrong use; every form of output the same."""
    for form in ((), ("--json",), ("--markdown",)):
        done = run(*arguments, "--baseline", "main", *form)
        assert done.exit_code == code, done.output
        assert bool(done.stdout) is (code != 2)
        assert bool(done.stderr) is (code == 2)


def test_two_runs_in_a_store_need_no_names(make_run: MakeRun, tmp_path: Path) -> None:
    """The one that is not the baseline is meant; the outcome is the last line."""
    for name, value in (("old", 0.9), ("new", 0.8)):
        make_run(name, {"val_acc": [value]})
    arguments = ["compare", "--root", str(tmp_path), "--baseline", "old", "--metric", "val_acc", "--fail-if-worse", "0.01"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    last = done.stdout.strip().splitlines()[-1]
    assert last == "new is worse by 0.1 than the baseline old (val_acc 0.8 against 0.9): more than the 0.01 allowed"


def test_wrong_use_says_what_is_right(run: Callable[..., Result]) -> None:
    """The nearest metric, the missing option, the modes there are."""
    assert "did you mean val_acc" in run("--metric", "val_ac").stderr
    assert "give --baseline RUN" in run("--fail-if-worse", "0.1", "--metric", "x").stderr
    assert "give --metric NAME" in run("--fail-if-worse", "0.1", "--baseline", "main").stderr
    assert "'min', 'max' or 'auto', got 'up'" in run("--mode", "up").stderr
    assert "--json or --markdown" in run("--json", "--markdown").stderr
    assert [run(*wrong).exit_code for wrong in (("--mode", "up"), ("--json", "--markdown"), ("nobody",))] == [2, 2, 2]


def test_a_page_and_markdown_are_written(run: Callable[..., Result], tmp_path: Path) -> None:
    """The page's path is said after the leaderboard; its folder is made."""
    target = tmp_path / "pages" / "compare.html"
    done = run("--html", str(target))
    assert done.exit_code == 0
    assert done.stdout.strip().splitlines()[-1].endswith("compare.html")
    assert target.read_text().startswith("<!doctype html>")
    assert run("--markdown").stdout.startswith("**val_acc, higher is better**")


def test_many_runs_show_a_bar_to_those_who_watch(make_run: MakeRun, tmp_path: Path) -> None:
    """On a real terminal's standard error; nothing there when it is piped, and never on standard output."""
    for index in range(25):
        make_run(f"r{index:02d}", {"val_acc": [0.5]})
    command = [sys.executable, "-m", "fitgate", "compare", "--root", str(tmp_path), "--json"]
    piped = subprocess.run(command, capture_output=True, check=True, text=True)
    assert piped.stderr == ""
    watching, terminal = pty.openpty()
    seen = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(terminal)
        assert process.stdout is not None
        out = process.stdout.read()
        while chunk := _read(watching):
            seen += chunk
    os.close(watching)
    assert b"reading points" in seen
    assert b"25/25" in seen
    assert json.loads(out) == json.loads(piped.stdout)


def test_the_command_loads_no_training_and_no_plotting_library(make_run: MakeRun, tmp_path: Path) -> None:
    """A page alone needs the latter."""
    make_run("a", {"val_acc": [0.5]})
    code = (
        "import sys; from fitgate.cli import app; app(['compare', '--root', sys.argv[1]], standalone_mode=False);"
        "print([m for m in ('torch', 'pytorch_lightning', 'lightning', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def _read(handle: int) -> bytes:
    """What a terminal shows next; empty at its end, which Linux calls an error."""
    try:
        return os.read(handle, 4096)
    except OSError:
        return b""
