"""MetricsCallback's own doings: arguments, accuracy, values of one's own, the mirror."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import duckdb
import lightning.pytorch
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import pytorch_lightning as pl
import torch
from polars import read_parquet
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fitgate
from fitgate.callbacks import MetricsCallback
from fitgate.store import SCHEMA
from fitgate.tensorboard.rebuild import rebuild_events
from fitgate_callbacks._internals import missing_path
from tests.callbacks._fits import BATCHES, QUIET, Net, OtherNet, Point, csv_points, csv_rows, loader, stored_points


class Scores(Net):
    """Returns what accuracy is counted from, and logs none."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.loss(batch), "logits": self.net(batch[0]), "target": batch[1]}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"logits": self.net(batch[0]), "target": batch[1]}


def _fit(callback: MetricsCallback, module: Any, *extra: Any, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(**{**QUIET, **options}, logger=False, callbacks=[callback, *extra])
    trainer.fit(module, loader(), options.pop("validate", loader()))
    return trainer


def _column(root: Path, name: str, stage: str | None = None, column: str = "value") -> list[Any]:
    return fitgate.Store(str(root)).latest().metrics([name], stage=stage)[column].to_pylist()


def test_tensorboard_reads_back_the_parquet_points(tmp_path: Path) -> None:
    """TensorBoard's own reader gives the same points as float32."""
    callback = MetricsCallback(tmp_path)
    _fit(callback, Net())
    events = EventAccumulator(str(callback.run_dir), size_guidance={"scalars": 0})
    events.Reload()
    mirrored = [(tag, e.step, e.value) for tag in events.Tags()["scalars"] for e in events.Scalars(tag)]
    assert sorted(mirrored) == sorted((n, s, torch.tensor(v, dtype=torch.float32).item()) for n, s, v in stored_points(tmp_path))
    assert len(mirrored) > 2 * BATCHES


class LogsItsLoss(Net):
    """Logs what it returns, so that Lightning's loggers have every point."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss


class ReadsAmidFit(pl.Callback):
    """Asks for something in the second epoch."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read
        self.found: Any = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 1 and batch_idx == BATCHES // 2:
            self.found = self._read()


def test_every_reader_has_the_same_table_during_a_fit_and_after_it(tmp_path: Path) -> None:
    """pyarrow, DuckDB, Polars and pandas over the documented glob: all that CSVLogger has been told."""
    logger, metrics = CSVLogger(tmp_path / "csv"), MetricsCallback(tmp_path / "runs")
    glob = f"{tmp_path}/runs/*/metrics/*.parquet"

    def read() -> tuple[list[Point], list[Any]]:
        logger.save()
        metrics.flush()
        paths = sorted((tmp_path / "runs").glob("*/metrics/*.parquet"))
        tables: dict[str, Any] = {
            "pyarrow": ds.dataset(list(map(str, paths))).to_table(),
            "DuckDB": duckdb.connect().execute(f"select * from read_parquet('{glob}')").to_arrow_table(),  # noqa: S608
            "Polars": read_parquet(glob).to_arrow(),
            "pandas": pa.Table.from_pandas(pd.concat(map(pd.read_parquet, paths)), preserve_index=False),
        }
        rows = {reader: sorted(tuple(row.values()) for row in table.cast(SCHEMA).to_pylist()) for reader, table in tables.items()}
        for found in rows.values():
            assert found == rows["pyarrow"]
        return csv_points(csv_rows(logger)), [dict(zip(SCHEMA.names, row, strict=True)) for row in rows["pyarrow"]]

    amid = ReadsAmidFit(read)
    trainer = pl.Trainer(**QUIET, logger=logger, log_every_n_steps=1, callbacks=[amid, metrics])
    trainer.fit(LogsItsLoss(), loader(), loader(2))
    for told, rows in (amid.found, read()):
        assert sorted((row["name"], row["step"], row["value"]) for row in rows) == sorted(told)
    assert len(amid.found[0]) < len(told)


class SameName(Net):
    """Returns a training loss and logs another of that name in validation, as many modules do."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.log("loss", self.loss(batch))


def _curve(folder: Any, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(e.step, e.value) for e in events.Scalars(tag)] if tag in events.Tags()["scalars"] else []


def test_a_returned_loss_and_a_logged_one_are_two_curves(tmp_path: Path) -> None:
    """What Lightning's own TensorBoardLogger has under `loss` is ours too, and nothing else; the returned one stands beside it."""
    callback, logger = MetricsCallback(tmp_path / "ours"), TensorBoardLogger(tmp_path / "lightnings")
    trainer = pl.Trainer(**QUIET, logger=logger, log_every_n_steps=1, callbacks=[callback])
    module = SameName()
    trainer.fit(module, loader(), loader(2))
    assert _curve(callback.run_dir, "loss") == _curve(logger.log_dir, "loss") != []
    assert [step for step, _ in _curve(callback.run_dir, "loss/train")] == list(range(2 * BATCHES))
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    again = MetricsCallback(tmp_path / "ours")
    options = {**QUIET, "max_epochs": 3}
    pl.Trainer(**options, logger=False, callbacks=[again]).fit(module, loader(), loader(2), ckpt_path=tmp_path / "two.ckpt")
    assert [step for step, _ in _curve(again.run_dir, "loss/train")] == list(range(3 * BATCHES))
    assert [step for step, _ in _curve(again.run_dir, "loss")] == [BATCHES - 1, 2 * BATCHES - 1, 3 * BATCHES - 1]


def test_without_a_sanity_check_the_curves_part_at_the_first_validation(tmp_path: Path) -> None:
    """Nobody can know before, and what is written is written; a rebuild from Parquet parts them from the start."""

    class Flushes(pl.Callback):
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            callback.flush()

    callback = MetricsCallback(tmp_path)
    _fit(callback, SameName(), Flushes(), num_sanity_val_steps=0)
    assert [step for step, _ in _curve(callback.run_dir, "loss/train")] == list(range(BATCHES, 2 * BATCHES))
    rebuild_events(fitgate.Store(tmp_path).latest())
    assert [step for step, _ in _curve(callback.run_dir, "loss/train")] == list(range(2 * BATCHES))
    assert [step for step, _ in _curve(callback.run_dir, "loss")] == [BATCHES - 1, 2 * BATCHES - 1]


def test_a_loss_that_the_module_logs_in_both_stages_is_lightnings(tmp_path: Path) -> None:
    """Its tag is as its own logger has it: one."""

    class LogsBoth(SameName):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss)
            return loss

    callback = MetricsCallback(tmp_path)
    _fit(callback, LogsBoth())
    assert _curve(callback.run_dir, "loss/train") == []
    assert len(_curve(callback.run_dir, "loss")) == 2 * BATCHES + 2


