"""Every format on real models: what is staged gives the eager model's outputs in the runtimes that would serve it."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, load_model
from torch import nn

from fitgate.export import publish, seal, stage
from fitgate.registry import verify_version

ALL = ("checkpoint", "safetensors", "torch_export", "onnx")


class Conv(pl.LightningModule):
    """Batch norm and dropout: eval mode and train mode differ."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, classes)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(image)
        return logits


class Named(pl.LightningModule):
    """Two inputs, one by keyword alone, a dict and a tuple coming out, and an output called like an input."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)

    def forward(self, ids: torch.Tensor, *, mask: torch.Tensor) -> dict[str, Any]:
        vectors = self.embedding(ids) * mask.unsqueeze(-1)
        return {"ids": vectors.mean(1), "parts": (vectors.sum(1), mask.sum(1))}


def _checkpoint(module: nn.Module, **more: Any) -> dict[str, Any]:
    """As trained: batch statistics are not the initial ones."""
    module.train()
    if isinstance(module, Conv):
        module(torch.randn(64, 1, 8, 8) * 3 + 1)
    return {"state_dict": {name: t.clone() for name, t in module.state_dict().items()}, "epoch": 1, "global_step": 8, **more}


def test_each_format_gives_the_eager_outputs_in_its_own_runtime(tmp_path: Path) -> None:
    """ONNX Runtime, torch.export and safetensors in a fresh module, at batch sizes that were never traced, with the checkpoint's weights."""
    source = Conv()
    checkpoint = _checkpoint(source)
    live = Conv()  # trained further, or not: its weights are not the ones
    staged = stage(checkpoint, tmp_path / "m", run_id="r", formats=ALL, module=live, example_input=torch.randn(1, 1, 8, 8))
    assert staged.differs == ()
    images = torch.randn(17, 1, 8, 8)
    with torch.no_grad():
        expected = source.eval()(images)
    onnx.checker.check_model(onnx.load(staged.folder / "model.onnx"), full_check=True)
    assert [p.name for p in staged.folder.iterdir() if "onnx" in p.name] == ["model.onnx"]
    session = onnxruntime.InferenceSession(staged.folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["image"]
    np.testing.assert_allclose(session.run(None, {"image": images.numpy()})[0], expected.numpy(), rtol=1e-4, atol=1e-5)
    graph = torch.export.load(staged.folder / "model.pt2").module()
    torch.testing.assert_close(graph(images), expected)
    fresh = Conv()
    load_model(fresh, staged.folder / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(fresh.eval()(images), expected)
    loaded = Conv.load_from_checkpoint(_with_version(staged.folder / "model.ckpt", tmp_path), weights_only=True)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(images), expected)


def _with_version(path: Path, tmp_path: Path) -> Path:
    """Lightning wants to know which version wrote a checkpoint; a real one says so."""
    content = torch.load(path, weights_only=True)
    torch.save({**content, "pytorch-lightning_version": version("pytorch-lightning")}, tmp_path / "with.ckpt")
    return tmp_path / "with.ckpt"


def test_what_was_compared_is_written_down(tmp_path: Path) -> None:
    """Differences, tolerances, batch sizes, golden inputs and outputs that anyone can replay."""
    staged = stage(_checkpoint(Conv()), tmp_path / "m", run_id="r", formats=ALL, module=Conv(), example_input=torch.randn(3, 1, 8, 8))
    gate: dict[str, Any] = {"checks": [], "metrics": {"val_acc": 0.9}}
    seal(staged, gate=gate, manifest={"metrics": gate["metrics"], "source": {"run_id": "r"}})
    assert publish(staged, why="test") == 1
    folder = tmp_path / "m" / "1"
    verify_version(folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    proof = manifest["proof"]
    assert proof["batch_sizes"] == [1, 2, 5]
    by_file = {entry["file"]: entry for entry in proof["files"]}
    assert set(by_file) == {"model.ckpt", "model.safetensors", "model.pt2", "model.onnx"}
    for entry in by_file.values():
        assert 0 <= entry["max_abs_difference"] <= entry["tolerance"]
    assert by_file["model.safetensors"]["max_abs_difference"] == 0
    assert manifest["signature"] == {
        "inputs": [{"name": "image", "dtype": "float32", "shape": [-1, 1, 8, 8]}],
        "outputs": [{"name": "output", "dtype": "float32", "shape": [-1, 3]}],
    }
    golden = load_file(folder / proof["golden"])
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (replayed,) = session.run(None, {"image": golden["input.image"].numpy()})
    np.testing.assert_allclose(replayed, golden["output.output"].numpy(), rtol=1e-4, atol=1e-5)
    assert len(golden["output.output"]) == 5


def test_names_and_structures_survive(tmp_path: Path) -> None:
    """Integers, keyword arguments and nested outputs, in both graph formats."""
    module = Named()
    example = {"ids": torch.randint(0, 11, (4, 5)), "mask": torch.rand(4, 5)}
    staged = stage(_checkpoint(module), tmp_path / "m", run_id="r", formats=ALL, module=Named(), example_input=example)
    assert staged.differs == ()
    assert staged.signature is not None
    assert [(spec.name, spec.dtype, spec.shape) for spec in staged.signature.inputs] == [
        ("ids", "int64", (-1, 5)),
        ("mask", "float32", (-1, 5)),
    ]
    assert [spec.name for spec in staged.signature.outputs] == ["ids_out", "parts_0", "parts_1"]
    session = onnxruntime.InferenceSession(staged.folder / "model.onnx", providers=["CPUExecutionProvider"])
    got = session.run(["parts_1"], {name: tensor.numpy() for name, tensor in example.items()})[0]
    np.testing.assert_allclose(got, example["mask"].sum(1).numpy(), rtol=1e-5)


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    """A tensor under two names is written once, and fills both."""

    class Tied(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 4, bias=False)
            self.two = nn.Linear(4, 4, bias=False)
            self.two.weight = self.one.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.two(self.one(x).relu())
            return y

    source = Tied()
    content = {"state_dict": source.state_dict(), "global_step": 1}
    staged = stage(content, tmp_path / "m", run_id="r", formats=ALL, module=Tied(), example_input=torch.randn(2, 4))
    assert staged.differs == ()
    assert list(load_file(staged.folder / "model.safetensors")) == ["one.weight"]
    fresh = Tied()
    load_model(fresh, staged.folder / "model.safetensors")
    assert torch.equal(fresh.two.weight, source.one.weight)
    assert staged.metrics["artifact.parameters"] == 16


def test_safetensors_digests_are_reproducible(tmp_path: Path) -> None:
    """The same weights give the same bytes."""
    checkpoint = _checkpoint(Conv())
    files = [
        (stage(checkpoint, tmp_path / str(i), run_id="r", formats=["safetensors"], module=Conv()).folder / "model.safetensors").read_bytes()
        for i in range(3)
    ]
    assert files[0] == files[1] == files[2]
    assert json.loads(files[0][8 : 8 + int.from_bytes(files[0][:8], "little")])["__metadata__"] == {"format": "pt"}


def test_a_compiled_module_ships_under_plain_names(tmp_path: Path) -> None:
    """torch.compile's prefix is a matter of how it ran; a fresh module knows nothing of it."""
    source = Conv()
    expected_names = list(source.state_dict())
    checkpoint_of_compiled = Conv()
    checkpoint_of_compiled.net = torch.compile(checkpoint_of_compiled.net)  # type: ignore[assignment]
    checkpoint: dict[str, Any] = {"state_dict": checkpoint_of_compiled.state_dict(), "global_step": 1}
    assert any("_orig_mod" in name for name in checkpoint["state_dict"])
    staged = stage(
        checkpoint, tmp_path / "m", run_id="r", formats=ALL, module=checkpoint_of_compiled, example_input=torch.randn(2, 1, 8, 8)
    )
    assert staged.differs == ()
    assert sorted(load_file(staged.folder / "model.safetensors")) == sorted(expected_names)


@pytest.mark.parametrize("formats", [("safetensors",), ("checkpoint", "safetensors")])
def test_without_a_module_the_tensors_are_compared(tmp_path: Path, formats: tuple[str, ...]) -> None:
    """And it says why no outputs were."""
    staged = stage(_checkpoint(Conv()), tmp_path / "m", run_id="r", formats=formats)
    assert staged.differs == ()
    assert staged.details["proof"]["outputs_not_compared"] == "no module was given"
    assert staged.metrics["artifact.size_mb"] == sum((staged.folder / f).stat().st_size for f in staged.files) / 1e6
    assert "artifact.latency_ms" not in staged.metrics
