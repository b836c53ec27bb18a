"""MetricsCallback against Lightning's own record and TensorBoard's own reader."""

import csv
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

import fitgate
from fitgate.callbacks import MetricsCallback

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "max_epochs": 2,
}


def _loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(20, 4, generator=generator), torch.arange(20) % 3), batch_size=4)


class _Hooks:
    """A module that logs in many ways; mixed with either namespace's LightningModule."""

    def training_step(self: Any, batch: Any, batch_idx: int) -> dict[str, Any]:
        x, y = batch
        logits = self.net(x)
        loss = torch.nn.functional.cross_entropy(logits, y)
        self.log("forked", loss, on_step=True, on_epoch=True)
        self.log("bar", loss * 2, prog_bar=True)
        self.log("epoch_only", loss, on_step=False, on_epoch=True)
        if batch_idx % 2 == 0:
            self.log("sometimes", loss + 1)
        return {"loss": loss, "logits": logits, "target": y}

    def on_train_batch_end(self: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("late", float(batch_idx))

    def on_train_epoch_end(self: Any) -> None:
        self.log("at_end", float(self.current_epoch))

    def validation_step(self: Any, batch: Any, batch_idx: int) -> dict[str, Any]:
        x, y = batch
        logits = self.net(x)
        self.log("val_loss", torch.nn.functional.cross_entropy(logits, y), on_step=True, on_epoch=True)
        return {"logits": logits, "target": y}

    def test_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("test_sum", self.net(batch[0]).sum())

    def configure_optimizers(self: Any) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _module(namespace: Any = pl) -> Any:
    torch.manual_seed(0)
    module = type("Module", (_Hooks, namespace.LightningModule), {})()
    module.net = torch.nn.Linear(4, 3)
    return module


def _csv_points(path: Path) -> Iterator[tuple[str, int, float]]:
    with path.open() as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if name not in ("step", "epoch") and text:
                    yield name, int(row["step"]), float(text)


def _points(table: Any) -> list[tuple[str, int, float]]:
    return [(row["name"], row["step"], row["value"]) for row in table.to_pylist()]


@pytest.mark.parametrize(
    "options",
    [{}, {"val_check_interval": 2}, {"check_val_every_n_epoch": 2}, {"accumulate_grad_batches": 2}, {"max_steps": 7}],
    ids=str,
)
def test_points_are_those_of_csv_logger(tmp_path: Path, options: dict[str, Any]) -> None:
    """The same names, steps and values; less what Lightning repeats, and with the returned loss."""
    logger = CSVLogger(tmp_path / "csv")
    callback = MetricsCallback(tmp_path / "runs")
    trainer = pl.Trainer(**{**QUIET, **options}, logger=logger, log_every_n_steps=1, callbacks=[callback])
    trainer.fit(_module(), _loader(), _loader())
    trainer.test(_module(), _loader(), verbose=False)
    points = _points(fitgate.Store(str(tmp_path / "runs")).latest().metrics())
    assert len({p[:2] for p in points}) == len(points)
    ours = {(name, step): value for name, step, value in points if name != "loss"}
    theirs = {(name, step): value for name, step, value in _csv_points(Path(logger.log_dir) / "metrics.csv")}
    repeated = {key for key in theirs if key[0] == "sometimes" and key not in ours}
    assert all(any(theirs[key] == theirs.get((key[0], key[1] - back)) for back in (1, 2)) for key in repeated)
    expected = {key: value for key, value in theirs.items() if key not in repeated}
    assert ours.keys() == expected.keys()
    assert all(math.isclose(ours[key], expected[key], rel_tol=1e-6) for key in ours)
    loss = {step: value for name, step, value in points if name == "loss"}
    assert loss == pytest.approx({step: value for (name, step), value in ours.items() if name == "forked_step"}, rel=1e-6)


def test_tensorboard_reads_back_the_parquet_points(tmp_path: Path) -> None:
    """TensorBoard's own reader gives the same points as float32."""
    callback = MetricsCallback(tmp_path)
    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[callback])
    trainer.fit(_module(), _loader(), _loader())
    events = EventAccumulator(str(callback.run_dir), size_guidance={"scalars": 0})
    events.Reload()
    mirrored = [(tag, e.step, e.value) for tag in events.Tags()["scalars"] for e in events.Scalars(tag)]
    points = _points(fitgate.Store(str(tmp_path)).latest().metrics())
    assert sorted(mirrored) == sorted((n, s, torch.tensor(v, dtype=torch.float32).item()) for n, s, v in points)


