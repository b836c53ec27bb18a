"""Validating and testing, alone and after a fit, and fitting again: beside Lightning's own CSVLogger."""

import copy
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import ChainDataset, DataLoader, IterableDataset, TensorDataset

import fitgate
from fitgate.callbacks import MetricsCallback
from tests.callbacks._fits import BATCHES, QUIET, Net, Point, csv_points, csv_rows, in_order, loader, stored_points


def _counted_on(points: Iterable[Point]) -> list[Point]:
    """Where Lightning starts its evaluation counter again, it goes on: the n-th value of such a name has step n."""
    counts = {"val_loss_step": 0, "test_loss_step": 0}
    going_on = []
    for name, step, value in points:
        going_on.append((name, counts.get(name, step), value))
        if name in counts:
            counts[name] += 1
    return going_on


def _fit(trainer: Any, module: Any) -> None:
    trainer.fit(module, loader(), loader(3))


def _fit_and_test(trainer: Any, module: Any) -> None:
    _fit(trainer, module)
    trainer.test(module, loader(), verbose=False)
    trainer.test(module, loader(), verbose=False)


def _fit_and_validate(trainer: Any, module: Any) -> None:
    _fit(trainer, module)
    trainer.validate(module, loader(), verbose=False)


def _fit_twice(trainer: Any, module: Any) -> None:
    _fit(trainer, module)
    trainer.fit_loop.max_epochs = 3
    _fit(trainer, module)


def _validate_and_fit(trainer: Any, module: Any) -> None:
    trainer.validate(module, loader(), verbose=False)
    _fit(trainer, module)


def _validate(trainer: Any, module: Any) -> None:
    trainer.validate(module, loader(), verbose=False)


def _test(trainer: Any, module: Any) -> None:
    trainer.test(module, loader(), verbose=False)


