"""GateCallback and its export: formats, the example input, thresholds on the files, what must be told before training."""

import argparse
import functools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from google.protobuf import text_format
from huggingface_hub import ModelCard
from torch.utils.data import DataLoader
from tritonclient.grpc import model_config_pb2

import fitgate
from fitgate.callbacks import GateCallback
from tests.callbacks._gated import Scripted, best, best_path, fit, gate_file, latest, loader, make_trainer, manifest, published

ALL = ("checkpoint", "safetensors", "torch_export", "onnx")


def test_the_whole_road_to_a_served_model(tmp_path: Path) -> None:
    """Every format, from the first validation batch; open_model gives what the best checkpoint gives, in eval mode."""
    gate, trainer = fit(tmp_path, best(tmp_path), gate={"formats": ALL}, thresholds=["val_acc >= 0.8", "artifact.size_mb <= 20"])
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy", gate.decision.reasons
    assert gate.version == 1
    folder = tmp_path / "deploy" / "net"
    assert published(tmp_path) == ["1", "CURRENT", "config.pbtxt", "history.jsonl"]
    assert sorted(p.name for p in (folder / "1").iterdir()) == [
        "README.md", "gate.json", "golden.safetensors", "manifest.json", "model.ckpt", "model.onnx", "model.pt2", "model.safetensors",
    ]  # fmt: skip
    model = fitgate.open_model(folder)
    features = torch.randn(7, 4)
    module = Scripted.load_from_checkpoint(best_path(trainer), weights_only=False)
    with torch.no_grad():
        expected = module.eval()(features).numpy()
    predicted = model.predict(features)
    assert isinstance(predicted, np.ndarray)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-6)
    written = manifest(tmp_path)
    assert written["proof"]["inputs"] == "the first validation batch"
    assert written["signature"]["inputs"] == [{"name": "features", "dtype": "float32", "shape": [-1, 4]}]
    assert written["hparams"]["converted"] == [{"name": "data", "from": "PosixPath", "to": "str"}]
    assert set(written["versions"]) >= {"torch", "pytorch-lightning"}
    assert {entry["format"] for entry in written["latency"]} == {"onnx", "torch_export"}
    assert all((entry["batch"], entry["threads"]) == (1, 1) for entry in written["latency"])
    assert written["metrics"]["artifact.parameters"] == sum(p.numel() for p in module.parameters())
    config: Any = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert list(config.version_policy.specific.versions) == [1]
    results = ModelCard.load(folder / "1" / "README.md").data.eval_results
    assert results is not None
    assert {r.metric_name: r.metric_value for r in results} == {"val_acc": pytest.approx(0.9)}
    assert gate_file(tmp_path)["metrics"] == written["metrics"]


def test_thresholds_on_the_files_decide(tmp_path: Path) -> None:
    """Judged once all others have passed; a miss is an improve with nothing left behind."""
    gate, _ = fit(tmp_path, best(tmp_path), thresholds=["val_acc >= 0.8", "artifact.parameters <= 10", "artifact.latency_ms <= 1000"])
    assert gate.decision is not None
    assert gate.decision.reasons == ("artifact.parameters <= 10: got 83, misses by 73",)
    assert [check.passed for check in gate.decision.checks] == [True, False, True]
    assert published(tmp_path) == []
    assert latest(tmp_path).state == "improve"


def test_nothing_is_exported_where_the_metrics_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is written, no time is spent; the threshold on the files says that it was not measured."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("fitgate.export._release.stage", never)
    gate, _ = fit(tmp_path, best(tmp_path), thresholds=["val_acc >= 0.99", "artifact.size_mb <= 20"])
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert gate.decision.reasons == ("val_acc >= 0.99: got 0.9, misses by 0.09",)
    assert gate.decision.checks[1].reason == "artifact.size_mb <= 20: not measured, since nothing was exported"
    assert not gate.decision.checks[1].passed


def test_relative_to_the_champion(tmp_path: Path) -> None:
    """Waived at the first deployment, which needs an absolute one beside it; then held against what is live, files included."""
    relative = ["val_acc >= champion + 0.005", "artifact.size_mb <= champion * 1.1"]
    with pytest.raises(ValueError, match=r"nothing is live in .* yet, so what is relative to it is waived"):
        fit(tmp_path, best(tmp_path, "0"), thresholds=relative)
    thresholds = ["val_acc >= 0.5", *relative]
    gate, _ = fit(tmp_path, best(tmp_path, "1"), thresholds=thresholds)
    assert gate.version == 1
    gate, _ = fit(tmp_path, best(tmp_path, "2"), thresholds=thresholds)
    assert gate.decision is not None
    assert gate.decision.reasons == ("val_acc >= champion + 0.005: got 0.9, misses by 0.005",)
    gate, _ = fit(tmp_path, best(tmp_path, "3"), thresholds=thresholds, module=Scripted((0.95,)))
    assert gate.version == 2
    checks = {check["threshold"]: check for check in manifest(tmp_path, 2)["checks"]}
    assert checks["val_acc >= champion + 0.005"]["required"] == pytest.approx(0.905)
    assert checks["artifact.size_mb <= champion * 1.1"]["required"] == pytest.approx(
        1.1 * manifest(tmp_path)["metrics"]["artifact.size_mb"]
    )


