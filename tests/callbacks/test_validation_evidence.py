"""What a confidence bound rests on: samples and batches of the judged validation pass, from a real fit."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from scipy.stats import t as student
from torch.utils.data import DataLoader, TensorDataset

import fitgate
from fitgate import Threshold
from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate.gate import judge
from fitgate.store._evidence import validation_at

SIZES = (2,) * 13 + (1,)
"""Of the validation batches: the last one is smaller, so weights matter."""


def _loader(seed: int = 0) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    data = TensorDataset(torch.randn(sum(SIZES), 4, generator=generator), torch.arange(sum(SIZES)) % 3)
    return DataLoader(data, batch_size=SIZES[0])


class Net(pl.LightningModule):
    """Logs a loss and an accuracy of each validation batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Linear(4, 3)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        logits = self.net(batch[0])
        self.log("val_loss", torch.nn.functional.cross_entropy(logits, batch[1]), on_step=dataloader_idx == 0, on_epoch=True)
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def on_validation_epoch_end(self) -> None:
        self.log("of_the_epoch", 0.5)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _fit(
    tmp_path: Path, thresholds: list[str | Threshold], val: Any = None, module: Any = None, **options: Any
) -> tuple[Net, GateCallback, fitgate.Run]:
    gate = GateCallback(thresholds, dirpath=tmp_path / "deploy")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    settings = {"max_epochs": 3, **quiet, **options}
    module = module or Net()
    pl.Trainer(accelerator="cpu", callbacks=[MetricsCallback(tmp_path / "runs"), gate], **settings).fit(module, _loader(), val or _loader())
    return module, gate, fitgate.Store(str(tmp_path / "runs")).latest()


def test_the_batches_of_the_judged_pass_are_on_record(tmp_path: Path) -> None:
    """Each batch's own loss and size, as the final weights give them; every sample counted once; metrics stay as they are."""
    module, _, run = _fit(tmp_path, ["val_loss <= 9"])
    found = validation_at(run, run.info.fit.global_step)  # type: ignore[union-attr]
    assert found.samples("val_loss_epoch") == sum(SIZES)
    with torch.no_grad():
        expected = [torch.nn.functional.cross_entropy(module.net(x), y).item() for x, y in _loader()]
    values, sizes = found.batches("val_loss_epoch")
    assert values == pytest.approx(expected, rel=1e-5)
    assert sizes == list(SIZES)
    assert found.batches("of_the_epoch")[1] != list(SIZES)
    assert set(run.metrics()["stage"].to_pylist()) == {"train", "validate"}


def test_confidence_is_judged_from_the_fit_and_again_from_its_files(tmp_path: Path) -> None:
    """The gate and a later judgement of the stored run come to the same bounds."""
    thresholds: list[str | Threshold] = [
        Threshold("val_acc", ">=", 0.01, confidence=0.95),
        Threshold("val_loss_epoch", "<=", 9.0, confidence=0.95, kind="mean"),
    ]
    _, gate, run = _fit(tmp_path, thresholds)
    assert gate.decision is not None
    accuracy, loss = gate.decision.checks
    assert accuracy.n == sum(SIZES)
    assert accuracy.bound is not None
    assert loss.bound is not None
    assert accuracy.value is not None
    assert loss.value is not None
    assert accuracy.bound < accuracy.value
    assert loss.bound > loss.value
    again = judge(run, thresholds)
    assert [(c.passed, c.bound, c.n) for c in again.checks] == [(c.passed, c.bound, c.n) for c in gate.decision.checks]


class Scatters(Net):
    """Logs the mean of each validation batch's first feature."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("mean_of_batch", batch[0][:, 0].mean())


def test_batches_of_a_fit_weigh_as_many_samples_as_they_hold(tmp_path: Path) -> None:
    """One in two holds a single sample, the others 25: the bound has the width of a ratio of two sums, not of so many equal batches."""
    sizes = np.tile([1, 25], 100)
    ends = np.cumsum(sizes)
    features = torch.randn(int(ends[-1]), 4, generator=torch.Generator().manual_seed(4))
    batches = [list(range(end - size, end)) for size, end in zip(sizes.tolist(), ends.tolist(), strict=True)]
    data: Any = TensorDataset(features, torch.arange(len(features)) % 3)
    threshold = Threshold("mean_of_batch", "<=", 9.0, confidence=0.95, kind="mean")
    _, gate, _ = _fit(tmp_path, [threshold], val=DataLoader(data, batch_sampler=batches), module=Scatters(), max_epochs=1)
    assert gate.decision is not None
    (check,) = gate.decision.checks
    first = features[:, 0].double().numpy()
    values, n = np.array([first[rows].mean() for rows in batches]), len(batches)
    error = math.sqrt(n / (n - 1) * np.sum((sizes * (values - first.mean())) ** 2)) / len(first)
    assert error < 0.5 * values.std(ddof=1) / math.sqrt(n)  # so that counting each batch once would show
    assert check.value == pytest.approx(first.mean(), abs=1e-6)
    assert check.bound is not None
    assert check.bound - first.mean() == pytest.approx(student.ppf(0.95, n - 1) * error, rel=0.15)
    assert check.n == len(first)


class Traps(Net):
    """Logs training accuracy, one on the first batch of the validation alone, and one that is never summed up."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.log("train_acc", 1.0, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("batch_acc", 1.0, on_step=True, on_epoch=False)
        self.log("whole_acc", 1.0)
        if batch_idx == 0:
            self.log("rare_acc", 1.0)


@pytest.mark.parametrize(
    ("metric", "n", "why"),
    [
        ("whole_acc", sum(SIZES), ""),
        ("rare_acc", SIZES[0], "misses by"),
        ("train_acc", None, "its value comes from the training batches, and a bound rests on the samples of a validation"),
        ("batch_acc", None, "it was recorded at each batch, so its value is the last batch's"),
    ],
)
def test_a_bound_rests_on_the_samples_behind_its_own_value(tmp_path: Path, metric: str, n: int | None, why: str) -> None:
    """Not on all that the validation saw where the metric saw fewer, and on none where it isn't the validation's."""
    _, gate, _ = _fit(tmp_path, [Threshold(metric, ">=", 0.85, confidence=0.95)], module=Traps())
    assert gate.decision is not None
    assert gate.decision.checks[0].n == n
    assert gate.decision.verdict == ("improve" if why else "deploy")
    assert why in "".join(gate.decision.reasons)


def test_several_loaders_have_their_own_samples(tmp_path: Path) -> None:
    """Each loader's metric rests on that loader; a value of the epoch on all of them."""
    _, _, run = _fit(tmp_path, ["val_acc/dataloader_idx_0 >= 0"], val=[_loader(), _loader(1), _loader(2)])
    found = validation_at(run, run.info.fit.global_step)  # type: ignore[union-attr]
    assert found.samples("val_acc/dataloader_idx_1") == sum(SIZES)
    assert found.samples("of_the_epoch") == 3 * sum(SIZES)
    values, sizes = found.batches("val_acc/dataloader_idx_2")
    assert sizes == list(SIZES)
    assert all(0 <= value <= 1 for value in values)


def test_of_two_passes_at_one_step_the_last_counts(tmp_path: Path) -> None:
    """Three validations while gradients accumulate are at one global_step; no sample of theirs is counted twice."""
    _, _, run = _fit(tmp_path, ["val_acc >= 0"], max_epochs=1, accumulate_grad_batches=4, val_check_interval=1)
    found = validation_at(run, 0)
    assert found.samples("val_acc") == sum(SIZES)
    assert found.batches("val_acc")[1] == list(SIZES)
