"""Cut short and resumed: the history of a fit that never stopped."""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from pytorch_lightning.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchmetrics import MeanMetric, Metric, MetricCollection, SumMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

import fitgate
from fitgate.callbacks import MetricsCallback
from fitgate_callbacks._metric_states import restore_metric_states
from tests._process import run_function
from tests.callbacks._fits import QUIET, Net, csv_points, csv_rows, loader

BATCHES = 6


def _same_batches() -> DataLoader[Any]:
    """Lightning goes on amid an epoch with the first batches again; here they are all alike, so that the order says nothing."""
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x.repeat(BATCHES, 1), torch.arange(4).remainder(3).repeat(BATCHES)), batch_size=4)


class SumsUp(Net):
    """Logs epoch values in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.logged, self.updated, self.val_mean = MeanMetric(), MeanMetric(), MeanMetric()
        self.collection = MetricCollection({"acc": MulticlassAccuracy(3), "f1": MulticlassF1Score(3)})
        self.by_hand = MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("both", loss, on_step=True, on_epoch=True)
        self.log("mean", loss, on_step=False, on_epoch=True)
        self.log("sum", loss, on_step=False, on_epoch=True, reduce_fx="sum")
        self.log("max", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("min", loss, on_step=False, on_epoch=True, reduce_fx="min")
        if batch_idx % 2:
            self.log("sometimes", loss, on_step=False, on_epoch=True)
        self.logged(loss)
        self.log("logged", self.logged, on_step=True, on_epoch=True)
        self.collection(self.net(batch[0]), batch[1])
        self.log_dict(self.collection, on_step=False, on_epoch=True)
        self.updated.update(loss)
        self.by_hand.update(loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("updated", self.updated)
        self.log("by_hand", self.by_hand.compute())
        self.by_hand.reset()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        loss = self.loss(batch)
        self.val_mean(loss)
        self.log("val", loss, on_step=True, on_epoch=True)
        self.log("val_mean", self.val_mean)


class Stops(pl.Callback):
    """Does something the n-th time that a hook is called, in the first attempt alone."""

    def __init__(self, hook: str, count: int, do: Callable[[], None]) -> None:
        self._left, self._do = count, do
        setattr(self, hook, self._hook)

    def _hook(self, *args: Any, **options: Any) -> None:
        self._left -= 1
        if self._left == 0:
            self._do()


def _raise() -> None:
    message = "on purpose"
    raise RuntimeError(message)


def _ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def _sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _exit() -> None:
    sys.exit(3)


def _fit(root: Path, *extra: Any, keep: dict[str, Any], ckpt_path: Path | None = None, module: type[Net] = SumsUp, **options: Any) -> None:
    checkpoint = ModelCheckpoint(root / "checkpoints", save_last=True, save_top_k=-1, **keep)
    settings = {**QUIET, "enable_checkpointing": True, "max_epochs": 3, "limit_val_batches": 4, **options}
    trainer = pl.Trainer(**settings, logger=False, callbacks=[*extra, MetricsCallback(root / "runs"), checkpoint])
    # A checkpoint of one's own may be unpickled in full; ours alone needs no more than `weights_only`.
    trainer.fit(module(), _same_batches(), _same_batches(), ckpt_path=ckpt_path, weights_only=True)


def _history(root: Path) -> list[Any]:
    (run,) = fitgate.Store(str(root / "runs")).runs()
    assert run.state == "completed"
    return [(r["stage"], r["name"], r["step"], r["global_step"], r["epoch"], r["value"]) for r in run.metrics().to_pylist()]


@functools.cache
def _uninterrupted(folder: Path, options: tuple[tuple[str, Any], ...]) -> list[Any]:
    _fit(folder, keep={}, **dict(options))
    return _history(folder)


AT_EPOCH_END: dict[str, Any] = {}
AT_VALIDATION_END: dict[str, Any] = {"save_on_train_epoch_end": False}
EACH_SECOND_STEP: dict[str, Any] = {"every_n_train_steps": 2}
EACH_THIRD_STEP: dict[str, Any] = {"every_n_train_steps": 3}
ON_EXCEPTION: dict[str, Any] = {"every_n_train_steps": 1000, "save_on_exception": True}


@pytest.mark.parametrize(
    ("keep", "stop", "options"),
    [
        (AT_EPOCH_END, ("on_train_batch_start", 9), {}),
        (AT_EPOCH_END, ("on_validation_batch_start", 9), {}),
        (AT_VALIDATION_END, ("on_train_batch_start", 9), {}),
        (AT_VALIDATION_END, ("on_train_epoch_end", 2), {}),
        (AT_VALIDATION_END, ("on_train_batch_end", 11), {"val_check_interval": 3}),
        (EACH_SECOND_STEP, ("on_train_batch_end", 9), {}),
        (EACH_SECOND_STEP, ("on_after_backward", 12), {"val_check_interval": 3}),
        (EACH_SECOND_STEP, ("on_train_batch_start", 8), {}),
        (EACH_SECOND_STEP, ("on_train_batch_start", 8), {"accumulate_grad_batches": 4}),
        (EACH_THIRD_STEP, ("on_train_batch_start", 5), {"val_check_interval": 3}),
        (ON_EXCEPTION, ("on_train_batch_start", 9), {}),
        (ON_EXCEPTION, ("on_train_batch_end", 9), {}),
        (ON_EXCEPTION, ("on_train_batch_end", 5), {}),
        (ON_EXCEPTION, ("on_before_backward", 3), {}),
        (ON_EXCEPTION, ("on_after_backward", 7), {}),
        (ON_EXCEPTION, ("on_before_zero_grad", 12), {}),
        (ON_EXCEPTION, ("on_before_optimizer_step", 11), {"val_check_interval": 3}),
    ],
    ids=str,
)
def test_a_resumed_fit_has_the_history_of_one_that_never_stopped(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, keep: dict[str, Any], stop: tuple[str, int], options: dict[str, Any]
) -> None:
    """Every point, whatever the moment of the checkpoint: steps, epochs and the epoch values of a module that uses torchmetrics."""
    with pytest.raises(RuntimeError, match="on purpose"):
        _fit(tmp_path, Stops(*stop, _raise), keep=keep, **options)
    _fit(tmp_path, keep=keep, ckpt_path=tmp_path / "checkpoints" / "last.ckpt", **options)
    whole = tmp_path_factory.getbasetemp() / "-".join(["whole", *map(str, options.values())])
    assert _history(tmp_path) == _uninterrupted(whole, tuple(options.items()))


@pytest.mark.parametrize(
    ("keep", "stop"),
    [
        ({"save_on_exception": True}, ("on_before_backward", 3)),
        (AT_VALIDATION_END, ("on_train_batch_start", BATCHES + 2)),
    ],
    ids=str,
)
def test_a_fit_to_a_number_of_steps_goes_on_twice(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, keep: dict[str, Any], stop: tuple[str, int]
) -> None:
    """From the end of an epoch, which Lightning then ends again and counts as ended once too often; and from what the second attempt saved."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    options: dict[str, Any] = {"max_steps": 4 * BATCHES, "max_epochs": -1}
    for saved, stops in ((AT_EPOCH_END, ("on_train_batch_start", 9)), (keep, stop)):
        with pytest.raises(RuntimeError, match="on purpose"):
            _fit(tmp_path, Stops(*stops, _raise), keep=saved, ckpt_path=last if last.exists() else None, **options)
    _fit(tmp_path, keep=keep, ckpt_path=last, **options)
    whole = tmp_path_factory.getbasetemp() / "-".join(["whole", *map(str, options.values())])
    assert _history(tmp_path) == _uninterrupted(whole, tuple(options.items()))