def test_a_champion_that_can_not_be_read(tmp_path: Path) -> None:
    """Blocks where a threshold asks for it; elsewhere the new version replaces it."""
    fit(tmp_path, best(tmp_path, "1"))
    (tmp_path / "deploy" / "net" / "1" / "manifest.json").write_text("{}")
    gate, _ = fit(tmp_path, best(tmp_path, "2"), thresholds=["val_acc >= 0.5", "val_acc >= champion"])
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert gate.decision.reasons[0].startswith("the champion can't be read:")
    gate, _ = fit(tmp_path, best(tmp_path, "3"))
    assert gate.version == 2


class Awkward(Scripted):
    """Hyperparameters of every kind that unpickling needs code for."""

    def __init__(self, where: Any, make: Any, options: Any, loss: Any, rate: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.loss = loss


def test_awkward_hyperparameters_from_a_real_checkpoint(tmp_path: Path) -> None:
    """This fit's own checkpoint may be unpickled; what ships loads without, and the manifest names what became of each."""
    module = Awkward(
        where=Path("data"),
        make=functools.partial(torch.optim.SGD, lr=0.1),
        options=argparse.Namespace(depth=3, where=Path("x")),
        loss=torch.nn.CrossEntropyLoss(),
        rate=np.float32(0.5),
    )
    gate, trainer = fit(tmp_path, best(tmp_path), module=module)
    assert gate.version == 1
    with pytest.raises(pickle.UnpicklingError):
        torch.load(best_path(trainer), weights_only=True)
    shipped = torch.load(tmp_path / "deploy" / "net" / "1" / "model.ckpt", weights_only=True)["hyper_parameters"]
    assert {name: shipped[name] for name in ("where", "options", "rate")} == {
        "where": "data",
        "options": {"depth": 3, "where": "x"},
        "rate": 0.5,
    }
    notes = manifest(tmp_path)["hparams"]
    assert {entry["name"] for entry in notes["left_out"]} == {"make", "loss"}
    assert {entry["name"] for entry in notes["converted"]} >= {"where", "options", "options.where", "rate"}


class Differs(Scripted):
    """A little more in the graph than in the module."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(features) * (1.001 if torch.compiler.is_exporting() else 1)


def test_a_file_that_differs_is_an_improve(tmp_path: Path) -> None:
    """Not an exception that fails the fit: the reason names the file, the difference and what is allowed."""
    gate, _ = fit(tmp_path, best(tmp_path), module=Differs(), gate={"formats": ["safetensors", "torch_export"]})
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    (reason,) = gate.decision.reasons
    assert reason.startswith("artifact differs: model.pt2, 1 sample: 'output' differs by ")
    assert published(tmp_path) == []
    assert gate_file(tmp_path)["reasons"] == [reason]


class OwnExample(Scripted):
    """Brings an example input along."""

    def __init__(self, script: Any = (0.9,)) -> None:
        super().__init__(script)
        self.example_input_array = torch.ones(1, 4)


class DictBatches(Scripted):
    """Batches are dicts, keys are named like forward's arguments, among others."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self(batch["features"]), batch["label"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", 0.9)


class _Dicts(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"label": torch.tensor(index % 3), "features": torch.full((4,), float(index))}


def test_where_the_example_comes_from(tmp_path: Path) -> None:
    """The argument first, then the module's own, then the batch; a dict batch by the names of forward's arguments."""
    formats = {"formats": ["torch_export"]}
    fit(tmp_path, best(tmp_path, "1"), module=OwnExample(), gate=formats | {"example_input": np.full((2, 4), 7.0, dtype=np.float32)})
    fit(tmp_path, best(tmp_path, "2"), module=OwnExample(), gate=formats)
    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net", formats=["torch_export"])
    loader_of_dicts = DataLoader(_Dicts(), batch_size=4)
    make_trainer(tmp_path, gate, best(tmp_path, "3")).fit(DictBatches(), loader_of_dicts, loader_of_dicts)
    sources = [manifest(tmp_path, number)["proof"]["inputs"] for number in (1, 2, 3)]
    assert sources == ["example_input", "example_input_array", "the first validation batch"]
    from safetensors.torch import load_file  # noqa: PLC0415 - for this line

    inputs = [load_file(tmp_path / "deploy" / "net" / str(n) / "golden.safetensors")["input.features"] for n in (1, 2, 3)]
    assert torch.equal(inputs[0], torch.full((5, 4), 7.0))
    assert torch.equal(inputs[1], torch.ones(5, 4))
    assert torch.equal(inputs[2][:, 0], torch.tensor([0.0, 1, 2, 3, 0]))


class NoForward(pl.LightningModule):
    """Does everything in its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(4, 3)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", 0.9)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class OddBatches(Scripted):
    """Nothing in a batch is a tensor."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return "text" if self.trainer.validating or self.trainer.sanity_checking else batch


class ExtraState(Scripted):
    """Keeps more than tensors in its state dict."""

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


def test_what_can_not_be_exported_is_told_before_training(tmp_path: Path) -> None:
    """No example to be had, no forward, a batch that can't be read, an extra state, an example of the wrong kind, a name that is not measured."""

    class NeverTrains(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            raise AssertionError

    graph = {"formats": ["torch_export"]}
    without = GateCallback(["loss <= 9"], dirpath=tmp_path / "deploy", formats=["onnx"])
    with pytest.raises(
        ValueError, match=r"the format 'onnx' takes an example input, and there is none: give GateCallback\(example_input=…\), set Scripted"
    ):
        make_trainer(tmp_path, without, NeverTrains()).fit(Scripted(), loader())
    timed = GateCallback(["loss <= 9", "artifact.latency_ms < 5"], dirpath=tmp_path / "deploy")
    with pytest.raises(ValueError, match=r"'artifact\.latency_ms < 5' takes an example input"):
        make_trainer(tmp_path, timed, NeverTrains()).fit(Scripted(), loader())
    with pytest.raises(ValueError, match=r"'torch_export' writes down what forward does, and NoForward has no forward"):
        fit(tmp_path, NeverTrains(), module=NoForward(), gate=graph)
    with pytest.raises(ValueError, match=r"can't tell the input of OddBatches\.forward in a validation batch of type str"):
        fit(tmp_path, NeverTrains(), module=OddBatches(), gate=graph)
    with pytest.raises(ValueError, match=r"'safetensors' holds tensors only, and ExtraState keeps an extra state"):
        fit(tmp_path, NeverTrains(), module=ExtraState())
    with pytest.raises(TypeError, match="example_input: expected a tensor"):
        GateCallback(["a > 1"], example_input="x")
    with pytest.raises(ValueError, match=r"'artifact\.size_mb'|artifact\.size_mb") as caught:
        GateCallback(["artifact.size <= 20"])
    assert "measured are artifact.size_mb, artifact.parameters, artifact.latency_ms, artifact.latency_p95_ms" in str(caught.value)
    assert str(caught.value).endswith("; did you mean artifact.size_mb?")


def test_a_missing_package_is_told_when_the_callback_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name.startswith("onnx") else object())
    with pytest.raises(ModuleNotFoundError, match=r"the format 'onnx' needs .*: pip install onnx onnxscript onnxruntime$"):
        GateCallback(["a > 1"], formats=["onnx"])


def test_a_module_without_forward_ships_its_weights(tmp_path: Path) -> None:
    """Compared tensor by tensor, and the manifest says that no outputs were."""
    gate, _ = fit(tmp_path, best(tmp_path), module=NoForward())
    assert gate.version == 1
    assert manifest(tmp_path)["proof"]["outputs_not_compared"] == "NoForward has no forward"


def test_the_live_module_after_the_fit(tmp_path: Path) -> None:
    """As the fit left it: last epoch's weights, train mode, its own trainer; the trainer can go on."""
    before: dict[str, Any] = {}

    class Looks(pl.Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            before["weights"] = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
            before["modes"] = [m.training for m in pl_module.modules()]

    module = Scripted()
    fit(tmp_path, best(tmp_path), Looks(), module=module, gate={"formats": ALL})
    assert all(torch.equal(tensor, before["weights"][name]) for name, tensor in module.state_dict().items())
    assert [m.training for m in module.modules()] == before["modes"]


def test_half_precision_examples_follow_the_fit(tmp_path: Path) -> None:
    """Under bf16-true weights and example are bfloat16; graph and weights are proven in that."""
    options: dict[str, Any] = {
        "precision": "bf16-true",
        "gate": {"formats": ["safetensors", "torch_export"], "example_input": torch.randn(2, 4)},
    }
    gate, _ = fit(tmp_path, best(tmp_path), **options)
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy", gate.decision.reasons
    assert manifest(tmp_path)["signature"]["inputs"][0]["dtype"] == "bfloat16"


def test_a_checkpoint_by_path(tmp_path: Path) -> None:
    """Judged at its own step in this run; loaded without unpickling code."""
    path = tmp_path / "mine.ckpt"

    class Saves(pl.Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking and trainer.current_epoch == 1:
                trainer.save_checkpoint(path, weights_only=True)

    gate, _ = fit(tmp_path, Saves(), module=Scripted((0.7, 0.9, 0.6), "text"), gate={"checkpoint": path})
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy", gate.decision.reasons
    assert manifest(tmp_path)["source"]["checkpoint"] == str(path)
    gate, _ = fit(tmp_path, Saves(), gate={"checkpoint": path})  # its hyperparameters hold a Path
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert f"the checkpoint {path} was given by path, so it is loaded with weights_only=True" in gate.decision.reasons[0]


def test_the_data_of_a_version_is_json(tmp_path: Path) -> None:
    """gate.json in the run's folder and in the version say the same."""
    fit(tmp_path, best(tmp_path))
    inside = json.loads((tmp_path / "deploy" / "net" / "1" / "gate.json").read_bytes())
    assert inside == gate_file(tmp_path)
    assert inside["verdict"] == "deploy"
