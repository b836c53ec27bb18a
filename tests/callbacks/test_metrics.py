"""MetricsCallback's own doings: arguments, accuracy, values of one's own, the mirror."""

import json
from pathlib import Path
from typing import Any, cast

import lightning.pytorch
import pytest
import pytorch_lightning as pl
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fitgate
from fitgate.callbacks import MetricsCallback
from fitgate_callbacks._internals import missing_path
from tests.callbacks._fits import BATCHES, QUIET, Net, OtherNet, loader, stored_points


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


@pytest.mark.parametrize(
    ("name", "value", "step", "error"),
    [
        ("m", "0.5", None, TypeError),
        ("m", None, None, TypeError),
        ("m", torch.ones(2), None, ValueError),
        ("", 1.0, None, ValueError),
        ("m", 1.0, -1, ValueError),
        ("m", 1.0, 0.5, TypeError),
    ],
)
def test_what_is_no_metric_is_refused(name: str, value: Any, step: Any, error: type[Exception]) -> None:
    """With the name in the message; and what is one is refused where no run has begun."""
    with pytest.raises(error, match=repr(name)):
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


@pytest.mark.parametrize("options", [{"flush_every_s": 0}, {"accuracy": "logits"}, {"ranks": "some"}], ids=str)
def test_wrong_arguments_fail_at_once(options: dict[str, Any]) -> None:
    """Before any training."""
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        MetricsCallback(**options)