def test_the_other_namespace_gives_the_same_points(tmp_path: Path) -> None:
    """With `lightning.pytorch`'s Trainer and module, through the same path."""
    _fit(MetricsCallback(tmp_path / "one"), Net())
    trainer = lightning.pytorch.Trainer(**QUIET, logger=False, callbacks=[cast("Any", MetricsCallback(tmp_path / "other"))])
    assert missing_path(trainer) is None  # type: ignore[arg-type]  # the other namespace's
    trainer.fit(OtherNet(), loader(), loader())
    assert stored_points(tmp_path / "other") == stored_points(tmp_path / "one")


def test_accuracy_is_counted_for_a_module_that_logs_none(tmp_path: Path) -> None:
    """Of each batch in train, of the whole pass in validate: as the plain formula has it."""
    module = Scores()
    x, y = loader().dataset[:]
    with torch.no_grad():
        first_batch = (module.net(x[:4]).argmax(1) == y[:4]).double().mean().item()
    _fit(MetricsCallback(tmp_path, accuracy=("logits", "target")), module, max_epochs=1)
    with torch.no_grad():
        whole_pass = (module.net(x).argmax(1) == y).double().mean().item()
    train = _column(tmp_path, "accuracy", "train")
    assert (len(train), train[0]) == (BATCHES, pytest.approx(first_batch))
    assert _column(tmp_path, "accuracy", "validate") == [pytest.approx(whole_pass)]
    assert _column(tmp_path, "accuracy", "validate", "step") == [BATCHES - 1]