@pytest.mark.parametrize(
    ("keep", "stops", "options"),
    [
        (ON_EXCEPTION, [("on_validation_start", 1)], {"val_check_interval": 2}),
        (
            {"every_n_train_steps": 2, "save_on_exception": True},
            [("on_validation_batch_start", 3), ("on_train_batch_start", 2)],
            {"val_check_interval": 4},
        ),
    ],
    ids=str,
)
def test_a_validation_that_lightning_leaves_out_is_all_that_is_missing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, keep: dict[str, Any], stops: list[tuple[str, int]], options: dict[str, Any]
) -> None:
    """It goes on behind a validation that was cut short. Training, and the steps of later validations, are those of a fit that never stopped."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    options = {**options, "num_sanity_val_steps": 0}
    for stop in stops:
        with pytest.raises(RuntimeError, match="on purpose"):
            _fit(tmp_path, Stops(*stop, _raise), keep=keep, ckpt_path=last if last.exists() else None, **options)
    _fit(tmp_path, keep=keep, ckpt_path=last, **options)
    history = _history(tmp_path)
    whole = _uninterrupted(tmp_path_factory.getbasetemp() / "-".join(["whole", *map(str, options.values())]), tuple(options.items()))
    assert set(history) < set(whole)
    assert [point for point in history if point[0] == "train"] == [point for point in whole if point[0] == "train"]
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    assert _mirrored(run) == _as_float32(history)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fit_and_be_killed(root: Path, batch: int, keep: dict[str, Any], ckpt_path: Path | None, options: dict[str, Any]) -> None:
    _fit(root, Stops("on_train_batch_start", batch, _kill), keep=keep, ckpt_path=ckpt_path, **options)


@pytest.mark.parametrize(
    ("keep", "options"),
    [
        (AT_EPOCH_END, {}),
        (AT_EPOCH_END, {"max_steps": 4 * BATCHES, "max_epochs": -1}),
        ({"every_n_train_steps": 1}, {}),
        (EACH_SECOND_STEP, {}),
    ],
    ids=str,
)
def test_what_a_checkpoint_stands_for_outlives_a_kill(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, keep: dict[str, Any], options: dict[str, Any]
) -> None:
    """`kill -9` before the next flush, twice over: a fit that goes on from the checkpoint leaves no gap."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    for batch in (9, 8):
        done = run_function(_fit_and_be_killed, tmp_path, batch, keep, last if last.exists() else None, options, folder=tmp_path)
        assert done.returncode == -signal.SIGKILL, done.stderr
    _fit(tmp_path, keep=keep, ckpt_path=last, **options)
    history = _history(tmp_path)
    whole = tmp_path_factory.getbasetemp() / "-".join(["whole", *map(str, options.values())])
    assert history == _uninterrupted(whole, tuple(options.items()))
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    assert _mirrored(run) == _as_float32(history)


