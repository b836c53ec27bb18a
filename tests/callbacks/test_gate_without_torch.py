"""`fitgate gate` of a real fit's store, where neither torch nor Lightning can be imported."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.callbacks._gated import Scripted, best, fit, gate_file, latest

BLOCKED = ("torch", "pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics", "fitgate_callbacks")
CODE = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r})); from fitgate.cli import main; main()"
"""None there makes each import of it fail."""


class WithLoss(Scripted):
    """Validates a loss of each batch too."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))


def _judged_without_torch(run_id: str, root: Path, *thresholds: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON of `fitgate gate`."""
    options = [part for text in thresholds for part in ("-t", text)]
    command = [sys.executable, "-c", CODE, "gate", run_id, *options, "--root", str(root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("thresholds", "verdict"),
    [
        (["val_acc >= 0.8", "val_loss <= 9", "val_acc >= 0.1 (95 % confidence)"], "deploy"),
        (["val_acc >= 0.8", "artifact.size_mb <= 20", "artifact.latency_p95_ms <= 10000"], "deploy"),
        (["val_acc >= 0.95", "val_loss <= 9 (95 % confidence, mean)", "val_f1 >= 0.5 (warn)"], "improve"),
    ],
)
def test_judged_without_torch_it_is_what_the_fit_wrote(thresholds: list[str], verdict: str, tmp_path: Path) -> None:
    """Typed thresholds give the fit's own gate.json again, what its export measured included, and the exit code of its verdict; so do those on record."""
    gate, _ = fit(tmp_path, best(tmp_path), module=WithLoss(), thresholds=thresholds)
    assert gate.decision is not None
    assert gate.decision.verdict == verdict, gate.decision.reasons
    run_id, root, written = latest(tmp_path).id, tmp_path / "runs", gate_file(tmp_path)
    code = 0 if verdict == "deploy" else 1
    assert _judged_without_torch(run_id, root) == (code, written)
    assert any(name.startswith("artifact.") for name in written["metrics"]) == (verdict == "deploy")
    assert _judged_without_torch(run_id, root, *thresholds) == (code, written)