@pytest.mark.parametrize(
    ("do", "attempts"),
    [(_fit_and_test, 1), (_fit_and_validate, 1), (_fit_twice, 2), (_validate_and_fit, 1), (_validate, 1), (_test, 1)],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("options", [{}, {"reload_dataloaders_every_n_epochs": 1}], ids=str)
def test_what_one_trainer_does_is_one_run(tmp_path: Path, do: Callable[[Any, Any], None], attempts: int, options: Any) -> None:
    """The points of CSVLogger, in one run that ends as completed; the evaluation counter goes on."""
    logger = CSVLogger(tmp_path / "csv")
    callback = MetricsCallback(tmp_path / "runs")
    module = Net()
    do(pl.Trainer(**QUIET, **options, logger=logger, log_every_n_steps=1, callbacks=[callback]), module)
    expected = [*_counted_on(csv_points(csv_rows(logger))), *(("loss", step, value) for step, value in module.returned.items())]
    expected = [(*key, value) for key, value in {p[:2]: p[2] for p in expected}.items()]  # a second test's last value stands
    assert in_order(stored_points(tmp_path / "runs")) == in_order(expected)
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    assert (run.state, len(run.info.attempts)) == ("completed", attempts)
    stages = {"tes": "test", "val": "validate", "los": "train"}
    assert all(row["stage"] == stages[row["name"][:3]] for row in run.metrics().to_pylist())


def test_log_every_n_steps_makes_no_difference(tmp_path: Path) -> None:
    """Without any logger and at Lightning's own default interval: every step."""
    for part, options in (("one", {"log_every_n_steps": 1, "logger": CSVLogger(tmp_path / "csv")}), ("default", {"logger": False})):
        pl.Trainer(**QUIET, **options, callbacks=[MetricsCallback(tmp_path / part)]).fit(Net(), loader(), loader())
    assert stored_points(tmp_path / "default") == stored_points(tmp_path / "one")


def test_each_trainer_that_fits_begins_a_run_and_a_test_belongs_to_the_last(tmp_path: Path) -> None:
    """One callback on three Trainers: two that fit, and one that only tests."""
    callback = MetricsCallback(tmp_path)
    ids = []
    for _ in range(2):
        _fit(pl.Trainer(**QUIET, logger=False, callbacks=[callback]), Net())
        ids.append(callback.run_id)
    _test(pl.Trainer(**QUIET, logger=False, callbacks=[callback]), Net())
    assert callback.run_id == ids[1] != ids[0]
    stages = [set(run.metrics()["stage"].to_pylist()) for run in fitgate.Store(str(tmp_path)).runs()]
    assert sorted(map(len, stages)) == [2, 3]


@pytest.mark.parametrize("test", [_validate, _test])
@pytest.mark.parametrize("resumed", [False, True], ids=["at once", "resumed"])
def test_another_trainer_goes_on_where_the_fit_ended(tmp_path: Path, test: Callable[[Any, Any], None], resumed: bool) -> None:  # noqa: FBT001 - a case
    """Its points have the steps that the same Trainer's would have, and take none of the fit's away, which may stand at step 0 too."""

    def points(root: Path, *, same: bool) -> list[tuple[str, int, str]]:
        callback, module = MetricsCallback(root / "runs"), Net()
        keeper = ModelCheckpoint(root / "ckpt", every_n_train_steps=1, save_top_k=-1, filename="{step}")
        trainer = pl.Trainer(**{**QUIET, "enable_checkpointing": True}, logger=False, callbacks=[callback, keeper])
        trainer.fit(module, loader(1), loader(2))
        if resumed:
            callback = MetricsCallback(root / "runs")
            trainer = pl.Trainer(**{**QUIET, "max_epochs": 3}, logger=False, callbacks=[callback])
            trainer.fit(module, loader(1), loader(2), ckpt_path=root / "ckpt" / "step=2.ckpt")
        test(trainer if same else pl.Trainer(**QUIET, logger=False, callbacks=[callback]), module)
        return in_order(stored_points(root / "runs"))

    assert points(tmp_path / "another", same=False) == points(tmp_path / "same", same=True)


@pytest.mark.parametrize("test", [_validate, _test])
def test_a_copy_that_only_tests_hides_nothing(tmp_path: Path, test: Callable[[Any, Any], None]) -> None:
    """Copied after a fit, as a pickle is, and put on another Trainer: what the fit recorded counts as before."""
    callback = MetricsCallback(tmp_path)
    _fit(pl.Trainer(**QUIET, logger=False, callbacks=[callback]), Net())
    before = fitgate.Store(str(tmp_path)).latest().metrics(["loss"])
    test(pl.Trainer(**QUIET, logger=False, callbacks=[copy.deepcopy(callback)]), Net())
    run = fitgate.Store(str(tmp_path)).latest()
    assert run.id == callback.run_id
    assert run.metrics(["loss"]).equals(before)


def test_a_callback_that_validates_after_another_went_on_with_its_run_hides_nothing(tmp_path: Path) -> None:
    """The first callback knows nothing of the second one's attempt, and takes nothing of it away."""
    first, second = MetricsCallback(tmp_path), MetricsCallback(tmp_path)
    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[first])
    trainer.fit(Net(), loader(), loader())
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    pl.Trainer(**{**QUIET, "max_epochs": 3}, logger=False, callbacks=[second]).fit(
        Net(), loader(), loader(), ckpt_path=tmp_path / "two.ckpt"
    )
    before = fitgate.Store(str(tmp_path)).run(str(first.run_id))
    assert (second.run_id, [a.resumed_step for a in before.info.attempts]) == (first.run_id, [None, 2 * BATCHES])
    points = before.metrics(stage="train")
    trainer.validate(Net(), loader(), verbose=False)
    assert first.recorder is not None
    first.recorder.update()  # as it does every half a minute
    after = fitgate.Store(str(tmp_path)).run(str(first.run_id))
    assert (after.info.attempts, after.info.fit, after.state) == (before.info.attempts, before.info.fit, "completed")
    assert after.metrics(stage="train").equals(points)


def test_a_fit_after_a_validation_is_alive_from_its_first_step(tmp_path: Path) -> None:
    """That may take minutes, and a run that is silent for five of them counts as lost: the thread that writes is there before it."""
    alive = []

    class Looks(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            alive.append("fitgate-flush" in {thread.name for thread in threading.enumerate()})

    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path), Looks()], num_sanity_val_steps=0)
    _validate_and_fit(trainer, Net())
    assert all(alive)


def test_a_value_logged_between_two_fits_stands_beside_theirs(tmp_path: Path) -> None:
    """By hand without a step: one more than the last step of that name, whichever fit recorded that."""

    class Logs(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            callback.log_metric("mine", trainer.global_step)

    callback = MetricsCallback(tmp_path)
    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[callback, Logs()])
    module = Net()
    _fit(trainer, module)
    callback.log_metric("mine", -1.0)
    trainer.fit_loop.max_epochs = 4
    _fit(trainer, module)
    callback.log_metric("mine", -2.0)
    callback.flush()
    points = fitgate.Store(str(tmp_path)).latest().metrics(["mine"])
    assert points["value"].to_pylist()[-1] == -2.0
    assert points["value"].to_pylist().count(-2.0) == 1
    assert set(points["value"].to_pylist()) >= {float(step) for step in range(len(loader()) + 1, 4 * len(loader()) + 1)}