class CountsOn(Net):
    """Has torchmetrics objects of its own: of each epoch, of each validation, of the whole fit, and one that came with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.by_hand, self.updated, self.val_by_hand = MeanMetric(), MeanMetric(), MeanMetric()
        self.shift = MeanMetric()
        self.shift.persistent(mode=True)
        self.shift.load_state_dict({"mean_value": torch.tensor(5.0), "weight": torch.tensor(1.0)})

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        at = self.current_epoch * 100.0 + batch_idx
        self.by_hand.update(at)
        self.updated.update(at)
        self.log("shift", self.shift.compute())
        return self.loss(batch)

    def on_train_epoch_end(self) -> None:
        self.log("updated", self.updated)
        self.log("by_hand", self.by_hand.compute())
        self.by_hand.reset()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.val_by_hand.update(float(self.global_step * 10 + batch_idx))

    def on_validation_epoch_end(self) -> None:
        self.log("val_by_hand", self.val_by_hand.compute())
        self.val_by_hand.reset()


def _logged_after(stop: tuple[str, int] | None, folder: Path, *, ours: bool, keep: dict[str, Any]) -> list[Any]:
    """What CSVLogger is told in the resumed part of a fit, with our callback and without."""
    last = folder / "checkpoints" / "last.ckpt"
    for number, stops in enumerate([[Stops(*stop, _raise)], []] if stop else [[]]):
        saves = ModelCheckpoint(folder / "checkpoints", save_last=True, **keep)
        logger = CSVLogger(folder / "csv", version=number)
        recorder = [MetricsCallback(folder / "runs")] if ours else []
        settings: dict[str, Any] = {**QUIET, "enable_checkpointing": True, "max_epochs": 3, "log_every_n_steps": 1}
        trainer = pl.Trainer(**settings, logger=logger, callbacks=[*stops, *recorder, saves])
        with pytest.raises(RuntimeError, match="on purpose") if stops else contextlib.nullcontext():
            trainer.fit(CountsOn(), loader(BATCHES), loader(3), ckpt_path=last if last.exists() else None, weights_only=False)
    return csv_points(csv_rows(logger))


@pytest.mark.parametrize("stop", [("on_train_epoch_end", 1), ("on_train_epoch_end", 2), ("on_validation_batch_end", 2)], ids=str)
def test_what_an_error_keeps_a_module_from_resetting_is_not_carried_on(tmp_path: Path, stop: tuple[str, int]) -> None:
    """Lightning goes on behind the hook that was left out: the next epoch, and the next validation, are as without us."""
    ours, alone = (_logged_after(stop, tmp_path / str(with_us), ours=with_us, keep=ON_EXCEPTION) for with_us in (True, False))
    assert ours == alone
    assert len(ours) > BATCHES


@pytest.mark.parametrize("keep", [AT_EPOCH_END, EACH_SECOND_STEP], ids=str)
def test_a_state_that_came_with_weights_is_kept(tmp_path: Path, keep: dict[str, Any]) -> None:
    """A persistent torchmetrics object that no step updates, such as the statistics of inputs: Lightning restores it."""
    logged = _logged_after(("on_train_batch_start", 9), tmp_path, ours=True, keep=keep)
    assert {value for name, _, value in logged if name == "shift"} == {5.0}


class CountsWholeFit(Net):
    """Counts the batches of the whole fit, with an object that is in its own state."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = SumMetric()
        self.seen.persistent(mode=True)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.update(1.0)
        self.log("seen", self.seen.compute())
        return self.loss(batch)


