"""Versions to publish, without a model: the registry knows files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitgate.registry import new_staging, publish, write_manifest

SIGNATURE = {
    "inputs": [{"name": "image", "dtype": "float32", "shape": [-1, 1, 8, 8]}, {"name": "ids", "dtype": "int64", "shape": [-1]}],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": [-1, 10]}],
}


@pytest.fixture
def release(tmp_path: Path) -> Callable[..., int]:
    """Publishes a version of the model `digits` and gives its number."""

    def published(accuracy: float = 0.9, *, onnx: bool = False, why: str = "test", **content: Any) -> int:
        model_dir = tmp_path / "deploy" / "digits"
        staging = new_staging(model_dir, "run")
        (staging.folder / "model.bin").write_bytes(f"weights {accuracy}".encode())
        (staging.folder / "extra").mkdir()
        (staging.folder / "extra" / "words.txt").write_text("a\nb\n")
        if onnx:
            (staging.folder / "model.onnx").write_bytes(b"graph")
        manifest: dict[str, Any] = {"metrics": {"val_acc": accuracy}, "source": {"run_id": "run"}, "signature": None, **content}
        if onnx and "signature" not in content:
            manifest["signature"] = SIGNATURE
        write_manifest(staging.folder, manifest)
        return publish(staging, model_dir, why=why)

    return published


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """Where `release` publishes."""
    return tmp_path / "deploy" / "digits"
