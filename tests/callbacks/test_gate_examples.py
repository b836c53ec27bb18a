"""The example input: cut by the rule that tells the batch, tried before training, and told of where it does not do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fitgate
from fitgate.callbacks import GateCallback
from fitgate.export import few_samples
from tests.callbacks._gated import Scripted, best, fit, gate_file, latest, make_trainer, manifest


class Table(Scripted):
    """Beside the batch forward takes a table of fixed shape."""

    def forward(self, features: torch.Tensor, table: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return self.net(features) + table.mean(0)  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self(batch[0], torch.ones(16, 3)), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", 0.9)


class TakesDict(Scripted):
    """Forward takes the batch as a dict."""

    def forward(self, features: Any) -> torch.Tensor:
        return self.net(features["x"])  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self({"x": batch[0]}), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", 0.9)


class Closes(Scripted):
    """Reads the live module through an attribute that can't be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.head = _Opaque(self)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head.owner.net(features)  # type: ignore[no-any-return]


class _Opaque:
    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __deepcopy__(self, memo: Any) -> Any:
        message = "no"
        raise TypeError(message)


@pytest.mark.parametrize("rows", [16, 5])
def test_a_tensor_of_fixed_shape_keeps_it(tmp_path: Path, rows: int) -> None:
    """In the signature and in both graphs, also where it has as many rows as samples are kept."""
    formats = ["onnx", "torch_export"]
    gate, _ = fit(
        tmp_path, module=Table(), max_epochs=1, gate={"formats": formats, "example_input": (torch.randn(8, 4), torch.ones(rows, 3))}
    )
    assert gate.version == 1, gate.decision
    assert [spec["shape"] for spec in manifest(tmp_path)["signature"]["inputs"]] == [[-1, 4], [rows, 3]]
    model = fitgate.open_model(tmp_path / "deploy/net")
    inputs = torch.randn(7, 4), torch.rand(rows, 3)
    with torch.no_grad():
        expected = torch.export.load(model.path("model.pt2")).module()(*inputs)
    outputs = model.predict(inputs)
    assert isinstance(outputs, np.ndarray)
    np.testing.assert_allclose(outputs, expected.numpy(), atol=1e-5)


def test_few_samples_are_of_the_batched_alone() -> None:
    """By the first tensor's rows as given; where the count would make a fixed one look batched, another is taken."""
    x, table, scalar = torch.arange(8.0), torch.arange(5.0), torch.tensor(1.0)
    few = few_samples((x, x[:, None], table, scalar), 5)
    assert isinstance(few, tuple)
    assert [tuple(t.shape) for t in few] == [(4,), (4, 1), (5,), ()]
    assert few_samples({"a": np.ones((3, 2))}, 5)["a"].shape == (3, 2)  # type: ignore[index]
    assert few_samples(x, 5).tolist() == [0, 1, 2, 3, 4]  # type: ignore[attr-defined]


@pytest.mark.parametrize("formats", [("checkpoint", "safetensors"), ("onnx",)])
@pytest.mark.parametrize(
    ("example", "module", "what"),
    [
        ((torch.ones(2, 4), torch.ones(2, 4)), Scripted, r"example_input does not fit Scripted\.forward.*too many positional"),
        ({"x": torch.ones(2, 4)}, TakesDict, r"example_input does not fit TakesDict\.forward.*missing a required argument: 'features'"),
        (torch.ones(2, 9), Scripted, r"Scripted\.forward fails on the example input"),
        (torch.ones(2, 4), Closes, r"Closes\.forward reads the live module's"),
    ],
)
def test_a_given_example_that_does_not_do_is_told_before_training(
    tmp_path: Path, example: Any, module: type[Scripted], what: str, formats: tuple[str, ...]
) -> None:
    """Too many tensors, an unknown name, a wrong shape, a module that can't be copied whole: whatever the formats."""
    with pytest.raises(ValueError, match=what):
        fit(tmp_path, module=module(), gate={"formats": formats, "example_input": example})
    runs = fitgate.Store(str(tmp_path / "runs")).runs() if (tmp_path / "runs").is_dir() else []
    assert not runs or runs[0].info.fit is None or runs[0].info.fit.steps == 0


