"""What must not ship: files that are not the model, and models that can't be proven."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from fitgate.errors import ExportError
from fitgate.export import stage
from fitgate.export.formats import all_formats


class Model(pl.LightningModule):
    """One layer; what forward does beyond it is each test's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y


class OtherWhenExported(Model):
    """A hundredth of a percent more, in the graph alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y * 1.001 if torch.compiler.is_exporting() else y


class NeverTheSame(Model):
    """Dropout that goes on in eval mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(super().forward(x), training=True)


class FixedBatch(Model):
    """Works at the traced batch size only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).reshape(2, -1)


class Squeezes(Model):
    """At one sample the batch dimension is lost."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y.squeeze(0) if x.shape[0] == 1 else y


class Branches(Model):
    """Python decides by values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.sum().item() > 0 else -x


def _stage(tmp_path: Path, model: nn.Module, *formats: str, example: Any = None) -> Any:
    content = {"state_dict": model.state_dict(), "global_step": 1}
    example = torch.randn(2, 4) if example is None else example
    return stage(content, tmp_path / "m", run_id="r", formats=formats, module=model, example_input=example)


@pytest.mark.parametrize("name", ["torch_export", "onnx"])
def test_a_graph_that_computes_something_else_differs(tmp_path: Path, name: str) -> None:
    """It is found, with the difference and what is allowed; the weights beside it are fine."""
    staged = _stage(tmp_path, OtherWhenExported(), "safetensors", name)
    (reason,) = staged.differs
    assert reason.startswith(f"artifact differs: {all_formats()[name].file}, 1 sample: 'output' differs by ")
    weights, graph = staged.proof.files
    assert weights.differs is None
    assert graph.max_abs_difference > graph.tolerance > 0


def test_a_model_that_is_never_the_same_is_not_proven(tmp_path: Path) -> None:
    """The reason names the model, not the file, and stands once for all of them."""
    staged = _stage(tmp_path, NeverTheSame(), "safetensors", "checkpoint", "torch_export")
    assert staged.differs == (
        "artifact differs: NeverTheSame.forward gives other outputs for the same inputs when it is called again in eval mode",
    )


@pytest.mark.parametrize(("model", "what"), [(FixedBatch(), "FixedBatch.forward"), (Branches(), "Branches.forward can't be written down")])
def test_what_is_no_graph_says_so(tmp_path: Path, model: nn.Module, what: str) -> None:
    """A clear error, and nothing left lying in the model's folder."""
    with pytest.raises(ExportError, match=what):
        _stage(tmp_path, model, "torch_export")
    assert not [path for path in (tmp_path / "m").iterdir() if path.name.startswith(".staging")]


def test_a_batch_dimension_that_comes_and_goes_is_caught(tmp_path: Path) -> None:
    """The graph, traced with two samples, keeps the dimension that the model drops at one."""
    try:
        staged = _stage(tmp_path, Squeezes(), "torch_export")
    except ExportError as error:
        assert "batch" in str(error)
    else:
        assert "1 sample: 'output' has shape" in staged.differs[0]


def test_a_damaged_file_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of one weight is enough."""
    form = all_formats()["safetensors"]
    real = type(form).save

    def save(self: Any, subject: Any, folder: Path) -> None:
        real(self, subject, folder)
        data = bytearray((folder / self.file).read_bytes())
        data[-1] ^= 1
        (folder / self.file).write_bytes(data)

    monkeypatch.setattr(type(form), "save", save)
    staged = _stage(tmp_path, Model(), "safetensors")
    assert staged.differs == ("artifact differs: 'layer.weight' in model.safetensors is not what the checkpoint holds",)


def test_examples_that_do_not_fit(tmp_path: Path) -> None:
    """Named with forward's own signature; with weights alone the export goes on, and says why nothing was compared."""
    with pytest.raises(ExportError, match=r"does not fit Model\.forward\(x: .*Tensor: missing a required argument: 'x'"):
        _stage(tmp_path, Model(), "torch_export", example={"image": torch.randn(2, 4)})
    with pytest.raises(ExportError, match=r"Model\.forward fails on the example input in eval mode on the CPU: RuntimeError"):
        _stage(tmp_path, Model(), "torch_export", example=torch.randn(2, 5))
    with pytest.raises(ExportError, match="first dimension is the batch"):
        _stage(tmp_path, Model(), "torch_export", example=torch.tensor(1.0))
    with pytest.raises(TypeError, match=r"example_input: expected a tensor.*got a tuple of str"):
        _stage(tmp_path, Model(), "torch_export", example=("x",))
    staged = _stage(tmp_path, Model(), "safetensors", example=torch.randn(2, 5))
    assert staged.differs == ()
    assert "fails on the example input" in staged.details["proof"]["outputs_not_compared"]


class NotToBeCopied(Model):
    """Refuses every kind of copy."""

    def __getstate__(self) -> Any:
        message = "not me"
        raise TypeError(message)


def test_a_module_that_can_not_be_copied(tmp_path: Path) -> None:
    """A graph takes a copy: a clear error. Weights ship all the same, compared tensor by tensor."""
    with pytest.raises(ExportError, match="NotToBeCopied can't be copied, and export works on a copy: TypeError: not me"):
        _stage(tmp_path, NotToBeCopied(), "torch_export")
    staged = _stage(tmp_path, NotToBeCopied(), "safetensors")
    assert staged.differs == ()
    assert "can't be copied" in staged.details["proof"]["outputs_not_compared"]


def test_weights_that_do_not_fit_the_module(tmp_path: Path) -> None:
    """A checkpoint of something else is refused, by name."""
    with pytest.raises(ExportError, match=r"the checkpoint's weights don't fit Model: .*Missing key.*layer\.weight"):
        stage({"state_dict": {"other": torch.ones(1)}}, tmp_path / "m", run_id="r", formats=["safetensors"], module=Model())


def test_a_format_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in the formats' package is a format, with nothing else to edit."""
    import fitgate.export.formats as package  # noqa: PLC0415 - its path is what is patched

    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "numpy_archive.py").write_text("""
import numpy as np, torch
from fitgate.export.formats import WeightFormat

class Npz(WeightFormat):
    name = "npz"
    file = "model.npz"

    def save(self, subject, folder):
        np.savez(folder / self.file, **{name: tensor.numpy() for name, tensor in subject.state.items()})

    def tensors(self, folder):
        return {name: torch.from_numpy(array) for name, array in np.load(folder / self.file).items()}

FORMAT = Npz()
""")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "plugins")])
    all_formats.cache_clear()
    try:
        staged = _stage(tmp_path, Model(), "npz")
        assert staged.differs == ()
        assert staged.files == ("model.npz",)
        assert staged.proof.files[0].max_abs_difference == 0
    finally:
        monkeypatch.undo()
        all_formats.cache_clear()
