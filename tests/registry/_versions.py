"""Versions to publish, without a model: the registry knows files."""

from pathlib import Path
from typing import Any

from fitgate.registry import new_staging, publish, write_manifest

SIGNATURE = {
    "inputs": [{"name": "image", "dtype": "float32", "shape": [-1, 1, 8, 8]}, {"name": "ids", "dtype": "int64", "shape": [-1]}],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": [-1, 10]}],
}


def publish_version(model_dir: Path, accuracy: float = 0.9, *, onnx: bool = False, why: str = "test", **content: Any) -> int:
    """Publish a version of a model and give its number."""
    staging = new_staging(model_dir, "run")
    (staging.folder / "model.bin").write_bytes(f"weights {accuracy}".encode())
    (staging.folder / "extra").mkdir()
    (staging.folder / "extra" / "words.txt").write_text("a\nb\n")
    manifest: dict[str, Any] = {
        "metrics": {"val_acc": accuracy, "loss": 0.5},
        "checks": [{"metric": "val_acc"}],
        "source": {"run_id": "run"},
        "signature": None,
        **content,
    }
    if onnx:
        (staging.folder / "model.onnx").write_bytes(b"graph")
        if "signature" not in content:
            manifest["signature"] = SIGNATURE
    write_manifest(staging.folder, manifest)
    return publish(staging, model_dir, why=why)
