"""A champion's numbers count for the data they come from."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

import fitgate
from fitgate.callbacks import GateCallback
from fitgate.cli import app
from fitgate.registry import rollback
from tests.callbacks._gated import BATCH, Scripted, gate_file, loader, make_trainer


def _other(rows: int = 20, *, shuffle: bool = False) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(rows, 4, generator=generator), torch.arange(rows) % 3)
    return DataLoader(data, batch_size=BATCH, shuffle=shuffle)


def _warnings(tmp_path: Path, validation: DataLoader[Any]) -> tuple[str, ...]:
    gate = GateCallback(["val_acc >= 0.5", "val_acc >= champion - 0.01"], dirpath=tmp_path / "deploy", model_name="net")
    make_trainer(tmp_path, gate).fit(Scripted((0.9,)), loader(), validation)
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy"
    run = fitgate.Store(str(tmp_path / "runs")).latest()
    assert json.loads((Path(run.path) / "gate.json").read_bytes())["warnings"] == list(gate.decision.warnings)
    return gate.decision.warnings


def test_a_comparison_on_other_data_warns(tmp_path: Path) -> None:
    """Other samples and other sizes are told; the same data, at another batch size too, are not; nor what can't be known."""
    assert _warnings(tmp_path, loader()) == ()
    assert _warnings(tmp_path, loader()) == ()
    (other,) = _warnings(tmp_path, _other())
    assert other == "the champion was validated on other data (other first samples), so val_acc >= champion - 0.01 compares unlike numbers"
    (fewer,) = _warnings(tmp_path, _other(12))
    assert "12 samples here, 20 there" in fewer
    assert _warnings(tmp_path, _other(12, shuffle=True)) == (), "drawn at random: only the sizes can be compared"
    manifest = json.loads((tmp_path / "deploy" / "net" / "3" / "manifest.json").read_bytes())
    assert manifest["validation"]["sizes"] == [20]
    assert manifest["validation"]["n"] == 20
    assert len(manifest["validation"]["digest"]) == 64


def test_the_warning_is_there_when_a_stored_run_is_judged_again(tmp_path: Path) -> None:
    """From the run's files and the deploy root alone."""
    _warnings(tmp_path, loader())
    make_trainer(tmp_path, None).fit(Scripted((0.9,)), loader(), _other())
    command = [sys.executable, "-m", "fitgate", "gate", "latest", "-t", "val_acc >= champion - 0.1", "-t", "val_acc >= 0.5", "--json"]
    command += ["--root", str(tmp_path / "runs"), "--champion", str(tmp_path / "deploy" / "net")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "other first samples" in warning


class TakesNoBatch(Scripted):
    """Its forward takes no batch, so its outputs can't be compared; and its loss is NaN in the first epoch."""

    def forward(self, *, features: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(features)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = torch.nn.functional.cross_entropy(self(features=batch[0]), batch[1])
        return loss + float("nan") if self.current_epoch == 0 else loss  # its gradient is finite

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", self.script[min(self.current_epoch, len(self.script) - 1)])


def test_judged_against_the_same_champion_again_all_is_said_as_in_the_fit(tmp_path: Path) -> None:
    """Other data, outputs that were not compared, a training that was not finite: with --champion, and with thresholds, gate.json comes out again."""
    _warnings(tmp_path, loader())
    thresholds = ["val_acc >= 0.5", "val_acc >= champion - 0.01"]
    gate = GateCallback(thresholds, dirpath=tmp_path / "deploy", model_name="net")
    make_trainer(tmp_path, gate).fit(TakesNoBatch((0.9,)), loader(), _other())
    assert gate.decision is not None
    assert [warning.split()[0] for warning in gate.decision.warnings] == ["the", "outputs", "in"]
    rollback(tmp_path / "deploy" / "net")
    asked = ["gate", "latest", "--json", "--root", str(tmp_path / "runs"), "--champion", str(tmp_path / "deploy" / "net")]
    for options in ([], [part for text in thresholds for part in ("-t", text)]):
        assert json.loads(CliRunner().invoke(app, [*asked, *options]).stdout) == gate_file(tmp_path)
