"""Between flushes no value is read on the training thread: on an accelerator each reading would wait for the device."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, OnExceptionCheckpoint
from pytorch_lightning.loggers.logger import DummyLogger
from torch.overrides import TorchFunctionMode
from torchmetrics import MeanMetric

import fitgate_callbacks
from fitgate.callbacks import MetricsCallback
from fitgate.store._schema import Record
from fitgate_callbacks._internals import LoggerTap
from fitgate_callbacks._outputs import StepOutputs
from fitgate_callbacks._values import fetch_values, joined
from tests.callbacks._fits import BATCHES, QUIET, Net, loader, stored_points

OURS = str(Path(fitgate_callbacks.__file__).parent)
LIGHTNINGS = str(Path(pl.__file__).parent)  # its progress bar does read
READERS = {torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.__float__, torch.Tensor.__bool__}
READERS |= {torch.Tensor.__int__, torch.Tensor.__index__, torch.Tensor.to}


class Remote(torch.Tensor):
    """A tensor that says it is not on the CPU, and notes who of ours reads it."""

    reads: ClassVar[list[str]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == torch.Tensor.is_cpu.__get__:  # type: ignore[attr-defined]  # a getter of C's
            return False
        if func in READERS:
            callers = (frame.filename for frame in reversed(traceback.extract_stack()) if frame.filename.startswith((OURS, LIGHTNINGS)))
            if next(callers, LIGHTNINGS).startswith(OURS):
                cls.reads.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]  # torch's


class LogsMuch(Net):
    """Logs in the ways that tempt to read: for the progress bar, forked, through torchmetrics, with a loss that is returned."""

    def __init__(self, place: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.place = place
        self.mean = MeanMetric()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [self.place(part) for part in batch]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        logits = self.place(self.net(batch[0]))
        loss = torch.nn.functional.cross_entropy(logits, batch[1])
        self.log("bar", loss, prog_bar=True, on_step=True, on_epoch=True)
        self.log("plain", loss * 2)
        self.mean(loss)
        self.log("mean", self.mean, on_step=False, on_epoch=True)
        return {"loss": loss, "logits": logits, "target": batch[1]}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        logits = self.place(self.net(batch[0]))
        self.log("val", torch.nn.functional.cross_entropy(logits, batch[1]), on_step=True, on_epoch=True, prog_bar=True)
        return {"logits": logits, "target": batch[1]}


class KeepsAnAverage(LogsMuch):
    """Optimizes by hand, and returns a tensor that it writes to at each step."""

    def __init__(self, place: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__(place)
        self.automatic_optimization = False
        self.average = place(torch.tensor(0.0))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        outputs = super().training_step(batch, batch_idx)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(outputs["loss"])
        optimizer.step()
        return {**outputs, "loss": self.average.lerp_(outputs["loss"].detach(), 0.1)}


class NotesReads(pl.Callback):
    """What had been read when training was done, before anything was brought to the disk."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.until_here = list(Remote.reads)


def _fit(root: Path, place: Callable[[torch.Tensor], torch.Tensor], *extra: Any, module: type[LogsMuch] = LogsMuch, **options: Any) -> None:
    callback = MetricsCallback(root, flush_every_s=3600, accuracy=("logits", "target"))
    trainer = pl.Trainer(**{**QUIET, **options}, logger=False, callbacks=[*extra, callback])
    trainer.fit(module(place), loader(), loader(2))


@pytest.mark.parametrize(
    ("module", "saves"), [(LogsMuch, False), (LogsMuch, True), (KeepsAnAverage, False)], ids=["", "OnExceptionCheckpoint", "by-hand"]
)
def test_nothing_is_read_before_a_flush(tmp_path: Path, module: type[LogsMuch], *, saves: bool) -> None:
    """Values that are not on the CPU wait as tensors; fetched together at the end they are what a fit on the CPU records."""
    Remote.reads.clear()
    notes = NotesReads()
    keeps = [OnExceptionCheckpoint(tmp_path)] if saves else []
    _fit(tmp_path / "remote", lambda tensor: tensor.as_subclass(Remote), notes, *keeps, module=module, enable_checkpointing=saves)
    assert notes.until_here == []
    assert "tolist" in Remote.reads  # the flush at the end: so reading is noticed
    _fit(tmp_path / "cpu", lambda tensor: tensor, module=module)
    assert stored_points(tmp_path / "remote") == stored_points(tmp_path / "cpu")


class WarmsUp(LogsMuch):
    """Its learning rate changes at each step."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), "interval": "step"},
        }


class CountsWaits(TorchFunctionMode):
    """Counts what waits for a device, whoever does it: a number that is put onto it, and one that is read, as for the progress bar."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.count += (func is torch.tensor and kwargs.get("device") == torch.device("cpu")) or (
            func in READERS and type(args[0]) is Remote
        )
        return func(*args, **kwargs)


class NotesWaits(pl.Callback):
    """How often was waited until training was done, before anything was brought to the disk."""

    def __init__(self, waits: CountsWaits) -> None:
        self._waits = waits

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.until_here = self._waits.count


def test_a_rate_that_changes_at_each_step_is_waited_for_as_often_as_without_us(tmp_path: Path) -> None:
    """A LearningRateMonitor puts what it finds onto the device, and has the progress bar's values read: at the steps that loggers are told of."""
    waited = []
    for ours in ([], [MetricsCallback(tmp_path, flush_every_s=3600)]):
        with CountsWaits() as waits:
            notes = NotesWaits(waits)
            callbacks: list[Any] = [notes, LearningRateMonitor("step", log_momentum=True), *ours]
            trainer = pl.Trainer(**QUIET, logger=DummyLogger(), log_every_n_steps=4, callbacks=callbacks)
            trainer.fit(WarmsUp(lambda tensor: tensor.as_subclass(Remote)), loader())
        waited.append(notes.until_here)
    assert waited[1] == waited[0] > 0
    assert len([name for name, _, _ in stored_points(tmp_path) if name == "lr-SGD"]) == 2 * BATCHES


@pytest.mark.parametrize("more", [[1.5], [torch.tensor(1.5)], [1.5, torch.tensor(2.5)]], ids=str)
def test_a_value_on_a_device_that_comes_with_numbers_waits_for_the_flush(more: list[Any]) -> None:
    """Numbers go as a tuple, which nobody looks through again; with one value among them that waits, all go as a list."""
    more = [value.as_subclass(Remote) if isinstance(value, torch.Tensor) else value for value in more]
    Remote.reads.clear()
    values = joined((0.5, float("nan")), more)
    assert type(values) is (list if any(isinstance(value, torch.Tensor) for value in more) else tuple)
    assert Remote.reads == []
    (fetched,) = fetch_values([Record("train", 0, 0, 0, 0, ("a", "b", "c", "d")[: len(values)], values)])
    assert [float(value) for value in fetched.values][2:] == [float(value) for value in more]
    assert all(type(value) is float for value in fetched.values)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_no_hook_waits_for_a_cuda_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `set_sync_debug_mode("error")` around each of our hooks in a step; Lightning's own progress bar does wait."""

    @contextmanager
    def no_waiting() -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    for owner, name in (
        (LoggerTap, "_tell_train_step"),
        (LoggerTap, "_tell_eval_step"),
        (LoggerTap, "_tell_all_else"),
        (StepOutputs, "keep"),
        (MetricsCallback, "on_validation_batch_end"),
    ):
        monkeypatch.setattr(owner, name, no_waiting()(getattr(owner, name)))
    _fit(tmp_path / "cuda", lambda tensor: tensor, accelerator="cuda")
    assert len(stored_points(tmp_path / "cuda")) > 0
