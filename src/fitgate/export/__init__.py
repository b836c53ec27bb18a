"""Exporting a checkpoint: write each format, load it again, compare, stage with a manifest; then publish.

A format is a module with `FILE`, `save(checkpoint, folder)` and `load(folder)`; add it to `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fitgate._files import encode_json
from fitgate.errors import ExportError
from fitgate.export import _checkpoint, _safetensors
from fitgate.export._publish import git_state, new_staging, publish, write_manifest

__all__ = ["FORMATS", "check_formats", "publish", "stage"]


class Format(Protocol):
    """One way to write weights down."""

    FILE: str

    def save(self, checkpoint: Mapping[str, Any], folder: Path) -> Path:
        """Write the file."""

    def load(self, folder: Path) -> dict[str, Any]:
        """Read the tensors back, by name."""


FORMATS: dict[str, Format] = {"checkpoint": _checkpoint, "safetensors": _safetensors}


def check_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """Check the names of formats.

    Raises:
        ValueError: there is none, or one is unknown.
    """
    names = (formats,) if isinstance(formats, str) else tuple(formats)
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        message = f"formats: expected any of {', '.join(map(repr, FORMATS))}, got {unknown[0] if unknown else names!r}"
        raise ValueError(message)
    return names


def stage(
    checkpoint: Mapping[str, Any],
    model_dir: Path,
    *,
    run_id: str,
    formats: Iterable[str],
    gate: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> Path:
    """Write every format beside the versions, load each again and compare it tensor by tensor.

    Args:
        checkpoint: a loaded Lightning checkpoint.
        model_dir: `deploy/<model_name>`.
        run_id: whose weights they are.
        formats: names from `FORMATS`.
        gate: the content of the version's gate.json.
        manifest: what manifest.json says beside its files.

    Returns:
        The staged folder, ready for `publish`.

    Raises:
        ExportError: a file can't be written, or does not give the same tensors.
    """
    staging = new_staging(model_dir, run_id)
    shipped, changed = _checkpoint.shipped_checkpoint(checkpoint)
    for name in formats:
        FORMATS[name].save(shipped, staging)
        _compare(shipped["state_dict"], FORMATS[name].load(staging), FORMATS[name].FILE)
    (staging / "gate.json").write_bytes(encode_json(gate))
    (staging / "README.md").write_text(_readme(model_dir.name, run_id, gate))
    write_manifest(staging, {**manifest, "hparams_changed": changed, "git": git_state()})
    return staging


def _compare(expected: Mapping[str, Any], got: Mapping[str, Any], file: str) -> None:
    import torch  # noqa: PLC0415 - the core loads torch only to export

    tensors = {name: t for name, t in expected.items() if isinstance(t, torch.Tensor)}
    shared = {(t.data_ptr(), t.shape): got[name] for name, t in tensors.items() if name in got}
    for name, tensor in tensors.items():
        other = got.get(name, shared.get((tensor.data_ptr(), tensor.shape)))
        same = other is not None and other.dtype == tensor.dtype and other.shape == tensor.shape
        if not same or not torch.equal(_bytes(tensor.cpu()), _bytes(other)):
            message = f"artifact differs: {name!r} in {file} is not what the checkpoint holds"
            raise ExportError(message)


def _bytes(tensor: Any) -> Any:  # noqa: ANN401 - torch is not loaded here
    import torch  # noqa: PLC0415

    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _readme(model: str, run_id: str, gate: Mapping[str, Any]) -> str:
    checks = "\n".join(f"- {check['reason']}" for check in gate["checks"])
    return f"# {model}\n\nExported from run `{run_id}`. It passed:\n\n{checks}\n\nDigests of all files are in manifest.json.\n"