def test_accuracy_is_counted_for_a_module_that_logs_none(tmp_path: Path) -> None:
    """Of each batch in train, of the whole pass in validate."""
    callback = MetricsCallback(tmp_path, accuracy=("logits", "target"))
    module = _module()
    pl.Trainer(**{**QUIET, "max_epochs": 1}, logger=False, callbacks=[callback]).fit(module, _loader(), _loader())
    run = fitgate.Store(str(tmp_path)).latest()
    x, y = _loader().dataset[:]
    with torch.no_grad():
        expected = (module.net(x).argmax(1) == y).double().mean().item()
    assert run.metrics(["accuracy"], stage="validate")["value"].to_pylist() == pytest.approx([expected])
    assert run.metrics(["accuracy"], stage="train").num_rows == 5


def test_an_exception_loses_nothing(tmp_path: Path) -> None:
    """Everything up to the error is there, and the run has failed."""

    class Fails(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 3:
                raise RuntimeError

    callback = MetricsCallback(tmp_path, flush_every_s=60)
    with pytest.raises(RuntimeError):
        pl.Trainer(**QUIET, logger=False, callbacks=[callback, Fails()]).fit(_module(), _loader(), _loader())
    run = fitgate.Store(str(tmp_path)).latest()
    assert run.state == "failed"
    assert run.metrics(["loss"])["step"].to_pylist() == [0, 1, 2]


def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """One run, two attempts, and the history of a fit that never stopped."""
    for part in ("whole", "resumed"):
        callback = MetricsCallback(tmp_path / part)
        trainer = pl.Trainer(**{**QUIET, "max_epochs": 1 if part == "resumed" else 2}, logger=False, callbacks=[callback])
        trainer.fit(_module(), _loader(), _loader())
        if part == "resumed":
            trainer.save_checkpoint(tmp_path / "end.ckpt")
            again = pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path / part)])
            again.fit(_module(), _loader(), _loader(), ckpt_path=tmp_path / "end.ckpt", weights_only=True)
    (whole,) = fitgate.Store(str(tmp_path / "whole")).runs()
    (resumed,) = fitgate.Store(str(tmp_path / "resumed")).runs()
    assert len(resumed.info.attempts) == 2
    assert _points(resumed.metrics()) == _points(whole.metrics())


@pytest.mark.parametrize("namespace", [pl, lightning.pytorch], ids=["pytorch_lightning", "lightning"])
def test_contract_of_a_callback(tmp_path: Path, namespace: Any) -> None:
    """Pickles, fits twice, closes twice, survives fast_dev_run, in both namespaces."""
    callback = pickle.loads(pickle.dumps(MetricsCallback(tmp_path)))
    assert isinstance(callback, namespace.Callback)
    for options in ({"fast_dev_run": True}, {}):
        trainer = namespace.Trainer(**{**QUIET, **options}, logger=False, callbacks=callback)
        trainer.fit(_module(namespace), _loader(), _loader())
        callback.teardown(trainer, trainer.lightning_module, "fit")
    runs = fitgate.Store(str(tmp_path)).runs()
    assert [run.state for run in runs] == ["completed", "completed"]
    assert pickle.loads(pickle.dumps(callback)).run_id == callback.run_id


@pytest.mark.parametrize("options", [{"flush_every_s": 0}, {"accuracy": "logits"}, {"ranks": "some"}], ids=str)
def test_wrong_arguments_fail_at_once(options: dict[str, Any]) -> None:
    """Before any training."""
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        MetricsCallback(**options)