@pytest.mark.parametrize(
    ("keep", "options"),
    [({"every_n_train_steps": BATCHES}, {}), (AT_EPOCH_END, {"max_steps": 2 * BATCHES, "max_epochs": -1}), (EACH_SECOND_STEP, {})],
    ids=str,
)
def test_what_a_module_counts_over_the_whole_fit_goes_on(tmp_path: Path, keep: dict[str, Any], options: dict[str, Any]) -> None:
    """From a checkpoint amid an epoch, and from one behind which Lightning begins the next: it restores the object itself."""
    whole, resumed = _whole_and_resumed(tmp_path, CountsWholeFit, ("on_train_batch_start", BATCHES + 2), keep=keep, **options)
    assert resumed == whole
    assert [point[-1] for point in resumed if point[1] == "seen"] == [1.0 + step for step in range(2 * BATCHES)]


def test_what_nobody_restores_begins_anew_behind_an_epoch() -> None:
    """A module that is fitted again in the same process: of the part that was cut short nothing is left in an object that no checkpoint holds."""
    parts: dict[str, Metric] = {"kept": SumMetric(), "mean": MeanMetric(), "logged": MeanMetric()}
    parts["kept"].persistent(mode=True)
    for part in parts.values():
        part.update(torch.tensor(4.0))
    restore_metric_states(torch.nn.ModuleDict(parts), {}, within=["logged"])
    assert [part.update_count for part in parts.values()] == [1, 0, 0]


class UpdatesOneOfAGroup(Net):
    """Updates a single object of a collection whose objects share their states."""

    def __init__(self) -> None:
        super().__init__()
        self.collection = MetricCollection({"accuracy": MulticlassAccuracy(3), "f1": MulticlassF1Score(3)})
        scores, target = torch.eye(3), torch.arange(3)
        self.collection.update(scores, target)  # now they are known to be alike

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.collection["f1"].update(self.net(batch[0]), batch[1])
        return self.loss(batch)

    def on_train_epoch_end(self) -> None:
        self.log("f1", self.collection["f1"].compute())


def test_what_is_kept_for_a_batch_that_fails_leaves_a_collection_as_it_is(tmp_path: Path) -> None:
    """With a checkpoint to be saved on an exception, each batch's states are looked at: CSVLogger is told what it is told without us."""
    told = []
    for ours in ([], [MetricsCallback(tmp_path / "runs")]):
        logger = CSVLogger(tmp_path / "csv", version=len(ours))
        settings: dict[str, Any] = {**QUIET, "enable_checkpointing": True, "log_every_n_steps": 1}
        trainer = pl.Trainer(**settings, logger=logger, callbacks=[*ours, OnExceptionCheckpoint(tmp_path)])
        trainer.fit(UpdatesOneOfAGroup(), loader(BATCHES))
        told.append([point for point in csv_points(csv_rows(logger)) if point[0] == "f1"])
    assert told[1] == told[0]
    assert len(told[0]) == QUIET["max_epochs"]


class LogsLate(Net):
    """Logs in its own `on_train_batch_end`, after the callbacks' hooks and so after a ModelCheckpoint's."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("late", float(batch_idx), on_step=True, on_epoch=True)


def test_a_whole_epochs_value_stands_where_the_checkpoint_lacks_a_part(tmp_path: Path) -> None:
    """It was recorded before the fit was cut short; what the resumed fit ends once more is not the whole epoch."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    for stops in ([Stops("on_train_batch_start", BATCHES + 2, _raise)], []):
        saves = ModelCheckpoint(tmp_path / "checkpoints", save_last=True, every_n_train_steps=BATCHES)
        settings: dict[str, Any] = {**QUIET, "enable_checkpointing": True, "max_epochs": 3, "logger": False}
        trainer = pl.Trainer(**settings, callbacks=[*stops, MetricsCallback(tmp_path / "runs"), saves])
        with pytest.raises(RuntimeError, match="on purpose") if stops else contextlib.nullcontext():
            trainer.fit(LogsLate(), loader(BATCHES), ckpt_path=last if last.exists() else None)
    table = fitgate.Store(str(tmp_path / "runs")).latest().metrics(["late_epoch"])
    assert table["value"].to_pylist() == [sum(range(BATCHES)) / BATCHES] * 3


