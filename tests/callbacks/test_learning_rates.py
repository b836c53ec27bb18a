"""LearningRateMonitor: with `logger=False` too, with the values, names and steps that Lightning's own logger gets."""

import pickle
from pathlib import Path
from typing import Any

import lightning.pytorch
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

import fitgate
from fitgate.callbacks import MetricsCallback
from fitgate_callbacks import _logged
from tests.callbacks._fits import QUIET, Net, OtherNet, Point, csv_points, csv_rows, loader


def _stepwise(optimizer: Any) -> Any:
    return {"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), "interval": "step", "name": "warm-up"}


def one(net: Any) -> Any:
    """One optimizer, no scheduler."""
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5, weight_decay=0.01)


def each_step(net: Any) -> Any:
    """A scheduler with a name of its own that steps after each batch."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    return {"optimizer": optimizer, "lr_scheduler": _stepwise(optimizer)}


def groups(net: Any) -> Any:
    """Two parameter groups, with a scheduler that steps after each epoch."""
    parameters: list[dict[str, Any]] = [{"params": [net.net.weight]}, {"params": [net.net.bias], "lr": 0.3}]
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


CASES = {"one": one, "each step": each_step, "groups": groups}


def rates(run: fitgate.Run) -> set[Point]:
    """The points of a run that a LearningRateMonitor tells of."""
    return {(row["name"], row["step"], row["value"]) for row in run.metrics(stage="train").to_pylist() if _is_rate(row["name"])}


def _is_rate(name: str) -> bool:
    return name.startswith(("lr-", "warm-up"))


def _net(kind: type[Any], optimizers: Any) -> Any:
    return type("Scheduled", (kind,), {"configure_optimizers": optimizers})()


@pytest.mark.parametrize("interval", [None, "step", "epoch"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("namespace", ["pytorch_lightning", "lightning"])
def test_the_rates_are_those_that_csv_logger_gets(tmp_path: Path, namespace: str, case: str, interval: Any) -> None:
    """Beside the real logger at `log_every_n_steps=1` and without any: the same points, momentum and weight decay included."""
    library, kind = (pl, Net) if namespace == "pytorch_lightning" else (lightning.pytorch, OtherNet)

    def fit(root: Path, logger: Any, order: int) -> fitgate.Run:
        monitor = library.callbacks.LearningRateMonitor(interval, log_momentum=case == "one", log_weight_decay=case == "one")
        callbacks = [monitor, MetricsCallback(root, tensorboard=False)][::order]
        options: dict[str, Any] = {**QUIET, "accumulate_grad_batches": 2 if case == "groups" else 1}
        library.Trainer(**options, logger=logger, log_every_n_steps=1, callbacks=callbacks).fit(_net(kind, CASES[case]), loader(), loader())
        assert set(vars(monitor)).isdisjoint({"on_train_start", "on_train_epoch_start", "on_train_batch_start"})
        return fitgate.Store(root).latest()

    logger = CSVLogger(tmp_path)
    beside = fit(tmp_path / "beside", logger, 1)
    expected = {point for point in csv_points(csv_rows(logger)) if _is_rate(point[0])}
    assert expected
    assert rates(beside) == expected
    assert rates(fit(tmp_path / "alone", False, 1)) == expected  # noqa: FBT003 - Lightning's own argument
    assert rates(fit(tmp_path / "other-order", False, -1)) == expected  # noqa: FBT003


@pytest.mark.parametrize("case", CASES)
def test_the_rates_by_the_public_api(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a Lightning whose private paths are others, the same points at the same steps."""
    logger = CSVLogger(tmp_path)
    options: dict[str, Any] = {**QUIET, "accumulate_grad_batches": 2 if case == "groups" else 1, "log_every_n_steps": 1}
    pl.Trainer(**options, logger=logger, callbacks=[LearningRateMonitor()]).fit(_net(Net, CASES[case]), loader(), loader())
    monkeypatch.setattr(_logged, "missing_path", lambda _trainer: "Trainer._somewhere")
    callbacks = [LearningRateMonitor(), MetricsCallback(tmp_path / "runs", tensorboard=False)]
    pl.Trainer(**options, logger=False, callbacks=callbacks).fit(_net(Net, CASES[case]), loader(), loader())
    expected = {point for point in csv_points(csv_rows(logger)) if _is_rate(point[0])}
    assert rates(fitgate.Store(tmp_path / "runs").latest()) == expected


