"""fitgate.open_model: from the disk alone to numbers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fitgate
from fitgate.errors import ExportError, RegistryError
from fitgate.export import publish, seal, stage
from fitgate.registry._manifest import encode_manifest


class Net(nn.Module):
    """One input, one output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y


class Two(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Embedding(5, 3)

    def forward(self, ids: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        vectors = self.layer(ids) * scale.unsqueeze(-1)
        return {"vectors": vectors, "total": vectors.sum(1)}


def _deploy(tmp_path: Path, module: nn.Module, example: Any, *formats: str) -> Path:
    staged = stage(
        {"state_dict": module.state_dict()}, tmp_path / "deploy" / "net", run_id="r", formats=formats, module=module, example_input=example
    )
    seal(staged, gate={"checks": []}, manifest={"metrics": {"val_acc": 0.9}, "source": {"run_id": "r"}})
    publish(staged, why="test")
    return tmp_path / "deploy" / "net"


@pytest.mark.parametrize("name", ["onnx", "torch_export"])
def test_the_live_version_predicts(tmp_path: Path, name: str) -> None:
    """Arrays, tensors and lists in, an array out, as the eager model gives it; any batch size."""
    net = Net()
    model = fitgate.open_model(_deploy(tmp_path, net, torch.randn(2, 4), name))
    assert model.version == 1
    assert model.manifest["metrics"] == {"val_acc": 0.9}
    for batch in (1, 3, 64):
        x = torch.randn(batch, 4)
        expected = net(x).detach().numpy()
        for inputs in (x, x.numpy(), x.double().numpy(), x.tolist(), (x,), {"x": x}):
            outputs = model.predict(inputs)
            assert isinstance(outputs, np.ndarray)
            assert outputs.dtype == np.float32
            np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["onnx", "torch_export"])
def test_several_inputs_and_outputs_go_by_name(tmp_path: Path, name: str) -> None:
    """A tuple is in the order of the signature; outputs are a dict."""
    net = Two()
    ids, scale = torch.randint(0, 5, (6, 3)), torch.rand(6, 3)
    model = fitgate.open_model(_deploy(tmp_path, net, (ids, scale), name))
    outputs = model.predict((ids, scale))
    again = model.predict({"scale": scale, "ids": ids})
    assert isinstance(outputs, dict)
    assert isinstance(again, dict)
    expected = net(ids, scale)
    for key in ("vectors", "total"):
        np.testing.assert_allclose(outputs[key], expected[key].detach().numpy(), rtol=1e-5, atol=1e-6)
        assert np.array_equal(again[key], outputs[key])
    with pytest.raises(ValueError, match="takes 2 inputs; give a tuple or a dict of ids, scale"):
        model.predict(ids)
    with pytest.raises(ValueError, match=r"takes 2 inputs \(ids, scale\), got a tuple of 1"):
        model.predict((ids,))
    with pytest.raises(ValueError, match="takes ids, scale; got ids"):
        model.predict({"ids": ids})
    with pytest.raises(TypeError, match="'ids' takes int64, got float32"):
        model.predict((scale, scale))
    with pytest.raises(ValueError, match=r"'ids' takes the shape \(batch, 3\), got \(6, 2\)"):
        model.predict((ids[:, :2], scale))


def test_onnx_is_served_without_torch(tmp_path: Path) -> None:
    """A server needs onnxruntime and the files; with both graphs there, ONNX serves."""
    net = Net()
    folder = _deploy(tmp_path, net, torch.randn(2, 4), "onnx", "torch_export")
    code = (
        "import sys, json, fitgate\n"
        f"model = fitgate.open_model({str(folder)!r})\n"
        "print(json.dumps(model.predict([[1.0, 2.0, 3.0, 4.0]]).tolist()))\n"
        "assert 'onnxruntime' in sys.modules\n"
        "assert not {'torch', 'pytorch_lightning', 'lightning', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    expected = net(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist()
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=1e-5)


def test_paths_and_versions(tmp_path: Path) -> None:
    """Files by name; another version than the live one by number."""
    net = Net()
    _deploy(tmp_path, net, torch.randn(2, 4), "safetensors")
    folder = _deploy(tmp_path, net, torch.randn(2, 4), "torch_export")
    assert fitgate.open_model(folder).version == 2
    one = fitgate.open_model(folder, version=1)
    assert one.path("model.safetensors") == folder / "1" / "model.safetensors"
    with pytest.raises(RegistryError, match=r"has no file 'model\.onnx'; it has README\.md"):
        one.path("model.onnx")
    with pytest.raises(RegistryError, match="no file"):
        one.path("../CURRENT")
    with pytest.raises(ExportError, match=r"holds weights only .*formats=\[\"onnx\"\]"):
        one.predict(torch.randn(1, 4))
    with pytest.raises(RegistryError, match="has no version 3; it has 1, 2"):
        fitgate.open_model(folder, version=3)


def test_what_can_not_be_opened(tmp_path: Path) -> None:
    """A deploy root, an empty folder, a changed file: each says what to do or what is off."""
    folder = _deploy(tmp_path, Net(), torch.randn(2, 4), "torch_export")
    with pytest.raises(RegistryError, match=r"is a deploy root, not a model's folder; in it: .*deploy/net"):
        fitgate.open_model(folder.parent)
    with pytest.raises(RegistryError, match="holds no deployed model"):
        fitgate.open_model(tmp_path / "nowhere")
    content = json.loads((folder / "1" / "manifest.json").read_bytes())
    original = (folder / "1" / "manifest.json").read_bytes()
    (folder / "1" / "manifest.json").write_bytes(encode_manifest({**content, "metrics": {"val_acc": 1.0}}))
    with pytest.raises(RegistryError, match="another manifest than the one that went live"):
        fitgate.open_model(folder)
    (folder / "1" / "manifest.json").write_bytes(original)
    (folder / "CURRENT").rename(folder / "CURRENT.old")
    with pytest.raises(RegistryError, match=r"has no live version; make one live: fitgate promote .*/net 1"):
        fitgate.open_model(folder)
    (folder / "CURRENT.old").rename(folder / "CURRENT")
    data = bytearray((folder / "1" / "model.pt2").read_bytes())
    data[100] ^= 1
    (folder / "1" / "model.pt2").write_bytes(data)
    with pytest.raises(RegistryError, match=r"model\.pt2: has other bytes than were published"):
        fitgate.open_model(folder)


def test_a_missing_runtime_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it."""
    folder = _deploy(tmp_path, Net(), torch.randn(2, 4), "onnx")
    monkeypatch.setattr("fitgate.export.formats.GraphFormat.missing_to_run", lambda self: self.runtime)
    with pytest.raises(ExportError, match=r"model\.onnx needs onnxruntime, which is not installed: pip install onnxruntime"):
        fitgate.open_model(folder).predict(torch.randn(1, 4))


@pytest.mark.parametrize(
    ("given", "dtype", "shown"),
    [
        (np.array([[2**33 + 1]]), "int32", "8589934593"),
        (np.array([[300]], np.uint64), "int8", "300"),
        (np.array([[1e6]]), "float16", "1000000.0"),
        (np.array([[1e300, np.inf]]), "float32", "1e[+]300"),
    ],
)
def test_a_value_that_the_dtype_has_no_place_for_is_refused(given: Any, dtype: str, shown: str) -> None:
    """It would come out as another number, or as infinite."""
    from fitgate.registry import TensorSpec  # noqa: PLC0415 - for this test alone
    from fitgate.serving import _array  # noqa: PLC0415

    spec = TensorSpec(name="x", dtype=dtype, shape=(-1, given.shape[1]))
    with pytest.raises(ValueError, match=f"'x' takes {dtype}, which has no place for {shown}"):
        _array(given, spec)
