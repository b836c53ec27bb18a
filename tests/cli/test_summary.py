"""The summary at the end of a fit."""

import io
import shlex
import shutil
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fitgate.gate import Threshold, decision_as_dict, evaluate
from fitgate.gate._decision import Judged
from fitgate.summary import command_line, labelled, print_summary

METRICS = {"val_acc": 0.9, "val_loss": 0.4}


def _printed(decision: Any, *, width: int = 80, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    print_summary(decision_as_dict(decision, "r"), run_dir=options.pop("run_dir", "runs/r"), console=console, **options)
    return console.export_text()


def test_a_deploy_names_verdict_checks_export_and_the_command(tmp_path: Path) -> None:
    """Each check with value and margin; the export with its files."""
    for name in ("model.ckpt", "model.safetensors", "manifest.json"):
        (tmp_path / name).touch()
    decision = evaluate(["val_acc >= 0.8", "val_loss <= 0.5"], METRICS, judged=Judged(global_step=30, epoch=2, source="best by val_acc"))
    text = _printed(decision, exported=tmp_path)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["DEPLOY", "r"]
    assert lines[1] == ["✓", "val_acc", ">=", "0.8", "0.9", "passes", "by", "0.1"]
    assert lines[2] == ["✓", "val_loss", "<=", "0.5", "0.4", "passes", "by", "0.1"]
    assert f"{tmp_path}  (model.ckpt, model.safetensors)" in text
    assert "best by val_acc: epoch 2, step 30" in text
    assert "tensorboard --logdir runs" in text


def test_an_improve_says_why_and_where_the_report_lies() -> None:
    """What makes the numbers unfit comes first, then each miss; warnings and waived checks are told apart."""
    thresholds: list[str | Threshold] = [
        "val_acc >= 0.95",
        "val_f1 >= 0.5",
        "val_loss <= champion",
        Threshold("val_loss", "<=", 0.1, warn=True),
    ]
    decision = evaluate(thresholds, METRICS, ineligible=["interrupted: the fit was stopped by SIGTERM"])
    text = _printed(decision, width=160, report="runs/r/improve/report.html")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert lines[0].split() == ["IMPROVE", "r"]
    assert lines[1] == "✗ interrupted: the fit was stopped by SIGTERM"
    assert lines[2] == "This alone is an improve: checks that pass don't change it."
    assert [line[0] for line in lines[3:7]] == ["✗", "✗", "·", "!"]
    assert "misses by 0.05" in lines[3]
    assert "not recorded for the judged weights" in text
    assert "runs/r/improve/report.html" in text


def test_a_bound_that_follows_from_the_champion_is_told() -> None:
    """In about the digits of the margin, and in more where the value would else seem to lie on it; a typed bound is there already."""
    decision = evaluate(
        ["val_loss <= champion * 1.5", "val_acc >= champion", "val_acc >= 0.8"],
        {"val_loss": 0.115226, "val_acc": 0.912344},
        champion={"val_loss": 0.1140557751, "val_acc": 0.9123461},
    )
    lines = [line.strip().split("  ")[-1].strip() for line in _printed(decision, width=120).splitlines() if "val_" in line]
    assert lines == ["needed 0.1711: passes by 0.05586", "needed 0.91235: misses by 2.1e-06", "passes by 0.1123"]


@pytest.mark.parametrize("width", [30, 50, 80, 120])
def test_paths_and_commands_stay_in_one_piece_at_any_width(tmp_path: Path, width: int) -> None:
    """To be copied: the terminal wraps them, not we."""
    run_dir = tmp_path / "a-store-with-quite-a-long-name" / "digits-20261123-084001-quiet-otter"
    text = _printed(evaluate(["val_acc >= 0.8"], METRICS), width=width, run_dir=run_dir, report=run_dir / "improve" / "report.html")
    assert str(run_dir / "improve" / "report.html") in text
    assert f"--logdir {run_dir.parent}" in text


@pytest.mark.parametrize("width", [20, 80])
def test_a_command_that_is_printed_by_itself_stays_in_one_piece(width: int) -> None:
    """As the demo prints its next commands, also where the path of the program is longer than the terminal is wide."""
    command = f"/a/deep/{'folder/' * 9}bin/fitgate gate latest -t 'val_acc >= 0.99'"
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(labelled("judge again", command), crop=False)
    assert console.export_text().rstrip("\n").endswith(f"  {command}")


def test_a_terminal_without_utf_8_gets_ascii_marks() -> None:
    """The print at the end of a fit must not end it."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    decision = evaluate(["val_acc >= 0.8", "val_acc >= 0.95"], METRICS)
    print_summary(decision_as_dict(decision, "r"), run_dir="runs/r", console=Console(file=file))
    file.flush()
    assert b"+   val_acc >= 0.8" in file.buffer.getvalue()


def test_a_command_can_be_run_whether_the_environment_is_active_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The bare name where PATH leads to this environment's own script, else its path."""
    scripts = Path(sysconfig.get_path("scripts"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(scripts))
    assert command_line("fitgate", "show", "a run") == "fitgate show 'a run'"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(command_line("fitgate", "runs")) == [str(scripts / "fitgate"), "runs"]
    shutil.copy(scripts / "fitgate", tmp_path / "fitgate")
    assert shlex.split(command_line("fitgate", "runs")) == [str(scripts / "fitgate"), "runs"]
    monkeypatch.chdir(scripts.parent)
    assert command_line("fitgate", "runs") == "bin/fitgate runs"
    assert command_line("no-such-script", "x") == "no-such-script x"


def test_what_only_warns_does_not_look_like_what_blocks() -> None:
    """Beside checks that all pass, too: the sign says whether it stood in the way."""
    passed = evaluate(["val_acc >= 0.8"], METRICS)
    warned = _printed(replace(passed, warnings=("the champion was validated on other data",)))
    assert "! the champion was validated on other data" in warned
    assert "improve" not in warned
    blocked = _printed(evaluate(["val_acc >= 0.95"], METRICS, ineligible=["interrupted: the fit was stopped by SIGTERM"]))
    assert "✗ interrupted" in blocked
    assert "This alone" not in blocked, "where no check passes, nobody is misled"


def test_the_end_of_fit_comes_after_epochs() -> None:
    """Epochs count from 0: after three of them there is no epoch 3."""
    for epochs, words in (
        (3, "end of fit: step 104, after 3 epochs"),
        (1, "end of fit: step 104, after 1 epoch"),
        (0, "end of fit: step 104"),
    ):
        text = _printed(evaluate(["val_acc >= 0.8"], METRICS, judged=Judged(global_step=104, epoch=epochs)))
        assert text.splitlines()[-3].split("judged", 1)[-1].strip() == words
