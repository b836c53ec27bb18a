"""What every callback of ours does, in both Lightning namespaces."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonargparse
import lightning.pytorch
import pytest
import pytorch_lightning as pl
import torch

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback
from tests.callbacks._fits import QUIET, Net, OtherNet, loader

THRESHOLDS = ["val_loss_epoch <= 100"]
MAKE: dict[str, Callable[[], list[Any]]] = {
    "MetricsCallback": lambda: [MetricsCallback()],
    "GateCallback": lambda: [GateCallback(THRESHOLDS), MetricsCallback()],
}
HOOKS = [name for name in vars(pl.Callback) if name.startswith("on_") or name in ("setup", "teardown")]
EACH_STEP = {
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
}
SPACES = {"pytorch_lightning": (pl, Net), "lightning": (lightning.pytorch, OtherNet)}

pytestmark = [
    pytest.mark.parametrize("kind", MAKE),
    pytest.mark.parametrize("space", SPACES),
    pytest.mark.usefixtures("in_a_folder_of_its_own"),
]


@pytest.fixture
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults write where one is."""
    monkeypatch.chdir(tmp_path)


def _fit(space: str, callbacks: list[Any], **options: Any) -> Any:
    namespace, net = SPACES[space]
    trainer = namespace.Trainer(**{**QUIET, "max_epochs": 1, **options}, logger=False, callbacks=callbacks)
    trainer.fit(net(), loader(2), loader(2))
    return trainer


def _states() -> list[str]:
    return sorted(run.state for run in fitgate.Store("runs").runs())


def _ended(kind: str) -> str:
    return "deployed" if kind == "GateCallback" else "completed"


def test_it_is_built_with_defaults_and_does_nothing_yet(kind: str, space: str) -> None:
    """A callback of the namespace; no file before the fit."""
    for callback in MAKE[kind]():
        assert isinstance(callback, SPACES[space][0].Callback)
    assert not list(Path().iterdir())


def test_it_fits_twice_and_closes_twice(kind: str, space: str) -> None:
    """On two Trainers: two runs; a second `teardown` changes nothing."""
    callbacks = MAKE[kind]()
    for _ in range(2):
        trainer = _fit(space, callbacks)
        before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file() and p.name != "gate.json"}
        for callback in callbacks:
            callback.teardown(trainer, trainer.lightning_module, "fit")
        assert {p: p.read_bytes() for p in before} == before
    assert _states() == [_ended(kind)] * 2


def test_it_survives_fast_dev_run(kind: str, space: str) -> None:
    """A trial of the code is recorded, and nothing is deployed."""
    _fit(space, MAKE[kind](), fast_dev_run=True)
    assert _states() == ["improve" if kind == "GateCallback" else "completed"]
    assert not Path("deploy").exists()


def test_a_subclass_may_call_super_in_every_hook(kind: str, space: str) -> None:
    """Those that the callback leaves empty included; what it does stays the same."""
    called = set()

    def passing_on(name: str) -> Any:
        def hook(self: Any, *arguments: Any, **options: Any) -> Any:
            called.add(name)
            return getattr(super(type(self), self), name)(*arguments, **options)

        return hook

    parent: Any = {"MetricsCallback": MetricsCallback, "GateCallback": GateCallback}[kind]
    mine = type("Mine", (parent,), {name: passing_on(name) for name in HOOKS})
    _fit(space, [mine(*([THRESHOLDS] if kind == "GateCallback" else [])), *MAKE[kind]()[1:]])
    assert _states() == [_ended(kind)]
    assert called >= EACH_STEP


def test_no_empty_hook_is_called_at_each_step(kind: str, space: str) -> None:
    """Lightning's own profile of a fit shows none of them, and those that work."""
    profile = _fit(space, MAKE[kind](), profiler="simple").profiler.recorded_durations
    ours = {action.rsplit(".", 1)[1] for action in profile if action.startswith(f"[Callback]{kind}")}
    assert ours & {*EACH_STEP, "on_train_start", "on_fit_end"} >= {"on_train_start", "on_fit_end"}
    assert not ours & EACH_STEP


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))], ids=["deepcopy", "pickle"])
def test_a_copy_works_before_and_after_a_fit(kind: str, space: str, copied: Callable[[Any], Any]) -> None:
    """Threads, files and trainers stay behind; the copy fits, and the original is untouched."""
    callbacks = copied(MAKE[kind]())
    _fit(space, callbacks)
    run_id = callbacks[-1].run_id
    again = copied(callbacks)
    assert again[-1].run_id == run_id
    _fit(space, again)
    assert callbacks[-1].run_id == run_id != again[-1].run_id
    assert _states() == [_ended(kind)] * 2


def test_its_state_goes_around(kind: str, space: str) -> None:
    """What `state_dict` gives can be saved, read with `weights_only=True` and given back."""
    callbacks = MAKE[kind]()
    trainer = _fit(space, callbacks)
    trainer.save_checkpoint("end.ckpt")
    saved = torch.load("end.ckpt", weights_only=True)["callbacks"]
    for callback in callbacks:
        state = callback.state_dict()
        assert saved.get(callback.state_key, {}) == state
        fresh = copy.deepcopy(callback)
        fresh.load_state_dict(state)
    again = MAKE[kind]()
    namespace, net = SPACES[space]
    trainer = namespace.Trainer(**{**QUIET, "max_epochs": 2}, logger=False, callbacks=again)
    trainer.fit(net(), loader(2), loader(2), ckpt_path="end.ckpt", weights_only=True)
    (run,) = fitgate.Store("runs").runs()
    assert (run.id, len(run.info.attempts)) == (callbacks[-1].run_id, 2)


def test_it_is_a_type_for_jsonargparse(kind: str, space: str) -> None:
    """As LightningCLI reads it from a YAML: by class path, with its arguments checked."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--callbacks", type=list[SPACES[space][0].Callback])  # type: ignore[misc]  # one of two namespaces
    arguments: dict[str, Any] = {"thresholds": THRESHOLDS} if kind == "GateCallback" else {"accuracy": ["logits", "target"]}
    config = [{"class_path": f"fitgate.callbacks.{kind}", "init_args": {"dirpath": "elsewhere", **arguments}}]
    (callback,) = parser.instantiate_classes(parser.parse_object({"callbacks": config})).callbacks
    assert type(callback).__name__ == kind
    with pytest.raises(jsonargparse.ArgumentError, match="no_such"):
        parser.parse_object({"callbacks": [{"class_path": f"fitgate.callbacks.{kind}", "init_args": {"no_such": 1}}]})
