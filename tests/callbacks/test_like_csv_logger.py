"""Every kind of fit, beside Lightning's own CSVLogger at `log_every_n_steps=1`: the same points.

The expected points come from the CSV file alone, less what Lightning repeats and with the loss that the module
itself says it has returned.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

import fitgate
from fitgate.callbacks import MetricsCallback
from tests.callbacks._fits import BATCHES, QUIET, Net, csv_points, csv_rows, in_order, loader, stored_points


class Forked(Net):
    """On step, for the epoch, both; other reductions; not for loggers at all."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("on_step", loss, on_step=True, on_epoch=False)
        self.log("on_epoch", loss, on_step=False, on_epoch=True)
        self.log("both", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("largest", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("total", loss, on_step=True, on_epoch=True, reduce_fx=torch.sum, enable_graph=True)
        self.log("for_the_bar_alone", loss, logger=False, prog_bar=True)
        self.log_dict({"first": loss + 1, "second": loss + 2})
        return self.returns(loss)


class Torchmetrics(Net):
    """Objects logged directly, as a collection, at the end alone, and again with nothing new."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(3, average="micro")
        self.mean, self.late_mean, self.val_mean = MeanMetric(), MeanMetric(), MeanMetric()
        self.collection = MetricCollection({"acc": MulticlassAccuracy(3), "f1": MulticlassF1Score(3)})

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.accuracy(self.net(batch[0]), batch[1])
        self.log("accuracy", self.accuracy, on_step=True, on_epoch=True)
        if batch_idx % 2 == 0:
            self.mean(loss)
        self.log("mean", self.mean, on_step=True, on_epoch=True)  # logged again, though the object has nothing new
        self.late_mean.update(loss)
        self.collection(self.net(batch[0]), batch[1])
        self.log_dict(self.collection, on_step=True, on_epoch=False)
        return self.returns(loss)

    def on_train_epoch_end(self) -> None:
        self.log("late_mean", self.late_mean)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.val_mean(self.loss(batch))
        self.log("val_mean", self.val_mean, on_step=True, on_epoch=True)


class Sometimes(Net):
    """Some values on every second batch, some equal on each."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx % 2 == 0:
            self.log("sometimes", float(self.global_step))
        self.log("always_equal", 1.0)
        self.log("always_zero", torch.zeros(()))
        return self.returns(self.loss(batch))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        if batch_idx % 2 == 0:
            self.log("val_sometimes", float(self.global_step + batch_idx), on_step=True, on_epoch=False)
        self.log("val_equal", 1.0, on_step=True, on_epoch=True)


def _every_second(name: str, step: int) -> bool:
    return "sometimes" in name and step % BATCHES % 2 == 1


class EveryHook(Net):
    """Logs in each hook where Lightning allows it, on step too where it allows that."""

    ON_STEP = (
        "on_before_backward",
        "on_after_backward",
        "on_before_optimizer_step",
        "on_before_zero_grad",
        "on_train_batch_start",
        "on_train_batch_end",
        "on_validation_batch_start",
        "on_validation_batch_end",
        "on_test_batch_start",
        "on_test_batch_end",
    )
    ON_EPOCH = (
        "on_train_start",
        "on_train_epoch_start",
        "on_train_epoch_end",
        "on_validation_start",
        "on_validation_epoch_start",
        "on_validation_epoch_end",
        "on_test_start",
        "on_test_epoch_start",
        "on_test_epoch_end",
    )

    def __init__(self) -> None:
        super().__init__()
        for hook in self.ON_STEP:
            setattr(self, hook, lambda *_, hook=hook: self._count(hook, on_step=True))
        for hook in self.ON_EPOCH:
            setattr(self, hook, lambda *_, hook=hook: self._count(hook, on_step=False))
        self._counts = 0

    def _count(self, hook: str, *, on_step: bool) -> None:
        self._counts += 1
        self.log(f"in_{hook}", float(self._counts), on_step=on_step, on_epoch=True)

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        self._count("optimizer_step", on_step=True)
        super().optimizer_step(*args, **options)

    def configure_gradient_clipping(self, *args: Any, **options: Any) -> None:
        self._count("configure_gradient_clipping", on_step=True)

    def backward(self, loss: torch.Tensor) -> None:
        self._count("backward", on_step=True)
        torch.autograd.backward(loss)


class OneNameInTwoHooks(Net):
    """Loggers get the value of the later hook, also a stale one."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("shared", float(self.global_step))
        return self.returns(self.loss(batch))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx != 3:
            self.log("shared", self.global_step + 0.5)


class ObjectsThatRest(Net):
    """Torchmetrics objects that some batches don't log: Lightning's reset leaves the last batch's value in them."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.in_validation = MeanMetric(), MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        if batch_idx == 0 and self.current_epoch < 2:
            self.shared(loss)
            self.log("shared", self.shared, on_step=True, on_epoch=False)
        return self.returns(loss)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1 and self.current_epoch == 0:
            self.shared(3.0)
            self.log("shared", self.shared, on_step=True, on_epoch=False)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        super().validation_step(batch, batch_idx)
        if batch_idx == 1:  # of the sanity check too
            self.in_validation(self.loss(batch) + self.global_step)
            self.log("in_validation", self.in_validation, on_step=True, on_epoch=False)


class ManualWithTwoOptimizers(Net):
    """`global_step` runs twice as fast as the loggers' step."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            optimizer.step()
        self.log("manual", loss)
        return {"loss": self.returns(loss), "other": "text"}

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD([self.net.weight], lr=0.1), torch.optim.SGD([self.net.bias], lr=0.1)]


class SkipsSteps(Net):
    """Returns None at every second batch, else a dict."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("logged", float(batch_idx))
        if batch_idx % 2:
            return None
        return {"loss": self.returns(self.loss(batch)), "note": torch.ones(3)}


class NotFinite(Net):
    """NaN and infinities, logged and returned."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("odd", (float("nan"), float("inf"), float("-inf"), 0.0)[batch_idx % 4], on_step=True, on_epoch=True)
        return self.returns(self.loss(batch) * (float("nan") if batch_idx == 3 else 1.0))


class SixteenBits(Net):
    """Values of many types."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("half", loss.half(), on_step=True, on_epoch=True)
        self.log("brain", loss.bfloat16())
        self.log("double", loss.double())
        self.log("whole", torch.tensor(batch_idx))
        return self.returns(loss)


class OwnLoss(Net):
    """Logs another `loss` than it returns."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("loss", 2 * loss)
        return loss


class OwnAxis(Net):
    """A metric named `step` is Lightning's x-axis for what is logged with it, until it is logged again."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx != 1:
            self.log("step", 100.0 + self.global_step)
        loss = self.loss(batch)
        self.log("custom", loss)
        self.returned[100 + self.global_step - (batch_idx == 1)] = loss.item()
        return loss


class ManyTrainLoaders(Net):
    """Two loaders in training, several in validation, with Lightning's suffix and with names of its own."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch["a"]) + self.loss(batch["b"])
        self.log("sum", loss)
        return self.returns(loss)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.log("val", self.loss(batch) + dataloader_idx, on_step=True, on_epoch=True)
        self.log("val_epoch", self.loss(batch))
        self.log(f"own_{dataloader_idx}", self.loss(batch), add_dataloader_idx=False, on_step=True)


class Stream(IterableDataset[Any]):
    """No length."""

    def __iter__(self) -> Iterator[Any]:
        yield from loader()


class CompiledWhole(Forked):
    """`log` looks at signatures, which torch's compiler can't follow: it is left out of what is compiled."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("log", "returns"):
            setattr(self, name, torch.compiler.disable(getattr(self, name)))  # type: ignore[no-untyped-call]  # torch's


class CompiledPart(Forked):
    """Only the layer is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.net.compile(backend="eager")


class LogsFromACallback(pl.Callback):
    """Beside `self.log`, what a callback sends straight to all loggers, as ThroughputMonitor does."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        pl_module.log("from_callback", float(batch_idx), on_step=True, on_epoch=True)
        trainer._logger_connector.log_metrics(  # noqa: SLF001 - it does so too
            {"samples_per_second": 3.0 + batch_idx}, step=1000 + trainer.global_step
        )


@dataclass(frozen=True)
class Case:
    """One kind of fit."""

    name: str
    module: Callable[[], Any] = Net
    options: dict[str, Any] = field(default_factory=dict)
    train: Callable[[], Any] = loader
    validate: Callable[[], Any] = loader
    callbacks: Callable[[], list[Any]] = list
    repeated: Callable[[str, int], bool] = lambda _name, _step: False
    tested: bool = False


CASES = [
    Case("several epochs", options={"max_epochs": 3}),
    Case("validation inside the epoch", Forked, {"val_check_interval": 2}),
    Case("validation across epochs", Forked, {"val_check_interval": 3, "check_val_every_n_epoch": None}),
    Case("validation every second epoch", Forked, {"check_val_every_n_epoch": 2, "max_epochs": 4}),
    Case("no sanity check", options={"num_sanity_val_steps": 0}),
    Case("one batch an epoch", Forked, {"limit_train_batches": 1, "limit_val_batches": 1, "max_epochs": 6}),
    Case("one batch an epoch, every hook", EveryHook, {"limit_train_batches": 1, "limit_val_batches": 1, "max_epochs": 6}),
    Case("one batch an epoch, torchmetrics", Torchmetrics, {"limit_train_batches": 1, "limit_val_batches": 1, "max_epochs": 6}),
    Case("a whole sanity check", options={"num_sanity_val_steps": -1}),
    Case("no validation", Forked, {"limit_val_batches": 0}),
    Case("forked names", Forked),
    Case("torchmetrics", Torchmetrics),
    Case(
        "torchmetrics that some batches leave out",
        ObjectsThatRest,
        {"max_epochs": 3},
        repeated=lambda name, step: (name == "shared" and step not in (0, 1, BATCHES)) or (name == "in_validation" and step % BATCHES != 1),
    ),
    Case("sometimes and equal", Sometimes, repeated=_every_second),
    Case("every hook", EveryHook, tested=True),
    Case("every hook, accumulating", EveryHook, {"accumulate_grad_batches": 2}),
    Case("one name in two hooks", OneNameInTwoHooks, repeated=lambda name, step: name == "shared" and step % BATCHES == 3),
    Case("accumulation with a partial window", Forked, {"accumulate_grad_batches": 3}),
    Case("accumulation that changes", Forked, callbacks=lambda: [pl.callbacks.GradientAccumulationScheduler({0: 2, 1: 1})]),
    Case("manual optimization, two optimizers", ManualWithTwoOptimizers),
    Case("several loaders", ManyTrainLoaders, train=lambda: {"a": loader(), "b": loader(3)}, validate=lambda: [loader(), loader(2)]),
    Case("iterable dataset", Forked, train=lambda: DataLoader(Stream(), batch_size=None)),
    Case("steps that are skipped", SkipsSteps),
    Case("not finite", NotFinite),
    Case("the module's own loss", OwnLoss),
    Case("max_steps inside an epoch", Forked, {"max_steps": 7, "max_epochs": -1}),
    Case("early stopping", Forked, {"max_epochs": 4}, callbacks=lambda: [EarlyStopping("val_loss_epoch", patience=0, min_delta=10.0)]),
    Case("16-bit metrics", SixteenBits),
    Case("bfloat16 throughout", Forked, {"precision": "bf16-true"}),
    Case("bfloat16 mixed", Forked, {"precision": "bf16-mixed"}),
    Case("own axis", OwnAxis),
    Case("compiled", lambda: torch.compile(CompiledWhole(), backend="eager")),
    Case("compiled in part", CompiledPart),
    Case("another callback", callbacks=lambda: [LogsFromACallback()]),
    Case("overfit_batches", Forked, {"overfit_batches": 2}),
]


def compare(tmp_path: Path, case: Case) -> None:
    """Fit with both, and compare what is stored."""
    logger = CSVLogger(tmp_path / "csv")
    module = case.module()
    trainer = pl.Trainer(
        **{**QUIET, **case.options}, logger=logger, log_every_n_steps=1, callbacks=[MetricsCallback(tmp_path / "runs"), *case.callbacks()]
    )
    trainer.fit(module, case.train(), case.validate())
    if case.tested:
        trainer.test(module, loader(), verbose=False)
    rows = csv_rows(logger)
    expected = [p for p in csv_points(rows) if not case.repeated(*p[:2])]
    expected = [(*key, value) for key, value in {p[:2]: p[2] for p in expected}.items()]  # one point a step; the last one stands
    if not any(name == "loss" for name, _, _ in expected):
        expected += [("loss", step, value) for step, value in module.returned.items()]
    assert len(expected) > 2 * BATCHES
    stored = stored_points(tmp_path / "runs")
    if "accumulate_grad_batches" in case.options:  # Lightning divides the loss by it, which multiplying does not undo to the last bit
        losses, returned = (sorted(p for p in points if p[0] == "loss") for points in (stored, expected))
        assert [p[:2] for p in losses] == [p[:2] for p in returned]
        assert [p[2] for p in losses] == pytest.approx([p[2] for p in returned], rel=1e-6)
        stored, expected = ([p for p in points if p[0] != "loss"] for points in (stored, expected))
    assert in_order(stored) == in_order(expected)
    epochs = {(name, int(row["step"])): int(row["epoch"]) for row in rows if "epoch" in row for name in row}
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    stored_epochs = {(row["name"], row["step"]): row["epoch"] for row in run.metrics().to_pylist()}
    assert not [key for key, epoch in epochs.items() if stored_epochs.get(key, epoch) != epoch]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fit_gives_the_points_of_csv_logger(tmp_path: Path, case: Case) -> None:
    """The same names, steps and values to the last bit, each once; and the epoch that Lightning says."""
    compare(tmp_path, case)