def test_the_modules_own_accuracy_stands(tmp_path: Path) -> None:
    """Counted is only what nobody logs, in each stage for itself."""

    class LogsInValidation(Scores):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self.log("accuracy", 0.25)
            return super().validation_step(batch, batch_idx)

    _fit(MetricsCallback(tmp_path, accuracy=("logits", "target")), LogsInValidation())
    assert _column(tmp_path, "accuracy", "validate") == [0.25, 0.25]
    assert len(_column(tmp_path, "accuracy", "train")) == 2 * BATCHES


def test_accuracy_of_a_validation_on_its_own_is_that_of_its_own_loaders(tmp_path: Path) -> None:
    """After a fit with one loader a validation may have two."""
    module = Scores()
    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path, accuracy=("logits", "target"))])
    trainer.fit(module, loader(), loader())
    trainer.validate(module, [loader(), loader(2)], verbose=False)
    with torch.no_grad():
        right = [(module.net(batch[0]).argmax(1) == batch[1]).double().mean().item() for batch in loader()]
    assert _column(tmp_path, "accuracy/dataloader_idx_0", "validate") == [pytest.approx(sum(right) / BATCHES)]
    assert _column(tmp_path, "accuracy/dataloader_idx_1", "validate") == [pytest.approx(sum(right[:2]) / 2)]


def test_accuracy_of_several_loaders_and_without_the_keys(tmp_path: Path) -> None:
    """Each loader has its own, named as Lightning names it; a key that is missing is named before the second batch."""
    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path, accuracy=("logits", "target"))])
    trainer.fit(Scores(), loader(), [loader(), loader(2)])
    names = set(fitgate.Store(str(tmp_path)).latest().metrics(stage="validate")["name"].to_pylist())
    assert names == {"accuracy/dataloader_idx_0", "accuracy/dataloader_idx_1"}
    with pytest.raises(ValueError, match=r"training_step must return a dict with both keys, it returned a dict with \['loss'\]"):
        _fit(MetricsCallback(tmp_path, accuracy=("logits", "target")), Net(), limit_val_batches=0)


@pytest.mark.parametrize("stage", ["training_step", "validation_step"])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda _: {"logits": None}, "'logits': NoneType"),
        (lambda out: {"logits": out["logits"].tolist()}, "'logits': list"),
        (lambda out: {"target": out["target"].numpy()}, "'target': ndarray"),
        (lambda out: {"logits": out["logits"][:, 0]}, r"'logits': a tensor of shape \(4,\)"),
        (lambda out: {"target": out["target"][:3]}, r"'target': a tensor of shape \(3,\)"),
        (lambda out: {"target": torch.nn.functional.one_hot(out["target"], 3)}, r"'target': a tensor of shape \(4, 3\)"),
    ],
    ids=["None", "a list", "an array", "no classes", "fewer", "one-hot"],
)
def test_what_accuracy_can_not_be_counted_from_is_told_before_anything_is_trained(
    tmp_path: Path, stage: str, changed: Callable[[Any], Any], told: str
) -> None:
    """By the first step, or in the sanity check: what came, what was expected, and of which step."""

    class Odd(Scores):
        trained = 0

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            out = super().training_step(batch, batch_idx)
            return out | changed(out) if stage == "training_step" else out

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            out = super().validation_step(batch, batch_idx)
            return out | changed(out) if stage == "validation_step" else out

        def on_train_batch_end(self, *_: Any) -> None:
            self.trained += 1

    module = Odd()
    with pytest.raises(ValueError, match=rf"in what {stage} returns, 'logits' must be .* \(N, C, …\) .*; it returned .*{told}"):
        _fit(MetricsCallback(tmp_path, accuracy=("logits", "target")), module)
    assert module.trained == 0


