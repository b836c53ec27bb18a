"""model.ckpt loads anywhere with weights_only=True, whatever the hyperparameters held; and says what became of them."""

import enum
import functools
import pickle
from argparse import Namespace
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fitgate.errors import CheckpointError
from fitgate.export import load_checkpoint, stage
from fitgate.export._shipped import shipped_checkpoint

Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped kind is what people have


class Colour(enum.Enum):
    """A choice."""

    RED = "red"


@dataclass
class Settings:
    """Grouped hyperparameters."""

    lr: float
    root: Path


def _hparams() -> dict[str, Any]:
    return {
        "lr": 0.1,
        "betas": (0.9, 0.99),
        "weights": torch.tensor([1.0, 2.0]),
        "path": Path("data"),
        "partial": functools.partial(torch.optim.SGD, lr=0.1),
        "namespace": Namespace(depth=3, where=Path("x")),
        "module": nn.Linear(2, 2),
        "scalar": np.float64(0.5),
        "integer": np.int64(7),
        "array": np.arange(3),
        "nested": {"a": [Path("y"), 1], "b": print},
        "colour": Colour.RED,
        "settings": Settings(0.2, Path("z")),
        "point": Point(1, 2),
        "function": len,
    }


def test_unsafe_hyperparameters_are_converted_or_left_out_and_named(tmp_path: Path) -> None:
    """A path becomes its text, a namespace a dict, a NumPy scalar a number; functions and modules are left out."""
    checkpoint = {"state_dict": {"w": torch.ones(2)}, "hyper_parameters": _hparams(), "hparams_name": "kwargs"}
    torch.save(checkpoint, tmp_path / "raw.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "raw.ckpt", weights_only=True)
    staged = stage(checkpoint, tmp_path / "m", run_id="r", formats=["checkpoint"])
    loaded = torch.load(staged.folder / "model.ckpt", weights_only=True)["hyper_parameters"]
    assert torch.equal(loaded.pop("weights"), torch.tensor([1.0, 2.0]))
    assert loaded == {
        "lr": 0.1,
        "betas": (0.9, 0.99),
        "path": "data",
        "namespace": {"depth": 3, "where": "x"},
        "scalar": 0.5,
        "integer": 7,
        "array": [0, 1, 2],
        "nested": {"a": ["y", 1]},
        "colour": "red",
        "settings": {"lr": 0.2, "root": "z"},
        "point": (1, 2),
    }
    assert all(type(loaded[name]) is kind for name, kind in {"scalar": float, "integer": int, "path": str}.items())
    notes = staged.details["hparams"]
    assert {entry["name"]: entry["type"] for entry in notes["left_out"]} == {
        "partial": "partial",
        "module": "Linear",
        "nested.b": "builtin_function_or_method",
        "function": "builtin_function_or_method",
    }
    converted = {entry["name"]: (entry["from"], entry["to"]) for entry in notes["converted"]}
    assert converted["path"] == ("PosixPath", "str")
    assert converted["namespace"] == ("Namespace", "dict")
    assert converted["namespace.where"] == ("PosixPath", "str")
    assert converted["nested.a[0]"] == ("PosixPath", "str")
    assert set(converted) == {
        "path", "namespace", "namespace.where", "scalar", "integer", "array", "nested.a[0]", "colour", "settings", "settings.root", "point",
    }  # fmt: skip


_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.builds(Path, st.sampled_from(["a", "b/c"])),
    st.sampled_from([np.float32(1), np.int8(2), np.bool_(1), len, Colour.RED, nn.ReLU(), torch.float16, Namespace(a=Path("x"), b=len)]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(), st.recursive(_LEAVES, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=8)
    )
)
def test_whatever_the_hyperparameters_the_file_loads_safely(hparams: dict[str, Any]) -> None:
    """Any nesting of safe and unsafe values; what is safe already stays as it is."""
    import io  # noqa: PLC0415 - for this test alone

    shipped = shipped_checkpoint({"state_dict": {}, "hyper_parameters": hparams})
    buffer = io.BytesIO()
    torch.save(shipped.content, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=True)["hyper_parameters"]
    if not shipped.converted and not shipped.left_out:
        assert loaded == hparams


