"""Manual optimization with two optimizers: checkpoints count two steps a batch, loggers one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from tests.callbacks._fits import BATCHES, csv_points, csv_rows
from tests.callbacks._gated import best, best_path, fit, gate_file, manifest
from tests.callbacks.test_like_csv_logger import ManualWithTwoOptimizers

ACCURACIES = (0.9, 0.6, 0.7)


class Scripted(ManualWithTwoOptimizers):
    """The validation accuracy of each epoch is scripted."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_acc", ACCURACIES[self.current_epoch])


@pytest.mark.parametrize(
    ("metric", "keep", "global_step", "logged_at"),
    [
        # After the first epoch, where the loggers count from 0.
        ("val_acc", {"monitor": "val_acc"}, 2 * BATCHES, BATCHES - 1),
        # Amid the second epoch, after its first batch.
        ("manual", {"monitor": "manual", "every_n_train_steps": 12}, 12, 5),
    ],
    ids=["validated", "trained"],
)
def test_judged_is_what_was_recorded_as_of_the_checkpoints_global_step(
    metric: str, keep: dict[str, Any], global_step: int, logged_at: int, tmp_path: Path
) -> None:
    """The value that Lightning's CSVLogger has at half that step."""
    csv = CSVLogger(tmp_path / "csv")
    gate, trainer = fit(
        tmp_path,
        best(tmp_path, **keep),
        thresholds=[f"{metric} >= -1"],
        module=Scripted(),
        gate={"formats": ["safetensors"]},
        logger=csv,
        log_every_n_steps=1,
    )
    kept = torch.load(best_path(trainer), weights_only=False)
    assert kept["global_step"] == global_step
    points = {step: value for name, step, value in csv_points(csv_rows(csv)) if name == metric}
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy", gate.decision.reasons
    judged = gate_file(tmp_path)
    assert judged["judged"]["global_step"] == manifest(tmp_path)["source"]["global_step"] == global_step
    assert judged["checks"][0]["value"] == manifest(tmp_path)["metrics"][metric] == pytest.approx(points[logged_at], rel=1e-6)
