"""The live module is only read: after an export it is what it was, to the last bit."""

import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from fitgate.callbacks import GateCallback
from fitgate.export import stage
from tests.callbacks._gated import Scripted, best, loader, make_trainer

ALL = ("checkpoint", "safetensors", "torch_export", "onnx")


class Live(pl.LightningModule):
    """Submodules in different modes, a frozen layer, hooks, a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)
        self.by_name = {"head": self.head}
        self.calls: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002, S311 - what a forward may draw, were it only to log it
        y: torch.Tensor = self.by_name["head"](self.drop(self.norm(self.frozen(x)))) * self.scale
        return y


class Uncopyable(Live):
    """Holds what deepcopy refuses: a lock, and a tensor with a graph behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.twice = self.head.weight * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.lock:
            return super().forward(x)


def _snapshot(module: nn.Module) -> dict[str, Any]:
    return {
        "weights": {name: (tensor.clone(), tensor.data_ptr(), tensor.device) for name, tensor in module.state_dict().items()},
        "modes": {name: child.training for name, child in module.named_modules()},
        "gradients": {name: (p.requires_grad, p.grad) for name, p in module.named_parameters()},
        "hooks": {name: list(vars(child)["_forward_hooks"]) for name, child in module.named_modules()},
        "attributes": {name: set(vars(child)) for name, child in module.named_modules()},
    }


def _assert_the_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, (tensor, place, device) in before["weights"].items():
        assert torch.equal(after["weights"][name][0], tensor), name
        assert after["weights"][name][1:] == (place, device)
    for what in ("modes", "gradients", "hooks", "attributes"):
        assert after[what] == before[what]


def _random_states() -> list[Any]:
    return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]  # type: ignore[index]  # noqa: NPY002 - the global one


@pytest.mark.parametrize("kind", [Live, Uncopyable])
@pytest.mark.parametrize("compiled", [False, True])
def test_nothing_of_the_live_module_changes(tmp_path: Path, kind: type[Live], compiled: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Weights and where they lie, modes, gradients, hooks, attributes, random numbers, threads; with other weights in the checkpoint."""
    module = kind()
    module.frozen.requires_grad_(requires_grad=False)
    module.train()
    module.norm.eval()
    calls = []
    module.head.register_forward_hook(lambda *_: calls.append(1))
    module.head.register_forward_hook(lambda *_: module.calls.append(1))
    if compiled:
        module = pl.utilities.compile.from_compiled(torch.compile(module, backend="eager"))  # type: ignore[arg-type, assignment]
        assert vars(module)["forward"] is not None
    trained = {name: tensor + 1 for name, tensor in module.state_dict().items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    before, states = _snapshot(module), _random_states()
    staged = stage({"state_dict": trained}, tmp_path / "m", run_id="r", formats=ALL, module=module, example_input=torch.ones(2, 4))
    assert staged.differs == ()
    _assert_the_same(before, _snapshot(module))
    assert _random_states() == states
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    # What was exported are the checkpoint's weights, through attributes that refer to a submodule too.
    with torch.no_grad():
        twin = Live()
        twin.load_state_dict(trained)
        expected = twin.eval()(torch.ones(1, 4))
        graph = torch.export.load(staged.folder / "model.pt2").module()
        torch.testing.assert_close(graph(torch.ones(1, 4)), expected)
    # Hooks ran on the copy, with the copy of what they hold.
    assert calls == []
    assert module.calls == []


class Notes(pl.Callback):
    """What the module is when the fit has ended; one before the gate and one after it."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found = _snapshot(pl_module)


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")])],
)
def test_the_module_stays_on_its_device(tmp_path: Path, device: str) -> None:
    """At the end of a fit there, when Lightning has brought it to the CPU, and exported from the device: in train mode, as it was."""
    gate = GateCallback(["val_acc >= 0.8"], dirpath=tmp_path / "deploy", model_name="net", formats=ALL)
    before, after, module = Notes(), Notes(), Scripted()
    trainer = make_trainer(tmp_path, gate, best(tmp_path), after, accelerator=device)
    trainer.callbacks.insert(0, before)  # type: ignore[attr-defined]
    trainer.fit(module, loader(), loader())
    assert gate.decision is not None
    assert gate.decision.verdict == "deploy"
    assert True in before.found["modes"].values()
    _assert_the_same(before.found, after.found)
    module.to(device).train()
    there = _snapshot(module)
    trained = {name: tensor.cpu() for name, tensor in module.state_dict().items()}
    staged = stage({"state_dict": trained}, tmp_path / "m", run_id="r", formats=ALL, module=module, example_input=torch.ones(2, 4))
    assert staged.differs == ()
    _assert_the_same(there, _snapshot(module))
    assert {tensor.device.type for tensor in module.state_dict().values()} == {device}
    assert module.training
    staged.drop()
