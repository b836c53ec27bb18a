"""The command line as a whole: help, errors, and what it loads."""

import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from fitgate.cli import COMMANDS
from tests.registry._versions import publish_version

HEAVY = ("torch", "pytorch_lightning", "lightning", "matplotlib")


def test_reading_commands_load_neither_torch_nor_lightning_nor_a_plotting_library(root: Path, tmp_path: Path) -> None:
    """In a fresh process, after each of them."""
    deploy = tmp_path / "deploy"
    for accuracy in (0.8, 0.9):
        publish_version(deploy / "digits", accuracy)
    commands = [
        ["--help"],
        ["runs", str(root)],
        ["runs", str(root), "--json"],
        ["show", "latest", "--root", str(root)],
        ["show", "latest", "--root", str(root), "--json"],
        ["gate", "latest", "-t", "val_acc >= 0.8", "--root", str(root)],
        ["gate", "latest", "--root", str(root)],
        ["report", "latest", "--root", str(root)],
        ["report", "latest", "--root", str(root), "--json"],
        ["models", str(deploy)],
        ["models", str(deploy), "--json"],
        ["verify", str(deploy / "digits")],
        ["promote", str(deploy / "digits"), "1"],
        ["rollback", str(deploy / "digits")],
    ]
    code = (
        "import json, sys\n"
        "from fitgate.cli import app\n"
        f"for command in {commands!r}:\n"
        "    try:\n"
        "        app(command)\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, (command, end.code)\n"
        f"    print(json.dumps([command, [m for m in {HEAVY!r} if m in sys.modules]]), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [json.loads(line) for line in done.stderr.splitlines()]
    assert loaded == [[command, []] for command in commands]


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_each_commands_help_ends_with_an_example_and_says_its_exit_codes(command: str, invoke: Any) -> None:
    """The last lines are command lines of that command."""
    help_text = invoke(command, "--help").stdout
    assert "Exit codes:" in help_text
    _, _, example = help_text.partition("Example:")
    lines = example.strip().splitlines()
    assert lines
    assert all(line.strip().startswith(f"fitgate {command}") for line in lines)


def test_the_version_is_the_packages(invoke: Any) -> None:
    """`fitgate --version`."""
    assert invoke("--version").stdout == f"fitgate {version('fitgate')}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs", "nowhere"], "no runs are recorded in 'nowhere': there is no such folder; train with MetricsCallback, or point to"),
        (["show", "nobody"], "has no run 'nobody'; the newest are net-20261123-100000-glad-hen"),
        (["show", "net-2026"], "several runs that begin with 'net-2026'"),
        (["show", "latest", "-m", "val_ac"], "nobody has logged 'val_ac'; did you mean val_acc"),
        (["gate", "latest", "-t", "val_acc => 0.8"], 'Write it as "val_acc >= 0.8".'),
        (["gate", "latest", "-t", "val_acc >= champion"], "needs --champion MODEL_DIR"),
        (["gate", "latest", "-t", "val_acc >= champion", "--champion", "deploy/net"], "no live version at 'deploy/net'"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exit_code_2(arguments: list[str], message: str, root: Path, invoke: Any) -> None:
    """No traceback, nothing on standard output."""
    where = [] if arguments[0] == "runs" else ["--root", str(root)]
    done = invoke(*arguments, *where)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["gate", "net-20261123-080000-old-owl"], ["gate", "latest", "-t", "a > 1", "--allow", "interrupted"], ["nothing"]]
)
def test_wrong_use_is_exit_code_2(arguments: list[str], root: Path, invoke: Any) -> None:
    """No threshold for a run that nobody judged, a rule that can't be set aside, an unknown command."""
    where = ["--root", str(root)] if arguments[0] == "gate" else []
    assert invoke(*arguments, *where).exit_code == 2


def test_a_root_in_its_place_can_be_given_as_an_option_too(root: Path, tmp_path: Path, invoke: Any) -> None:
    """As the commands take it that have a RUN in that place; the same twice is once, and two that differ are wrong use."""
    publish_version(tmp_path / "deploy" / "digits")
    for command, where, other in (
        (["runs", "--json"], root, tmp_path),
        (["tensorboard", "--rebuild"], root, tmp_path),
        (["models", "--json"], tmp_path / "deploy", tmp_path),
    ):
        placed = invoke(*command, where)
        assert placed.exit_code == 0
        for arguments in (["--root", where], [where, "--root", where]):
            done = invoke(*command, *arguments)
            assert (done.exit_code, done.stdout) == (0, placed.stdout)
        both = invoke(*command, where, "--root", other)
        assert (both.exit_code, both.stdout) == (2, "")
        assert "only one can be meant" in both.stderr


def test_a_damaged_run_is_named_in_one_line_and_the_others_are_listed(root: Path, invoke: Any) -> None:
    """A broken run.json must not hide the rest."""
    (root / "net-20261123-080000-old-owl" / "run.json").write_text("{")
    done = invoke("runs", root, "--json")
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)) == 2
    assert done.stderr.startswith("warning: ")
    assert "old-owl/run.json" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_is_piped_has_no_colours_and_survives_any_encoding(root: Path, encoding: str) -> None:
    """A real pipe, `show` with curves and marks."""
    command = [sys.executable, "-m", "fitgate", "show", "net-20261123-090000", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    text = done.stdout.decode(encoding)
    assert "\x1b" not in text
    assert "val_acc >= 0.95" in text
    assert done.stderr == b""


def test_a_closed_pipe_ends_quietly(root: Path) -> None:
    """`fitgate runs | head -c 1` leaves no traceback."""
    command = f"{shlex.join([sys.executable, '-m', 'fitgate', 'runs', str(root)])} | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)  # noqa: S607 - whichever bash
    assert done.stderr == ""


def test_a_page_that_cannot_be_written_is_one_line_and_exit_code_2(root: Path, tmp_path: Path, invoke: Any) -> None:
    """Exit code 1 would be a verdict."""
    (tmp_path / "file").write_text("")
    result = invoke("report", "latest", "--root", root, "--html", tmp_path / "file" / "page.html")
    assert result.exit_code == 2
    assert result.stderr.startswith("fitgate: ")
    assert len(result.stderr.splitlines()) == 1