class LogsFirsts(Net):
    """Logs in the first batch of each window of accumulation alone."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx % 3 == 0:
            self.log("first", float(self.current_epoch * 100 + batch_idx))
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        pass


def test_what_was_logged_amid_a_window_of_accumulation_outlives_a_resume(tmp_path: Path) -> None:
    """The checkpoint is made after four batches of six: loggers are told at the end of the second three."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    for stops in ([Stops("on_validation_start", 2, _raise)], []):
        saves = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
        settings: dict[str, Any] = {**QUIET, "enable_checkpointing": True, "max_epochs": 2, "logger": False, "num_sanity_val_steps": 0}
        settings |= {"accumulate_grad_batches": 3, "val_check_interval": 4, "check_val_every_n_epoch": None}
        trainer = pl.Trainer(**settings, callbacks=[*stops, MetricsCallback(tmp_path / "runs"), saves])
        with pytest.raises(RuntimeError, match="on purpose") if stops else contextlib.nullcontext():
            trainer.fit(LogsFirsts(), loader(BATCHES), loader(1), ckpt_path=last if last.exists() else None)
    table = fitgate.Store(str(tmp_path / "runs")).latest().metrics(["first"])
    assert table["step"].to_pylist() == [0, 1, 2, 3]
    assert table["value"].to_pylist() == [0.0, 3.0, 100.0, 103.0]


def _run_of(
    folder: Path,
    module: Callable[[], Net],
    stops: Sequence[Stops] = (),
    *extra: Any,
    keep: dict[str, Any],
    train: Any = None,
    val: Any = None,
    **options: Any,
) -> fitgate.Run:
    """A fit of two epochs, cut short by an error and gone on with as often as there are `stops`."""
    last = folder / "checkpoints" / "last.ckpt"
    for stop in [*([each] for each in stops), []]:
        saves = ModelCheckpoint(folder / "checkpoints", save_last=True, **keep)
        settings = {**QUIET, "enable_checkpointing": True, "logger": False, **options}
        trainer = pl.Trainer(**settings, callbacks=[*extra, *stop, MetricsCallback(folder / "runs"), saves])
        with pytest.raises(RuntimeError, match="on purpose") if stop else contextlib.nullcontext():
            trainer.fit(
                module(),
                _same_batches() if train is None else train,
                val or loader(2),
                ckpt_path=last if last.exists() else None,
                weights_only=True,
            )
    (run,) = fitgate.Store(str(folder / "runs")).runs()
    return run


def _points(run: fitgate.Run) -> list[Any]:
    return [(row["stage"], row["name"], row["step"], row["epoch"], row["value"]) for row in run.metrics().to_pylist()]


def _whole_and_resumed(
    root: Path, module: Callable[[], Net], stop: tuple[str, int] | list[tuple[str, int]], *extra: Any, **options: Any
) -> list[list[Any]]:
    """The points of a fit that never stopped, and of one that was stopped, once or again and again."""
    stops = stop if isinstance(stop, list) else [stop]
    fits: list[tuple[str, list[Stops]]] = [("whole", []), ("resumed", [Stops(*each, _raise) for each in stops])]
    return [_points(_run_of(root / name, module, stops, *extra, **options)) for name, stops in fits]


