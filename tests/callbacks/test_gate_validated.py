"""The weights at the end of fit ship only as they were validated."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from torchmetrics.classification import MulticlassAccuracy

from fitgate.gate import judge
from fitgate_callbacks._fingerprint import ValidatedWeights
from tests.callbacks._gated import Scripted, best, fit, latest, manifest, published


class Changes(pl.Callback):
    """Does something to the module once training has ended."""

    def __init__(self, how: Any) -> None:
        self._how = how

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad():
            self._how(pl_module)


class Plain(Scripted):
    """Without batch norm: StochasticWeightAveraging would run another epoch for it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 3))


def _swap_rows(module: Any) -> None:
    module.net[0].weight.copy_(module.net[0].weight.flip(1))


@pytest.mark.parametrize(
    ("module", "callback", "first"),
    [
        (Plain((0.7, 0.9, 0.85)), StochasticWeightAveraging(swa_lrs=0.5, swa_epoch_start=1), "net.0.weight"),
        (Scripted((0.9,)), Changes(lambda module: module.net[0].weight.zero_()), "net.0.weight"),
        (Scripted((0.9,)), Changes(_swap_rows), "net.0.weight"),
        (Scripted((0.9,)), Changes(lambda module: module.net[1].running_mean.add_(1)), "net.1.running_mean"),
    ],
    ids=["swa", "zeroed", "moved about", "a buffer"],
)
def test_weights_that_change_after_their_validation(tmp_path: Path, module: Any, callback: pl.Callback, first: str) -> None:
    """The values are others' than those that would ship: an improve under a name, now and when judged again, that `allow` can set aside."""
    gate, _ = fit(tmp_path, callback, module=module)
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    (reason,) = gate.decision.reasons
    assert reason.startswith("weights_changed: ")
    assert f"{first} first" in reason
    assert published(tmp_path) == []
    assert judge(latest(tmp_path), ["val_acc >= 0.8"]).reasons == (reason,)
    assert judge(latest(tmp_path), ["val_acc >= 0.8"], allow=["weights_changed"]).verdict == "deploy"


def test_allowed_and_on_record(tmp_path: Path) -> None:
    """Set aside by name, the version's manifest says so; a ModelCheckpoint's weights are those that were validated in any case."""
    zeroes = Changes(lambda module: module.net[0].weight.zero_())
    gate, _ = fit(tmp_path, zeroes, module=Scripted((0.9,)), gate={"allow": ["weights_changed"]})
    assert gate.version == 1
    assert manifest(tmp_path)["allowed"] == ["weights_changed"]
    gate, _ = fit(tmp_path, zeroes, best(tmp_path), module=Scripted((0.9,)))
    assert gate.version == 2


class Counts(Scripted):
    """A metric whose counts are kept with the weights, and which counts on in each validation."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.accuracy = MulticlassAccuracy(3)
        self.accuracy.persistent(mode=True)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("own", self.accuracy(self(batch[0]), batch[1]))


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (Scripted((0.9,)), {}),
        (Scripted((0.9,)), {"precision": "bf16-true"}),
        (Scripted((0.9,)), {"precision": "64-true"}),
        (Counts((0.9,)), {}),
    ],
    ids=["plain", "bf16", "double", "a metric"],
)
def test_weights_that_stay_as_they_were_validated(tmp_path: Path, module: Any, options: dict[str, Any]) -> None:
    """They ship, whatever their type, and whatever a metric has counted meanwhile."""
    gate, _ = fit(tmp_path, module=module, gate={"formats": ["safetensors"]}, **options)
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy", gate.decision.reasons


def test_an_average_that_was_validated(tmp_path: Path) -> None:
    """EMAWeightAveraging validates the average and leaves it in the module: what was validated ships."""
    gate, _ = fit(tmp_path, EMAWeightAveraging(), module=Scripted((0.9,)))
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy", gate.decision.reasons


def test_nothing_is_read_while_the_fit_runs() -> None:
    """On a device whose values can't be read at all, remembering the weights works: it waits for none."""
    module = Scripted().to("meta")
    validated = ValidatedWeights()
    trainer: Any = SimpleNamespace(global_step=5)
    validated.see(trainer, module)
    with pytest.raises(NotImplementedError, match="meta"):
        validated.changed(trainer, module)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.uint8, torch.bool])
def test_every_type_of_tensor_counts(dtype: torch.dtype) -> None:
    """A single element that changes is seen, in a strided tensor too."""
    module = torch.nn.Module()
    module.register_buffer("seen", torch.ones(4, 6).to(dtype).T)
    validated = ValidatedWeights()
    trainer: Any = SimpleNamespace(global_step=5)
    validated.see(trainer, module)  # type: ignore[arg-type]  # any module has a state
    assert validated.changed(trainer, module) is None  # type: ignore[arg-type]
    module.seen[3, 1] = 0  # type: ignore[operator]
    assert "1 of 1 tensors, seen first" in str(validated.changed(trainer, module))  # type: ignore[arg-type]


def test_training_that_went_on_after_the_last_validation(tmp_path: Path) -> None:
    """Without a ModelCheckpoint the weights of the end are judged, and nothing was recorded for those."""
    gate, _ = fit(tmp_path, module=Scripted((0.9,)), check_val_every_n_epoch=2)
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert gate.decision.reasons[0].startswith("val_acc >= 0.8: not recorded for the judged weights")
