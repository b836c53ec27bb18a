"""README.md as the Hugging Face Hub's own loader reads it."""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard

from fitgate.export import publish, seal, stage
from fitgate.gate import Threshold, decision_as_dict, evaluate


def _published(tmp_path: Path, metrics: dict[str, float], thresholds: list[Any]) -> Path:
    staged = stage({"state_dict": {"w": torch.ones(3)}}, tmp_path / "digits", run_id="run-1", formats=["safetensors"])
    decision = evaluate(thresholds, metrics)
    gate: dict[str, Any] = decision_as_dict(decision, "run-1")
    seal(staged, gate=gate, manifest={"metrics": decision.metrics, "source": {"run_id": "run-1"}})
    return tmp_path / "digits" / str(publish(staged, why="test"))


def test_the_card_loads_with_its_results(tmp_path: Path) -> None:
    """Each metric that a threshold was held against is a result under the model's name; what is not a number is left out."""
    metrics = {"val_acc": 0.9375, "val/loss": 0.25, "val_f1": float("nan"), "artifact.size_mb": 1.0, "train_loss": 3.0}
    thresholds = ["val_acc >= 0.8", "val/loss < 1", Threshold("val_f1", ">", 0, warn=True), "artifact.size_mb < 2"]
    folder = _published(tmp_path, metrics, thresholds)
    card = ModelCard.load(folder / "README.md", ignore_metadata_errors=False)
    assert card.data.model_name == "digits"
    results = card.data.eval_results
    assert results is not None
    assert [(r.metric_name, r.metric_type, r.metric_value) for r in results] == [
        ("val/loss", "loss", 0.25),
        ("val_acc", "accuracy", 0.9375),
    ]
    assert {r.dataset_name for r in results} == {"validation data of run-1"}
    assert card.data.library_name == "pytorch"
    assert "val_acc >= 0.8: got 0.9375, passes by 0.1375" in card.text
    assert f'fitgate.open_model("{tmp_path}/digits")' in card.text
    assert json.loads((folder / "gate.json").read_bytes())["verdict"] == "deploy"


def test_names_that_yaml_would_take_for_something_else(tmp_path: Path) -> None:
    """Colons, quotes, hashes, other alphabets and line breaks."""
    odd = {"val_acc": 0.9, "a: b": 1.0, "#c": 2.0, "'\"": 3.0, "точность": 4.0, "no": 5.0, "d\n---\ne": 6.0}
    folder = _published(tmp_path, odd, [Threshold(name, ">", 0) for name in odd])
    results = ModelCard.load(folder / "README.md").data.eval_results
    assert results is not None
    assert {r.metric_name: r.metric_value for r in results} == odd