class Vocabulary(pl.LightningModule):
    """Keeps something of its own in the checkpoint, without which it can't be loaded."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(size, 2)
        self.words: list[str] = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["words"] = ["a", "b"]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.words = checkpoint["words"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x) * len(self.words)
        return y


def test_what_the_module_itself_keeps_ships_and_training_state_does_not(tmp_path: Path) -> None:
    """load_from_checkpoint works on model.ckpt; optimizer, loops, callbacks and unaveraged weights stay behind."""
    module = Vocabulary()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(module)
    checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)  # noqa: SLF001 - what a ModelCheckpoint saves
    checkpoint |= {"current_model_state": module.state_dict(), "averaging_state": {"n": 1}}
    assert {"optimizer_states", "loops", "callbacks", "lr_schedulers"} <= set(checkpoint)
    staged = stage(
        checkpoint, tmp_path / "m", run_id="r", formats=["checkpoint", "torch_export"], module=module, example_input=torch.ones(2, 3)
    )
    assert staged.differs == ()
    shipped = torch.load(staged.folder / "model.ckpt", weights_only=True)
    assert set(shipped) == {
        "epoch", "global_step", "pytorch-lightning_version", "state_dict", "hparams_name", "hyper_parameters", "words",
    }  # fmt: skip
    loaded = Vocabulary.load_from_checkpoint(staged.folder / "model.ckpt", weights_only=True)
    assert loaded.words == ["a", "b"]
    graph = torch.export.load(staged.folder / "model.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(graph(torch.ones(4, 3)), loaded.eval()(torch.ones(4, 3)))


def test_a_checkpoint_by_path_runs_no_code(tmp_path: Path) -> None:
    """What would run on unpickling doesn't; the message names it, and what to do instead."""
    path = tmp_path / "given.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"f": functools.partial(print, 1)}}, path)
    with pytest.raises(
        CheckpointError, match=r"given by path, so it is loaded with weights_only=True.*functools\.partial.*ModelCheckpoint"
    ):
        load_checkpoint(str(path), trusted=False)
    loaded = load_checkpoint(str(path), trusted=True)
    assert loaded is not None
    assert isinstance(loaded.content["hyper_parameters"]["f"], functools.partial)


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    """Deleted, sharded, damaged, of something else; and one behind a URL."""
    assert load_checkpoint(str(tmp_path / "gone.ckpt"), trusted=True) is None
    (tmp_path / "sharded").mkdir()
    with pytest.raises(CheckpointError, match=r"sharded checkpoint folder .*save a single file"):
        load_checkpoint(str(tmp_path / "sharded"), trusted=True)
    (tmp_path / "damaged.ckpt").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(CheckpointError, match=r"damaged\.ckpt can't be read"):
        load_checkpoint(str(tmp_path / "damaged.ckpt"), trusted=True)
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match="is no Lightning checkpoint"):
        load_checkpoint(str(tmp_path / "list.ckpt"), trusted=True)
    import fsspec  # noqa: PLC0415 - for this line

    with fsspec.open("memory://bucket/it.ckpt", "wb") as file:
        torch.save({"state_dict": {"w": torch.ones(1)}}, file)
    loaded = load_checkpoint("memory://bucket/it.ckpt", trusted=False)
    assert loaded is not None
    assert loaded.content["state_dict"]["w"].item() == 1


class Names(list[Any]):
    """A list of another type."""


_KEYS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from([Path("a"), "a", Colour.RED, "red", len, print, Point(1, Path("x")), frozenset({Path("p")}), np.int64(3), Colour]),
    st.tuples(st.sampled_from([Path("a"), len, 1])),
)
_ODD = st.recursive(
    st.sampled_from([1, "x", Path("y"), print, Colour.RED, None, frozenset({frozenset({Path("q")})}), Names([Path("z"), len])]),
    lambda inner: st.one_of(st.dictionaries(_KEYS, inner, max_size=4), st.lists(inner, max_size=3), st.tuples(inner)),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(hparams=st.dictionaries(_KEYS, _ODD, max_size=4))
def test_whatever_the_keys_are_it_loads(tmp_path_factory: pytest.TempPathFactory, hparams: dict[Any, Any]) -> None:
    """Paths, enums, functions, sets, at any depth: model.ckpt loads with weights_only=True, and the manifest's part is JSON text."""
    shipped = shipped_checkpoint({"state_dict": {}, "hyper_parameters": hparams})
    path = tmp_path_factory.mktemp("odd") / "model.ckpt"
    torch.save(shipped.content, path)
    loaded = torch.load(path, weights_only=True)["hyper_parameters"]
    assert len(loaded) <= len(hparams)
    assert all(isinstance(text, str) for entry in (*shipped.converted, *shipped.left_out) for text in entry.values())


def test_keys_are_converted_like_values() -> None:
    """A path is its text, save where that text is a key already; a function is none. What became of them is on record."""
    hparams = {"by_path": {Path("a"): 1, "f": print, len: 2}, "both": {Path("a"): 1, "a": 2}, "names": Names([Path("z")])}
    shipped = shipped_checkpoint({"state_dict": {}, "hyper_parameters": hparams})
    assert shipped.content["hyper_parameters"] == {"by_path": {"a": 1}, "both": {"a": 2}, "names": ["z"]}
    assert {(entry["name"], entry["to"]) for entry in shipped.converted} >= {("the key by_path.a", "str"), ("names", "list")}
    assert {entry["name"] for entry in shipped.left_out} == {"by_path.f", f"by_path.{len}", "both.a"}