def test_an_example_of_the_validation_batch_is_tried_in_the_sanity_check(tmp_path: Path) -> None:
    """A graph takes it, so it is told before the first step; without one the weights ship, and the decision says what was not compared."""
    with pytest.raises(ValueError, match=r"the first validation batch\): TakesDict\.forward fails"):
        fit(tmp_path, module=TakesDict(), gate={"formats": ["torch_export"]})
    gate, _ = fit(tmp_path, module=TakesDict(), max_epochs=1)
    assert gate.version == 1
    assert gate.decision is not None
    (warning,) = gate.decision.warnings
    assert "outputs were not compared, only weights: TakesDict.forward fails" in warning
    assert gate_file(tmp_path)["warnings"] == [warning]


def test_bfloat16_with_onnx_is_told_before_training(tmp_path: Path) -> None:
    """ONNX Runtime can't load it on the CPU; torch_export can."""
    with pytest.raises(ValueError, match=r"Scripted is bfloat16.*torch_export"):
        fit(tmp_path, precision="bf16-true", gate={"formats": ["onnx"]})


def test_a_file_that_its_runtime_can_not_load_is_an_improve(tmp_path: Path) -> None:
    """Not an error after all the training: here half of the module alone is bfloat16."""

    class Mixed(Scripted):
        def __init__(self) -> None:
            super().__init__()
            self.last = torch.nn.Linear(3, 3).bfloat16()

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.last(self.net(features).bfloat16()).float()  # type: ignore[no-any-return]

    gate, _ = fit(tmp_path, best(tmp_path), module=Mixed(), gate={"formats": ["onnx"]})
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    (reason,) = gate.decision.reasons
    assert reason.startswith("artifact differs: ONNX Runtime can't load")
    assert latest(tmp_path).state == "improve"


class Decides(Scripted):
    """Forward branches on values, which a graph can't hold."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(features)
        return logits if logits.sum() > 0 else -logits


class Untranslated(Scripted):
    """Forward uses what ONNX has no operator for."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(features)
        return logits + torch.linalg.eigvalsh(logits.T @ logits).sum()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("module", "format_", "what"),
    [
        (Decides, "torch_export", r"Decides\.forward can't be written down as a graph with a dynamic batch dimension"),
        (Decides, "onnx", r"Decides\.forward can't be written down as a graph"),
        (Untranslated, "onnx", r"the model can't be written as ONNX: No ONNX function found for .*eigh"),
    ],
)
def test_a_graph_that_can_not_be_written_is_told_before_training(tmp_path: Path, module: type[Scripted], format_: str, what: str) -> None:
    """By writing it once with the weights as they are; where only weights ship, such a module deploys."""
    with pytest.raises(ValueError, match=what):
        fit(tmp_path, module=module(), gate={"formats": [format_]})
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    assert run.info.fit is None or run.info.fit.steps == 0
    gate, _ = fit(tmp_path, module=module(), max_epochs=2)
    assert gate.version == 1, gate.decision


def test_trying_an_export_leaves_the_fit_as_it_was(tmp_path: Path) -> None:
    """The same weights after it, drawn from the same random numbers, with and without graphs to write."""
    weights = []
    for formats in (["checkpoint"], ["torch_export", "onnx"]):
        torch.manual_seed(7)
        module = Scripted()
        fit(tmp_path / formats[0], module=module, max_epochs=2, gate={"formats": formats})
        weights.append(torch.nn.utils.parameters_to_vector(module.parameters()).detach())
    assert torch.equal(*weights)


class _DictData(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"image": torch.ones(4) * index, "mask": torch.ones(4)}


class WholeDict(Scripted):
    """Forward takes the batch as a dict, as its loaders give it."""

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        return self.net(batch["image"] * batch["mask"])  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self(batch).mean()  # type: ignore[no-any-return]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_acc", 0.9)


def test_a_forward_of_the_whole_dict_is_told_what_to_take(tmp_path: Path) -> None:
    """Which key was tried, and how forward can be written so that a graph has inputs."""
    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", formats=("torch_export",))
    data = torch.utils.data.DataLoader(_DictData(), batch_size=4)
    with pytest.raises(ValueError, match=r"given 'image' alone.*forward\(self, image, mask\)"):
        make_trainer(tmp_path, gate).fit(WholeDict(), data, data)