class _Chained(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(TensorDataset(torch.randn(8, 4), torch.arange(8) % 3))


class _Unsized(_Chained):
    def __len__(self) -> int:
        raise NotImplementedError


class _Odd(Net):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        if not isinstance(batch, torch.Tensor):
            self.log("val_loss", self.loss(batch))
        else:
            self.log("val_loss", (batch.to_padded_tensor(0.0) if batch.is_nested else batch.to_dense()).sum())


def _nested(layout: torch.layout) -> Any:
    return DataLoader([torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=layout)] * 3, batch_size=None)  # type: ignore[arg-type]  # any sequence will do


@pytest.mark.parametrize(
    "loaders",
    [
        lambda: DataLoader(ChainDataset([_Chained(), _Chained()]), batch_size=4),
        lambda: {"a": [loader(), loader()], "b": loader()},
        lambda: DataLoader([torch.eye(4).to_sparse() for _ in range(3)], batch_size=None),  # type: ignore[arg-type]  # any sequence will do
        lambda: DataLoader(_Unsized(), batch_size=4),
        lambda: _nested(torch.strided),
        lambda: _nested(torch.jagged),
    ],
    ids=["a chain of iterables", "loaders in loaders", "sparse tensors", "a length that is not told", "nested tensors", "jagged tensors"],
)
def test_what_cannot_be_told_of_the_validation_set_stops_no_fit(tmp_path: Path, loaders: Callable[[], Any]) -> None:
    """No length, nested loaders, tensors that have no bytes or no shape: the fit ends as it does without the callback."""
    pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path)]).fit(_Odd(), loader(), loaders())
    assert fitgate.Store(str(tmp_path)).latest().state == "completed"


def test_a_fit_that_changes_its_folder_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative `dirpath` is that of the start."""

    class Moves(Net):
        def on_train_epoch_end(self) -> None:
            os.chdir(tmp_path / "b")

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback("runs")]).fit(Moves(), loader(), loader(3))
    assert fitgate.Store(str(tmp_path / "a" / "runs")).latest().state == "completed"
    assert len(fitgate.Store(str(tmp_path / "a" / "runs")).latest().metrics(["loss"])) == 2 * len(loader())
    assert list((tmp_path / "b").iterdir()) == []


def test_nothing_is_left_of_what_records_nothing(tmp_path: Path) -> None:
    """`predict`, a fit with no step to run: no folder; and `barebones` says at once that nothing would be recorded."""

    class Predicts(Net):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch[0])

    callback = MetricsCallback(tmp_path)
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 0}, num_sanity_val_steps=0, logger=False, callbacks=[callback])
    trainer.predict(Predicts(), loader())
    _fit(trainer, Net())
    assert list(tmp_path.iterdir()) == []
    assert callback.run_id is None
    with pytest.raises(ValueError, match=r"barebones.*self\.log"):
        pl.Trainer(barebones=True, accelerator="cpu", max_epochs=1, callbacks=[MetricsCallback(tmp_path)]).fit(Net(), loader())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("then", [_validate, _test])
def test_a_trainer_that_found_nothing_left_to_do_counts_on_too(tmp_path: Path, then: Callable[[Any, Any], None]) -> None:
    """It goes on from a finished fit, then validates or tests: the points that the fit's own Trainer would have given, and none of the fit's is overwritten."""
    fitted = {}
    for name in ("own", "another"):
        trainer = pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path / name)])
        module = Net()
        _fit(trainer, module)
        fitted[name] = set(in_order(stored_points(tmp_path / name)))
        if name == "another":
            trainer.save_checkpoint(tmp_path / "end.ckpt")
            trainer = pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path / name)])
            module = Net()
            trainer.fit(module, loader(), loader(3), ckpt_path=tmp_path / "end.ckpt")
        then(trainer, module)
    points = in_order(stored_points(tmp_path / "another"))
    assert points == in_order(stored_points(tmp_path / "own"))
    assert fitted["another"] < set(points)


def test_a_value_of_many_elements_is_refused_by_name(tmp_path: Path) -> None:
    """A torchmetrics object may give several numbers; which metric it was is said."""
    from torchmetrics.classification import MulticlassAccuracy  # noqa: PLC0415 - as in the module under test

    class PerClass(Net):
        def __init__(self) -> None:
            super().__init__()
            self.per_class = MulticlassAccuracy(3, average=None)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.per_class(self.net(batch[0]), batch[1])
            self.log("per_class", self.per_class, on_step=True, on_epoch=False)
            return self.loss(batch)

    with pytest.raises(ValueError, match=r"'per_class'.*\(3,\)"):
        pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path)]).fit(PerClass(), loader())


def test_a_name_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    """Where it is logged first: it would take every other point with it."""

    class Odd(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 3:
                self.log("caf\udce9", 1.0)
            return self.loss(batch)

    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path)])
    with pytest.raises(ValueError, match=r"metric's name must be text that can be written as UTF-8, got 'caf\\udce9'"):
        trainer.fit(Odd(), loader())
    run = fitgate.Store(str(tmp_path)).latest()
    assert (run.state, run.metrics()["step"].to_pylist()) == ("failed", [0, 1, 2])


def test_global_step_is_the_trainers(tmp_path: Path) -> None:
    """Under accumulation over two of five batches: three optimizer steps an epoch, and validation after the third."""
    callback = MetricsCallback(tmp_path)
    pl.Trainer(**QUIET, accumulate_grad_batches=2, logger=False, callbacks=[callback]).fit(Net(), loader(), loader())
    run = fitgate.Store(str(tmp_path)).latest()
    assert run.metrics(["loss"])["global_step"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert run.metrics(["val_loss_epoch"])["global_step"].to_pylist() == [3, 6]
    assert run.metrics(["val_loss_step"])["global_step"].to_pylist() == [3] * BATCHES + [6] * BATCHES


class TwoStepsABatch(Net):
    """Manual optimization: `global_step` runs twice as fast as the loggers' step."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer: Any = self.optimizers()
        for _ in range(2):
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            optimizer.step()
        return loss


