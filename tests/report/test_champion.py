"""A report that is read from disk is the one that the fit wrote, champion and all; its command lines work as they stand."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from typer.testing import CliRunner

from fitgate.cli import app
from tests.callbacks._gated import Scripted, best, fit, latest, loader

THRESHOLDS = ["val_acc >= champion + 0.02", "val_acc >= 0.5"]


@pytest.fixture
def improve(tmp_path: Path) -> Path:
    """The folder of a run that is no better than the live version, which a run before it became."""
    first, _ = fit(tmp_path, best(tmp_path, "a"), module=Scripted((0.6, 0.9)), thresholds=THRESHOLDS)
    second, _ = fit(tmp_path, best(tmp_path, "b"), module=Scripted((0.7, 0.8)), thresholds=THRESHOLDS)
    assert first.decision is not None
    assert second.decision is not None
    assert (first.decision.verdict, second.decision.verdict) == ("deploy", "improve")
    assert second.run_dir is not None
    return second.run_dir


def _command(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_report_from_disk_is_the_one_that_was_written(improve: Path, tmp_path: Path) -> None:
    """To the last key: verdict, checks, champion, what changed, how to reproduce."""
    written = json.loads((improve / "improve" / "report.json").read_bytes())
    done = _command("report", improve.name, "--root", tmp_path / "runs", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == written
    assert written["changes"]["champion"] == "version 1"
    accuracy = next(row for row in written["changes"]["metrics"] if row["name"] == "val_acc")
    assert (accuracy["this"], accuracy["champion"]) == (pytest.approx(0.8), pytest.approx(0.9))


def test_what_is_validated_after_a_fit_changes_nothing_in_its_report(tmp_path: Path) -> None:
    """Other weights have other values: curves, the best ever seen and what was judged are the fit's. `show` counts the points."""
    gate, trainer = fit(tmp_path, best(tmp_path), module=Scripted((0.7, 0.8)), max_epochs=2, thresholds=["val_acc >= 0.9"])
    assert gate.run_dir is not None
    root = ("--root", tmp_path / "runs", "--json")
    before = json.loads(_command("show", gate.run_dir.name, *root).stdout)["metrics"]
    trainer.validate(Scripted((0.99,)), loader(), verbose=False)
    written = json.loads((gate.run_dir / "improve" / "report.json").read_bytes())
    assert json.loads(_command("report", gate.run_dir.name, *root).stdout) == written
    after = json.loads(_command("show", gate.run_dir.name, *root).stdout)["metrics"]
    counts = [next(one["count"] for one in shown if one["name"] == "val_acc") for shown in (before, after)]
    assert counts == [2, 3]


def test_the_page_from_disk_is_the_one_that_was_written(improve: Path, tmp_path: Path) -> None:
    """The same bytes, picture by picture."""
    page = tmp_path / "again.html"
    done = _command("report", improve.name, "--root", tmp_path / "runs", "--html", page)
    assert done.exit_code == 0, done.output
    assert page.read_bytes() == (improve / "improve" / "report.html").read_bytes()


def test_judge_again_as_the_report_says_it(improve: Path) -> None:
    """Copied and run: the same verdict and exit code, and the thresholds need not be typed."""
    written = json.loads((improve / "improve" / "report.json").read_bytes())
    (line,) = (command for command, what in written["reproduce"]["commands"] if what.startswith("judge again"))
    program, *arguments = shlex.split(line)
    assert Path(program).name == "fitgate"
    assert "-t" not in arguments
    done = _command(*arguments, "--json")
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout) == json.loads((improve / "gate.json").read_bytes())


class Fails(pl.Callback):
    """Ends a fit in its second epoch."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            message = "no more"
            raise RuntimeError(message)


def test_a_fit_that_failed_knows_the_champion_too(tmp_path: Path) -> None:
    """A relative threshold is not said to be waived for want of a champion while one is live."""
    fit(tmp_path, best(tmp_path, "a"), thresholds=THRESHOLDS)
    with pytest.raises(RuntimeError, match="no more"):
        fit(tmp_path, best(tmp_path, "b"), Fails(), thresholds=THRESHOLDS)
    run = latest(tmp_path)
    gate: dict[str, Any] = json.loads((Path(run.path) / "gate.json").read_bytes())
    assert gate["live"]["version"] == 1
    assert not any(check["waived"] for check in gate["checks"])
    written = json.loads((Path(run.path) / "improve" / "report.json").read_bytes())
    assert json.loads(_command("report", run.id, "--root", tmp_path / "runs", "--json").stdout) == written