def test_a_key_that_validation_lacks_is_told_in_the_sanity_check(tmp_path: Path) -> None:
    """Not after the first epoch."""

    class OnlyInTraining(Scores):
        begun = False

        def on_train_start(self) -> None:
            self.begun = True

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return None

    module = OnlyInTraining()
    with pytest.raises(ValueError, match="validation_step must return a dict with both keys, it returned NoneType"):
        _fit(MetricsCallback(tmp_path, accuracy=("logits", "target")), module)
    assert not module.begun


def test_a_skipped_micro_batch_has_no_accuracy_of_the_one_before(tmp_path: Path) -> None:
    """Under accumulation the last micro-batch counts; one that is skipped has neither loss nor accuracy."""

    class Skips(Scores):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

    _fit(MetricsCallback(tmp_path, accuracy=("logits", "target")), Skips(), max_epochs=1, accumulate_grad_batches=2)
    assert _column(tmp_path, "accuracy", "train", "step") == _column(tmp_path, "loss", "train", "step") == [1, 2]


class LogsByItself(pl.Callback):
    """Uses `log_metric` in hooks."""

    def __init__(self, ours: MetricsCallback) -> None:
        self._ours = ours

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._ours.log_metric("mine", batch_idx)
        self._ours.log_metric("placed", torch.tensor([2.0]), step=7)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._ours.log_metric("after_validation", 1)


def test_values_of_ones_own(tmp_path: Path) -> None:
    """In a fit at the step of what the module logs beside them; afterwards one step on."""
    callback = MetricsCallback(tmp_path)
    _fit(callback, Net(), LogsByItself(callback), accumulate_grad_batches=2)
    assert _column(tmp_path, "mine", column="step") == _column(tmp_path, "loss", column="step") == [0, 1, 2, 3, 4, 5]
    assert _column(tmp_path, "mine") == [1, 3, 4, 1, 3, 4]
    assert (_column(tmp_path, "placed"), _column(tmp_path, "placed", column="step")) == ([2.0], [7])
    assert _column(tmp_path, "after_validation", "validate", "step") == [2, 5]
    callback.log_metric("mine", 0.5)
    callback.log_metric("mine", 0.75)
    callback.log_metric("new", 1)
    callback.flush()
    assert _column(tmp_path, "mine", column="step") == list(range(8))
    assert _column(tmp_path, "mine", column="global_step")[6:] == [6, 7]
    assert _column(tmp_path, "new", column="step") == [0]
    assert fitgate.Store(str(tmp_path)).latest().state == "completed"


class LogsEarly(pl.Callback):
    """Before the first step, where files may not be open yet."""

    def __init__(self, ours: MetricsCallback) -> None:
        self._ours = ours

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._ours.log_metric("parameters", 15)
        self._ours.log_metric("placed", 1.0, step=3)

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        self._ours.log_metric("of the sanity check", 1.0)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._ours.log_metric("validations", 1.0)


@pytest.mark.parametrize("first", [True, False])
def test_values_of_ones_own_before_the_first_step(tmp_path: Path, first: bool) -> None:  # noqa: FBT001 - a parameter
    """What is logged when a fit starts is there, at its first step; of the sanity check nothing is, as with Lightning's loggers."""
    callback = MetricsCallback(tmp_path)
    early = LogsEarly(callback)
    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[early, callback] if first else [callback, early])
    trainer.fit(Net(), loader(), loader(2))
    rows = fitgate.Store(str(tmp_path)).latest().metrics(["parameters", "placed", "of the sanity check", "validations"]).to_pylist()
    assert [(r["stage"], r["name"], r["step"], r["value"]) for r in rows] == [
        ("train", "parameters", 0, 15.0),
        ("train", "placed", 3, 1.0),
        ("validate", "validations", BATCHES - 1, 1.0),
        ("validate", "validations", 2 * BATCHES - 1, 1.0),
    ]
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    again = MetricsCallback(tmp_path)
    options = {**QUIET, "max_epochs": 3}
    more = pl.Trainer(**options, logger=False, callbacks=[again, LogsEarly(again)])
    more.fit(Net(), loader(), loader(2), ckpt_path=tmp_path / "two.ckpt")
    assert _column(tmp_path, "parameters", column="step") == [0, 2 * BATCHES]


