"""The report of a fit by Lightning, from the files that its callbacks left."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate.report import build_report, report_as_dict, write_report


class _Memoriser(pl.LightningModule):
    """Learns random labels by heart: training gets better, validation never does."""

    def __init__(self, lr: float = 0.01, width: int = 128, num_classes: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = torch.nn.Sequential(torch.nn.Linear(16, width), torch.nn.ReLU(), torch.nn.Linear(width, num_classes))

    def _step(self, batch: Any, stage: str) -> torch.Tensor:
        inputs, labels = batch
        logits = self.net(inputs)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        self.log(f"{stage}_loss", loss, on_step=stage == "train", on_epoch=True)
        self.log(f"{stage}_acc", (logits.argmax(1) == labels).float().mean(), on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._step(batch, "val")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), self.lr)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> fitgate.Run:
    """One fit that fails its gate."""
    folder = tmp_path_factory.mktemp("fit")
    pl.seed_everything(3, verbose=False)
    data = [TensorDataset(torch.randn(n, 16), torch.randint(0, 4, (n,))) for n in (64, 200)]
    callbacks: list[Any] = [
        MetricsCallback(folder / "runs"),
        GateCallback(["val_acc >= 0.8", "val_loss <= 1.0"], dirpath=folder / "deploy"),
        ModelCheckpoint(folder / "ckpt", monitor="val_acc", mode="max"),
    ]
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=20, logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks
    )  # fmt: skip
    trainer.fit(_Memoriser(), DataLoader(data[0], 16, shuffle=True), DataLoader(data[1], 50))
    return fitgate.Store(str(folder / "runs")).latest()


def test_what_the_gate_judged_is_what_the_report_shows(run: fitgate.Run) -> None:
    """Verdict, judged step and values are gate.json's; the ring in the chart stands where the checkpoint's own value was recorded."""
    content = report_as_dict(build_report(run))
    assert content["verdict"] == "improve"
    table = run.metrics(["val_acc"], stage="validate").to_pydict()
    best = max(range(20), key=table["value"].__getitem__)
    accuracy = content["checks"][0]
    assert content["judged"]["global_step"] == table["global_step"][best]
    assert (accuracy["best"], accuracy["best_step"]) == (table["value"][best], table["global_step"][best])
    assert accuracy["value"] == pytest.approx(table["value"][best])
    chart = content["curves"][0]
    assert (chart["title"], chart["judged_step"], chart["judged_value"]) == ("val_acc", table["global_step"][best], table["value"][best])


def test_lightnings_names_find_their_partners_and_the_fault_is_found(run: fitgate.Run) -> None:
    """`val_loss` stands beside the recorded `loss`, `val_acc` beside `train_acc`; learning by heart is an overfit; suggestions name the module's own hyperparameters."""
    content = report_as_dict(build_report(run))
    lines = {chart["title"]: [line["name"] for line in chart["lines"]] for chart in content["curves"]}
    assert lines == {"val_acc": ["train_acc", "val_acc"], "val_loss": ["loss", "val_loss"]}
    assert content["findings"][0]["rule"] == "overfit"
    assert ("width", "decrease") in {(s["parameter"], s["direction"]) for s in content["suggestions"]}
    assert content["reproduce"]["checkpoint"].endswith(".ckpt")
    assert content["reproduce"]["hparams"]["width"] == 128


def test_the_files_go_where_the_contract_says(run: fitgate.Run) -> None:
    """`improve/report.{html,md,json}` in the run's folder."""
    write_report(build_report(run), Path(run.path) / "improve")
    assert sorted(p.name for p in (Path(run.path) / "improve").iterdir()) == ["report.html", "report.json", "report.md"]