class TwoStepsABatchDecidedLate(TwoStepsABatch):
    """Says so in the last hook before the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = True

    def on_train_start(self) -> None:
        self.automatic_optimization = False


class TwoStepsABatchByProperty(TwoStepsABatch):
    """Says so in a property of its own."""

    @property
    def automatic_optimization(self) -> bool:
        return False

    @automatic_optimization.setter
    def automatic_optimization(self, value: bool) -> None:
        pass


class TwoStepsABatchByPropertyDecidedLate(TwoStepsABatch):
    """In a property of its own, which says another thing from the last hook before the first batch on."""

    by_hand = False

    @property
    def automatic_optimization(self) -> bool:
        return not self.by_hand

    @automatic_optimization.setter
    def automatic_optimization(self, value: bool) -> None:
        pass

    def on_train_start(self) -> None:
        self.by_hand = True


class NotesWhereTheTrainerIs(pl.Callback):
    """After each batch, as the trainer's own properties have it."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append((trainer.global_step, trainer.current_epoch))


@pytest.mark.parametrize("module", [Net, TwoStepsABatch, TwoStepsABatchByProperty])
def test_global_step_and_epoch_are_the_trainers_after_a_resume_too(tmp_path: Path, module: Callable[[], Any]) -> None:
    """With one optimizer step a batch, and with two, which the module optimizes by hand."""
    notes = NotesWhereTheTrainerIs()
    options = {**QUIET, "enable_checkpointing": True, "logger": False}
    for epochs, start in ((2, None), (4, "last")):
        saves = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
        trainer = pl.Trainer(**{**options, "max_epochs": epochs}, callbacks=[MetricsCallback(tmp_path / "runs"), notes, saves])
        trainer.fit(module(), loader(), ckpt_path=start)
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    table = run.metrics(["loss"])
    assert list(zip(table["global_step"].to_pylist(), table["epoch"].to_pylist(), strict=True)) == notes.seen
    assert len(notes.seen) == 4 * BATCHES


@pytest.mark.parametrize("module", [TwoStepsABatchDecidedLate, TwoStepsABatchByPropertyDecidedLate])
def test_global_step_is_the_trainers_where_a_module_decides_late_how_it_optimizes(tmp_path: Path, module: Callable[[], Any]) -> None:
    """In a hook that runs after ours."""
    notes = NotesWhereTheTrainerIs()
    pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path), notes]).fit(module(), loader())
    table = fitgate.Store(str(tmp_path)).latest().metrics(["loss"])
    assert list(zip(table["global_step"].to_pylist(), table["epoch"].to_pylist(), strict=True)) == notes.seen