@pytest.mark.parametrize(
    ("name", "value", "step", "error"),
    [
        ("m", "0.5", None, TypeError),
        ("m", None, None, TypeError),
        ("m", torch.ones(2), None, ValueError),
        ("", 1.0, None, ValueError),
        ("caf\udce9", 1.0, None, ValueError),
        ("m", 1.0, 2**63, ValueError),
        ("m", 1.0, -(2**63) - 1, ValueError),
        ("m", 1.0, -1, ValueError),
        ("m", 1.0, 0.5, TypeError),
    ],
)
def test_what_is_no_metric_is_refused(name: str, value: Any, step: Any, error: type[Exception]) -> None:
    """With the name in the message; and what is one is refused where no run has begun."""
    with pytest.raises(error, match=re.escape(repr(name))):
        MetricsCallback().log_metric(name, value, step)
    with pytest.raises(RuntimeError, match="'fine'"):
        MetricsCallback().log_metric("fine", 1.0)


def test_the_module_hyperparameters_and_versions_are_on_record(tmp_path: Path) -> None:
    """run.json says what was trained with what."""

    class Tuned(Net):
        def __init__(self, width: int, where: Path) -> None:
            super().__init__()
            self.save_hyperparameters()

    callback = MetricsCallback(tmp_path, run_name="tuned")
    _fit(callback, Tuned(3, Path("here")), limit_val_batches=0)
    assert callback.run_dir is not None
    info = json.loads((callback.run_dir / "run.json").read_bytes())
    assert (info["name"], info["hparams"]) == ("tuned", {"width": 3, "where": "here"})
    assert info["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("where", ["a file", "under a file", "read-only"])
def test_a_store_that_can_not_be_written_is_told_before_training(tmp_path: Path, where: str) -> None:
    """In one clear sentence."""

    class NeverTrains(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise AssertionError

    (tmp_path / "runs").write_text("")
    folder = {"a file": tmp_path / "runs", "under a file": tmp_path / "runs" / "a", "read-only": Path("/proc/self/fd/runs")}[where]
    with pytest.raises(OSError, match=rf"^\[Errno \d+\] MetricsCallback: the store {folder} can't be written: /.*: .+"):
        _fit(MetricsCallback(folder), NeverTrains())
    assert (tmp_path / "runs").read_text() == ""


@pytest.mark.parametrize(
    "options",
    [
        {"flush_every_s": 0},
        {"flush_every_s": math.inf},
        {"flush_every_s": math.nan},
        {"flush_every_s": "1"},
        {"accuracy": "logits"},
        {"accuracy": True},
        {"ranks": "some"},
        {"run_name": 5},
        {"run_name": "half \ud800"},
        {"dirpath": None},
        {"dirpath": ""},
        {"tensorboard": "no"},
    ],
    ids=str,
)
def test_wrong_arguments_fail_at_once(options: dict[str, Any]) -> None:
    """Before any training."""
    with pytest.raises((TypeError, ValueError), match=f"MetricsCallback: {next(iter(options))} must be"):
        MetricsCallback(**options)


def test_an_accuracy_over_ranks_that_may_leave_a_validation_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the fit: the others would wait for such a rank without end."""
    module = Net()
    module.allow_zero_length_dataloader_with_multiple_devices = True
    trainer = pl.Trainer(**{**QUIET, "devices": 2}, strategy="ddp", logger=False)
    trainer.strategy.connect(module)
    trainer._data_connector.attach_data(module, val_dataloaders=loader())  # noqa: SLF001 - as `fit` does, which would start ranks here
    ours = MetricsCallback(tmp_path, accuracy=("logits", "target"))
    for stage in ("fit", "validate"):
        with pytest.raises(ValueError, match=r"accuracy=.*over all ranks.*allow_zero_length_dataloader_with_multiple_devices"):
            ours.setup(trainer, module, stage)
    monkeypatch.setattr(ours, "_begin", lambda *_: None)  # it takes both ranks
    ours.setup(trainer, module, "test")
    trainer.limit_val_batches = 0
    ours.setup(trainer, module, "fit")