class LogsInEachHook(Net):
    """Logs values that follow from the batch: before it, in it and after it."""

    def on_train_epoch_start(self) -> None:
        self.log("epoch_start", 1.0 + self.current_epoch)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("both", float(batch_idx), on_step=True, on_epoch=True)
        self.log("weighted", float(batch_idx), on_step=False, on_epoch=True, batch_size=1 + batch_idx)
        self.log("sum", float(batch_idx), on_step=False, on_epoch=True, reduce_fx="sum")
        self.log("least", float(BATCHES - batch_idx), on_step=False, on_epoch=True, reduce_fx="min")
        return self.loss(batch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.log("once", 2.0, on_step=False, on_epoch=True)


class LogsBefore(pl.Callback):
    """Logs as a batch begins."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pl_module.log("before", float(batch_idx), on_step=False, on_epoch=True, reduce_fx="sum")


class LogsByHand(pl.Callback):
    """Records values of its own as a batch begins and as it ends."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._log(trainer, "begun by hand", batch_idx)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._log(trainer, "ended by hand", batch_idx)

    def _log(self, trainer: Any, name: str, value: float) -> None:
        (ours,) = (callback for callback in trainer.callbacks if isinstance(callback, MetricsCallback))
        ours.log_metric(name, value)


@pytest.mark.parametrize("stop", [("on_train_batch_start", 10), ("on_before_backward", 10), ("on_before_optimizer_step", 7)], ids=str)
def test_a_batch_that_an_error_cuts_short_counts_once_in_its_epoch(tmp_path: Path, stop: tuple[str, int]) -> None:
    """It is run again, on the sums of the batches before it; what is recorded by hand in it has its step too."""
    whole, resumed = _whole_and_resumed(tmp_path, LogsInEachHook, stop, LogsBefore(), LogsByHand(), keep=ON_EXCEPTION)
    assert resumed == whole


class LogsInEachSecondBatch(Net):
    """A value of the first batch of each window of two, and of both."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx % 2 == 0:
            self.log("first", float(batch_idx))
        self.log("each", float(batch_idx))
        return self.loss(batch)


@pytest.mark.parametrize("count", [9, 10])
@pytest.mark.parametrize("keep", [ON_EXCEPTION, {**ON_EXCEPTION, "every_n_train_steps": 5}], ids=str)
def test_an_error_amid_a_window_of_accumulation_loses_nothing_of_its_first_batch(tmp_path: Path, count: int, keep: dict[str, Any]) -> None:
    """Loggers are told at the window's end, which comes in the fit that goes on; the error comes in either of its batches.

    So it is where a checkpoint made just before they are told holds the same.
    """
    stop = ("on_before_backward", count)
    whole, resumed = _whole_and_resumed(tmp_path, LogsInEachSecondBatch, stop, keep=keep, accumulate_grad_batches=2)
    own = [[point for point in points if point[1] in ("first", "each")] for points in (whole, resumed)]
    assert own[0] == own[1]
    assert len(own[0]) == 2 * 2 * BATCHES // 2


class FailsAsItBegins(SumsUp):
    """As where the module looks for data that are not there: after callbacks have begun."""

    def on_train_start(self) -> None:
        _raise()


@pytest.mark.parametrize("keep", [ON_EXCEPTION, {**ON_EXCEPTION, "every_n_train_steps": 1}], ids=str)
@pytest.mark.parametrize("module", [FailsAsItBegins, SumsUp])
def test_an_error_as_a_resumed_fit_begins_takes_nothing_from_the_epoch_that_it_goes_on_with(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, keep: dict[str, Any], module: type[Net]
) -> None:
    """The checkpoint that is saved on it too has what that epoch had summed up before the batch that was cut short."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(RuntimeError):
        _fit(tmp_path, Stops("on_before_backward", 10, _raise), keep=keep)
    with pytest.raises(RuntimeError):
        _fit(tmp_path, *([Stops("on_train_start", 1, _raise)] if module is SumsUp else []), keep=keep, ckpt_path=last, module=module)
    _fit(tmp_path, keep=keep, ckpt_path=last)
    assert _history(tmp_path) == _uninterrupted(tmp_path_factory.getbasetemp() / "whole", ())


class OfItsUpdates(Metric):
    """The mean of its updates, which torchmetrics works out from how many there were."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("mean", torch.tensor(0.0), dist_reduce_fx="mean")

    def update(self, value: float) -> None:
        self.mean = torch.tensor(value)

    def compute(self) -> Any:
        return self.mean


class CountsUpdates(Net):
    """Logs such an object."""

    def __init__(self) -> None:
        super().__init__()
        self.of_updates = OfItsUpdates()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.of_updates(float(batch_idx))
        self.log("of_updates", self.of_updates, on_step=False, on_epoch=True)
        return self.loss(batch)


class LogsAsItBegins(Net):
    """Logs once in a fit, for the first epoch."""

    def on_train_start(self) -> None:
        self.log("begun", 1.0, reduce_fx="sum")


@pytest.mark.parametrize("module", [CountsUpdates, LogsAsItBegins])
def test_a_resumed_epoch_counts_nothing_twice(tmp_path: Path, module: type[Net]) -> None:
    """Neither the updates of a torchmetrics object, as one more or less, nor what is logged again as training begins."""
    whole, resumed = _whole_and_resumed(tmp_path, module, ("on_train_batch_start", 5), keep=EACH_SECOND_STEP)
    assert resumed == whole
    assert {"of_updates", "begun"} & {point[1] for point in whole}


class MayFailInValidation(Net):
    """Has a hook for what a validation step itself raises."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        super().validation_step(batch, batch_idx, dataloader_idx)
        for callback in self.trainer.callbacks:
            getattr(callback, "in_validation_step", bool)()


@pytest.mark.parametrize(
    ("stop", "first", "second"),
    [
        (("on_validation_start", 1), [0, 1], [0, 1, 2]),
        (("in_validation_step", 4), [], [1, 2]),
        (("in_validation_step", 14), [], [7, 8]),
        ([("in_validation_step", 4), ("on_validation_end", 1)], [], [1, 2]),
        ([("in_validation_step", 4), ("on_train_batch_end", 2)], [3], [1, 2, 3, 4, 5]),
    ],
    ids=str,
)
def test_a_validation_that_is_left_out_is_counted_for_each_of_its_loaders(
    tmp_path: Path, stop: tuple[str, int] | list[tuple[str, int]], first: list[int], second: list[int]
) -> None:
    """Lightning goes on behind one that was cut short: later ones have the steps that they have in a fit that never stopped.

    Where the step itself failed it runs as many batches as were left, beginning with the first loader's first. Resumed once more
    in the same epoch, it runs one batch of a validation that it takes for such a one.
    """
    options = {"num_sanity_val_steps": 0, "val_check_interval": 2, "val": [loader(2), loader(3)]}
    whole, resumed = _whole_and_resumed(tmp_path, MayFailInValidation, stop, keep=ON_EXCEPTION, **options)
    left_out = [point for point in whole if point not in resumed]
    assert sorted(point[1:3] for point in left_out if "step" in point[1]) == [
        *(("val_loss_step/dataloader_idx_0", step) for step in first),
        *(("val_loss_step/dataloader_idx_1", step) for step in second),
    ]
    # The mean of a part of a validation is another.
    assert {point[1].split("/")[0] for point in resumed if point not in whole} <= ({"val_loss_epoch"} if isinstance(stop, list) else set())


class SkipsTheRest(Net):
    """Ends its second epoch amid it, and with that the validation that would follow."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if self.current_epoch == 1 and batch_idx == BATCHES // 2 else None

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("at", float(batch_idx), on_step=True, on_epoch=True)
        return self.loss(batch)


class Stream(IterableDataset[Any]):
    """Batches whose number nobody knows beforehand."""

    def __iter__(self) -> Iterator[Any]:
        return iter(loader(BATCHES))


@pytest.mark.parametrize("train", [_same_batches(), DataLoader(Stream(), batch_size=None)], ids=["sized", "a stream"])
@pytest.mark.parametrize(
    ("keep", "stop"), [(AT_EPOCH_END, ("on_train_batch_start", 12)), (ON_EXCEPTION, ("on_train_epoch_end", 2))], ids=str
)
def test_an_epoch_that_the_module_ends_itself(tmp_path: Path, keep: dict[str, Any], stop: tuple[str, int], train: Any) -> None:
    """The batch that it skips takes no step, and keeps no value of its epoch out of a checkpoint."""
    whole, resumed = _whole_and_resumed(tmp_path, SkipsTheRest, stop, keep=keep, train=train, max_epochs=3)
    assert resumed == whole
    assert [point[2] for point in whole if point[1] == "at_epoch"] == [
        BATCHES - 1,
        BATCHES + BATCHES // 2 - 1,
        2 * BATCHES + BATCHES // 2 - 1,
    ]


class LogsItsEpoch(Net):
    """Of each step, and of each epoch."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("at", float(self.current_epoch), on_step=True, on_epoch=True)
        return self.loss(batch)


@pytest.mark.parametrize("stop", [("on_train_epoch_end", 1), ("on_train_batch_end", BATCHES)], ids=str)
def test_what_an_error_left_untold_keeps_its_epoch(tmp_path: Path, stop: tuple[str, int]) -> None:
    """Told as the next epoch begins, from the checkpoint that was saved on the exception."""
    for last, stops in ((None, [Stops(*stop, _raise)]), (tmp_path / "checkpoints" / "last.ckpt", [])):
        saves = ModelCheckpoint(tmp_path / "checkpoints", save_last=True, **ON_EXCEPTION)
        settings: dict[str, Any] = {**QUIET, "enable_checkpointing": True, "max_epochs": 3, "logger": False}
        trainer = pl.Trainer(**settings, callbacks=[*stops, MetricsCallback(tmp_path / "runs"), saves])
        with pytest.raises(RuntimeError, match="on purpose") if stops else contextlib.nullcontext():
            trainer.fit(LogsItsEpoch(), loader(BATCHES), ckpt_path=last)
    table = fitgate.Store(str(tmp_path / "runs")).latest().metrics(["at_step", "at_epoch"])
    assert table["value"].to_pylist() == table["epoch"].to_pylist()
    assert len(table) == 3 + 3 * BATCHES


@pytest.mark.parametrize(
    ("do", "error", "state"),
    [
        (_raise, RuntimeError, "failed"),
        (_ctrl_c, SystemExit, "interrupted"),
        (_sigterm, SystemExit, "interrupted"),
        (_exit, SystemExit, "failed"),
    ],
    ids=["exception", "Ctrl-C", "SIGTERM", "sys.exit"],
)
def test_cut_short_five_times_over(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, do: Callable[[], None], error: type[BaseException], state: str
) -> None:
    """One run, six attempts, the whole history; what was gone back behind stays in the files, and TensorBoard forgets it."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    for batch in (4, 4, 5, 4, 6):  # Lightning loses count of epochs if it goes on twice from the last batch of one
        begun = batch - (do is _sigterm)  # which Lightning obeys at the end of the batch
        with pytest.raises(error):
            _fit(tmp_path, Stops("on_train_batch_start", begun, do), keep=EACH_SECOND_STEP, ckpt_path=last if last.exists() else None)
        (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
        assert run.state == state
    _fit(tmp_path, keep=EACH_SECOND_STEP, ckpt_path=last)
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    resumed = [attempt.resumed_step for attempt in run.info.attempts]
    assert (len(resumed), resumed[0]) == (6, None)
    assert resumed[1:] == sorted(r for r in resumed if r is not None)
    history = _history(tmp_path)
    assert history == _uninterrupted(tmp_path_factory.getbasetemp() / "whole", ())
    files = [pq.read_table(path) for path in Path(run.path).glob("metrics/*.parquet")]
    assert sum(table.num_rows for table in files) > len(history)
    assert _mirrored(run) == _as_float32(history)


_OFTEN = {"limit_val_batches": 6, "val_check_interval": 3}


@pytest.mark.parametrize(
    ("keep", "stop", "options"),
    [
        (AT_EPOCH_END, ("on_train_batch_start", 12), _OFTEN),
        (AT_VALIDATION_END, ("on_train_batch_start", 8), _OFTEN),
        (EACH_THIRD_STEP, ("on_train_batch_start", 12), _OFTEN),
        (AT_EPOCH_END, ("on_validation_end", 3), {}),
        (AT_EPOCH_END, ("on_validation_batch_end", 7), {"limit_val_batches": 3, "num_sanity_val_steps": 0}),
    ],
    ids=str,
)
def test_tensorboard_shows_each_point_of_a_resumed_fit_once(
    tmp_path: Path, keep: dict[str, Any], stop: tuple[str, int], options: dict[str, Any]
) -> None:
    """Past the resumed step it forgets; up to there it neither forgets nor doubles, values on the evaluation counter included.

    That counter may run ahead of the training step, or behind it.
    """
    with pytest.raises(RuntimeError):
        _fit(tmp_path, Stops(*stop, _raise), keep=keep, **options)
    _fit(tmp_path, keep=keep, ckpt_path=tmp_path / "checkpoints" / "last.ckpt", **options)
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    assert _mirrored(run) == _as_float32(_history(tmp_path))


def _mirrored(run: fitgate.Run) -> list[tuple[str, int, float]]:
    events = EventAccumulator(run.path, size_guidance={"scalars": 0})
    events.Reload()
    return sorted((tag, e.step, e.value) for tag in events.Tags()["scalars"] for e in events.Scalars(tag))


def _as_float32(history: list[Any]) -> list[tuple[str, int, float]]:
    return sorted((name, step, torch.tensor(value, dtype=torch.float32).item()) for _, name, step, _, _, value in history)


class Unruly(MeanMetric):
    """A metric whose states can't be had."""

    @property
    def metric_state(self) -> Any:
        message = "no states today"
        raise RuntimeError(message)


@pytest.mark.parametrize("keep", [EACH_SECOND_STEP, {**EACH_SECOND_STEP, "save_on_exception": True}], ids=str)
def test_what_cannot_be_kept_or_read_stops_no_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, keep: dict[str, Any]
) -> None:
    """A metric that won't give its states keeps no checkpoint from being saved, a damaged file no fit from going on; each is said."""
    monkeypatch.setattr("tests.callbacks.test_resume.MeanMetric", Unruly)
    with pytest.raises(RuntimeError, match="on purpose"):
        _fit(tmp_path, Stops("on_train_batch_start", 9, _raise), keep=keep)
    assert "no states today" in caplog.text
    monkeypatch.undo()
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    (segment,) = Path(run.path).glob("metrics/*.parquet")
    segment.write_bytes(segment.read_bytes()[:-20])
    _fit(tmp_path, keep=keep, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert "can't be read" in caplog.text
    assert fitgate.Store(str(tmp_path / "runs")).latest().state == "completed"
