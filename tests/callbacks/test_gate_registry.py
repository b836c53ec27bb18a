"""What is wrong with the model's folder is told before training, or by the verdict; never after it by an error."""

import json
from pathlib import Path

import pytest

import fitgate
from fitgate.errors import RegistryError
from fitgate.registry import promote, verify
from fitgate.registry._manifest import encode_manifest
from tests.callbacks._gated import Scripted, fit, published


class CountsSteps(Scripted):
    """Counts its training steps."""

    steps = 0

    def on_train_batch_start(self, *_: object) -> None:
        type(self).steps += 1


def test_a_damaged_history_stops_a_fit_before_it_trains(tmp_path: Path) -> None:
    """And leaves no version behind; promote mends it."""
    fit(tmp_path, thresholds=["val_acc >= 0.1"], max_epochs=1)
    folder = tmp_path / "deploy" / "net"
    (folder / "history.jsonl").write_text('{"what":"promote","version":9999999999}\n')
    with pytest.raises(RegistryError, match="fitgate promote"):
        fit(tmp_path, module=CountsSteps(), thresholds=["val_acc >= 0.1"], max_epochs=1)
    assert CountsSteps.steps == 0
    assert published(tmp_path) == ["1", "CURRENT", "history.jsonl"]
    promote(folder, 1)
    gate, _ = fit(tmp_path, thresholds=["val_acc >= 0.1"], max_epochs=1)
    assert gate.version == 2
    assert fitgate.open_model(folder).version == 2
    assert verify(folder).problems == ()


def test_a_champion_with_another_manifest_is_not_compared_with(tmp_path: Path) -> None:
    """Its number, made small by hand, would let anything pass; the verdict is improve, and the reason says why."""
    fit(tmp_path, thresholds=["val_acc >= 0.1"], max_epochs=1)
    path = tmp_path / "deploy" / "net" / "1" / "manifest.json"
    content = json.loads(path.read_bytes())
    path.write_bytes(encode_manifest({**content, "metrics": {**content["metrics"], "val_acc": 0.01}}))
    gate, _ = fit(tmp_path, module=Scripted((0.5,)), thresholds=["val_acc >= 0.1", "val_acc >= champion"], max_epochs=1)
    assert gate.decision is not None
    assert gate.decision.verdict == "improve"
    assert "another manifest" in gate.decision.reasons[0]