@pytest.mark.parametrize("every", [3, 50, 0])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("interval", [None, "step"])
def test_every_change_is_recorded_however_seldom_lightning_logs(tmp_path: Path, interval: Any, case: str, every: int) -> None:
    """At steps that loggers are not told of, a rate that has changed is recorded, with the value of `log_every_n_steps=1`."""

    def fit(root: Path, logger: Any, every: int) -> list[Any]:
        monitor = LearningRateMonitor(interval)
        callbacks: list[Any] = [monitor, *([] if logger else [MetricsCallback(root, tensorboard=False)])]
        trainer: Any = pl.Trainer(**QUIET, logger=logger, log_every_n_steps=every, callbacks=callbacks)
        trainer.fit(_net(Net, CASES[case]), loader(), loader())
        return [monitor.lrs, trainer.log_every_n_steps]

    logger, seldom = CSVLogger(tmp_path, "each"), CSVLogger(tmp_path, "seldom")
    fit(tmp_path, logger, 1)
    expected = {point for point in csv_points(csv_rows(logger)) if _is_rate(point[0])}
    undisturbed = fit(tmp_path, seldom, every) if every else [None, 0]
    disturbed = fit(tmp_path / "runs", False, every)  # noqa: FBT003 - Lightning's own argument
    found = rates(fitgate.Store(tmp_path / "runs").latest())
    assert found <= expected
    changes = {
        point
        for i, point in enumerate(sorted(expected))
        if i == 0 or (sorted(expected)[i - 1][0], sorted(expected)[i - 1][2]) != point[::2]
    }
    assert changes <= found
    if every:
        assert disturbed == undisturbed, "the monitor's own history is what it would be"
        assert {point for point in csv_points(csv_rows(seldom)) if _is_rate(point[0])} <= found


def test_each_point_is_written_once(tmp_path: Path) -> None:
    """A monitor tells of a step as the epoch begins, as each batch of an accumulation begins: one row a name and step."""
    callbacks = [LearningRateMonitor(), MetricsCallback(tmp_path, tensorboard=False)]
    trainer = pl.Trainer(**QUIET, logger=False, log_every_n_steps=1, accumulate_grad_batches=2, callbacks=callbacks)
    trainer.fit(_net(Net, one), loader(), loader())
    table = pq.read_table(fitgate.Store(tmp_path).latest().path + "/metrics")
    keys = [(row["name"], row["step"]) for row in table.to_pylist() if row["name"] == "lr-SGD"]
    assert len(keys) == len(set(keys)) > 2


def test_a_resumed_fit_goes_on_with_the_steps(tmp_path: Path) -> None:
    """From a checkpoint amid an epoch: the rates of a fit that never stopped."""

    def fit(root: Path, **options: Any) -> None:
        keeper = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=3, save_top_k=-1, filename="{step}")
        settings = {**QUIET, "enable_checkpointing": True}
        callbacks = [LearningRateMonitor("step"), MetricsCallback(root, tensorboard=False), keeper]
        trainer = pl.Trainer(**settings, logger=False, log_every_n_steps=1, callbacks=callbacks)
        trainer.fit(_net(Net, each_step), loader(), loader(), **options)

    fit(tmp_path / "runs")
    (run,) = fitgate.Store(tmp_path / "runs").runs()
    whole = rates(run)
    fit(tmp_path / "runs", ckpt_path=tmp_path / "ckpt" / "step=3.ckpt")
    (run,) = fitgate.Store(tmp_path / "runs").runs()
    assert len(run.info.attempts) == 2
    found = sorted(rates(run))
    assert [point[:2] for point in found] == [point[:2] for point in sorted(whole)]
    assert [point[2] for point in found] == pytest.approx([point[2] for point in sorted(whole)])


def test_nobody_else_sees_a_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the module nor another callback, at any hook; checkpoints go where they go without one, and all of it pickles."""
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []

    class Looks(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append((list(trainer.loggers), pl_module.logger))
            pickle.loads(pickle.dumps(trainer.callbacks[2]))

        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            seen.append((list(trainer.loggers), pl_module.logger))

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append((list(trainer.loggers), pl_module.logger))

        on_validation_start = on_fit_end = on_train_epoch_start

    keeper = ModelCheckpoint()
    callbacks = [Looks(), LearningRateMonitor(), MetricsCallback(), keeper]
    trainer = pl.Trainer(**{**QUIET, "enable_checkpointing": True}, logger=False, log_every_n_steps=1, callbacks=callbacks)
    trainer.fit(_net(Net, one), loader(), loader())
    assert len(seen) > 10
    assert all(each == ([], None) for each in seen)
    assert keeper.dirpath == str(tmp_path / "checkpoints")
    assert trainer.loggers == []


def test_what_raises_in_a_monitor_leaves_the_trainer_as_it_was(tmp_path: Path) -> None:
    """Its loggers are its own again."""

    class Raises(LearningRateMonitor):
        def on_train_epoch_start(self, *_: Any, **__: Any) -> None:
            message = "on purpose"
            raise RuntimeError(message)

    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[Raises(), MetricsCallback(tmp_path)])
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.fit(_net(Net, one), loader(), loader())
    assert trainer.loggers == []
    assert "on_train_epoch_start" not in vars(trainer.callbacks[0])  # type: ignore[attr-defined]


def test_without_a_monitor_no_rate_is_recorded(tmp_path: Path) -> None:
    """What the module logs, and nothing beside it."""
    pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path)]).fit(_net(Net, each_step), loader(), loader())
    assert rates(fitgate.Store(tmp_path).latest()) == set()
