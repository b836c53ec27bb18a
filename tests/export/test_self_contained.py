"""What is exported is the copy with the judged weights, in eval mode, whatever in the module refers back to the module."""

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

import fitgate
from fitgate.errors import ExportError
from fitgate.export import rehearse, stage
from fitgate.export._copy import copy_module

GRAPHS = ("torch_export", "onnx")
OUTSIDE: dict[str, Any] = {}


class Net(pl.LightningModule):
    """Scores in training, probabilities in eval mode, through a head that each test hangs on differently."""

    def __init__(self, hang: Callable[["Net"], Any]) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
        self.head = hang(self)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.net(x)
        return y if self.training else y.softmax(-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(x)
        return y


class Opaque:
    """Can't be copied, and holds the module."""

    def __init__(self, net: Net) -> None:
        self.net = net

    def __deepcopy__(self, memo: Any) -> "Opaque":
        message = "no"
        raise TypeError(message)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.scores(x)


def _over(method: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: method(x) * 1


def _weight(net: Net) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = net.net.get_parameter("0.weight")
    return lambda x: net.scores(x) + (x @ weight.T).sum() * 0


BACK: dict[str, Callable[[Net], Any]] = {
    "a bound method": lambda net: net.scores,
    "a closure": lambda net: lambda x: net.scores(x) * 1,
    "a closure over a bound method": lambda net: _over(net.scores),
    "a default": lambda net: lambda x, net=net: net.scores(x) * 1,
    "a partial": lambda net: functools.partial(lambda held, x: held.scores(x), net),
    "a partial of a closure": lambda net: functools.partial(lambda _, x: net.scores(x), None),
    "a closure over a parameter": _weight,
}


def _trained(module: nn.Module) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    return {
        n: torch.rand(t.shape, generator=generator) + 0.5 if t.is_floating_point() else t.clone() for n, t in module.state_dict().items()
    }


def _state(module: nn.Module) -> dict[str, Any]:
    return {
        **{n: t.clone().tolist() for n, t in module.state_dict().items()},
        "lists": [list(vars(module).get("lock", ()))],
        "modes": [m.training for m in module.modules()],
    }


@pytest.mark.parametrize("how", BACK)
def test_a_reference_back_to_the_module_leads_to_the_copy(tmp_path: Path, how: str) -> None:
    """The graphs hold the checkpoint's weights and the eval branch; the live module stays in train mode with its own buffers."""
    module = Net(BACK[how]).train()
    trained, before, attributes = _trained(module), _state(module), dict(vars(module))
    staged = stage({"state_dict": trained}, tmp_path / "m", run_id="r", formats=GRAPHS, module=module, example_input=torch.ones(2, 4))
    assert staged.differs == ()
    assert _state(module) == before
    assert vars(module) == attributes
    reference = Net(lambda _: None)
    reference.load_state_dict(trained)
    x = torch.randn(3, 4)
    with torch.no_grad():
        expected = reference.eval().scores(x)
        torch.testing.assert_close(torch.export.load(staged.folder / "model.pt2").module()(x), expected)
    torch.testing.assert_close(expected.sum(-1), torch.ones(3))


def _in_containers(net: Net) -> Callable[[torch.Tensor], torch.Tensor]:
    held: Any = net
    held.inside = {"f": [lambda x: net.scores(x) * 1]}
    held.lock = [threading.Lock(), lambda x: held.inside["f"][0](x) * 1]
    return lambda x: held.lock[1](x) * 1


BACK["containers, beside what can't be copied"] = _in_containers

LEAKS: dict[str, Callable[[Net], Any]] = {
    "through what can't be copied": Opaque,
    "through a global": lambda net: OUTSIDE.update(net=net) or (lambda x: OUTSIDE["net"].scores(x) * 1),
    "its tensors alone": lambda net: OUTSIDE.update(net=net) or (lambda x: nn.functional.linear(x, OUTSIDE["net"].net[0].weight)),
}


@pytest.mark.parametrize("how", LEAKS)
def test_a_forward_that_reads_the_live_module_ships_no_graph(tmp_path: Path, how: str) -> None:
    """It would hold other weights than those that were judged. Weights alone still ship, with outputs that were not compared."""
    module = Net(LEAKS[how]).train()
    before = _state(module)
    content = {"state_dict": _trained(module)}
    x = torch.ones(2, 4)
    with pytest.raises(ExportError, match=r"Net\.forward reads the live module's"):
        stage(content, tmp_path / "m", run_id="r", formats=GRAPHS, module=module, example_input=x)
    assert _state(module) == before
    staged = stage(content, tmp_path / "m", run_id="r", formats=("checkpoint", "safetensors"), module=module, example_input=x)
    assert staged.differs == ()
    assert "reads the live module's" in str(staged.proof.outputs_not_compared)
    assert _state(module) == before


class Meddler(nn.Linear):
    """Writes to another module's weight and mode when its weights are loaded, which no forward does."""

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            OUTSIDE["live"].weight.zero_()
        OUTSIDE["live"].eval()
        return super().load_state_dict(*args, **kwargs)


def test_a_change_to_the_live_module_is_set_back(tmp_path: Path) -> None:
    """Whoever made it; and told."""
    module = OUTSIDE["live"] = Meddler(4, 3).train()
    before = _state(module)
    with pytest.raises(ExportError, match=r"changed weight of the live Meddler.* set back"):
        stage({"state_dict": module.state_dict()}, tmp_path / "m", run_id="r", formats=("safetensors",), module=module)
    assert _state(module) == before
    assert not list((tmp_path / "m").glob(".staging-*"))
    assert fitgate.registry.version_numbers(tmp_path / "m") == ()


def test_a_lazy_layer_and_a_bare_module_can_be_tried() -> None:
    """Before its first forward a lazy layer has no weights yet; trying the example leaves it so."""
    module = nn.Sequential(nn.LazyLinear(3))
    assert rehearse(module, torch.ones(2, 4)) is None
    assert isinstance(module[0], nn.LazyLinear)
    assert nn.parameter.is_lazy(module[0].weight)


def test_a_container_that_holds_itself_is_copied() -> None:
    """As `deepcopy` does; with the functions in it made anew."""
    module = Net(lambda net: net.scores)
    inside: dict[str, Any] = {"f": lambda: module}
    inside["itself"] = inside
    module.inside = inside  # type: ignore[assignment]
    twin = copy_module(module)
    assert vars(twin)["inside"]["f"]() is twin
    assert vars(module)["inside"]["f"]() is module


class OwnState(nn.Linear):
    """Leaves its lock out of its state and makes a new one."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.lock = threading.Lock()


class OwnCopy(nn.Linear):
    """Has its own way of copying."""

    def __deepcopy__(self, memo: Any) -> "OwnCopy":
        twin = OwnCopy(self.in_features, self.out_features)
        twin.load_state_dict(self.state_dict())
        return twin


def test_a_class_with_its_own_way_of_copying_is_copied_so() -> None:
    """`__setstate__` runs on the copy, and `__deepcopy__` makes it."""
    own = OwnState()
    twin = copy_module(own)
    assert isinstance(twin, OwnState)
    assert twin.lock is not own.lock
    made = copy_module(OwnCopy(4, 3))
    assert isinstance(made, OwnCopy)
    traced = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))
    x = torch.randn(2, 4)
    assert torch.equal(copy_module(traced)(x), traced(x))
