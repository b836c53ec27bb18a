"""Format "safetensors": the weights alone, for any framework.

Of tensors that share memory the first by name is written, as `safetensors.torch.save_model` does; so
`safetensors.torch.load_model` fills a fresh module from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fitgate.errors import ExportError

__all__ = ["FILE", "load", "save"]

FILE = "model.safetensors"


def save(checkpoint: Mapping[str, Any], folder: Path) -> Path:
    """Write model.safetensors."""
    from safetensors.torch import save_file  # noqa: PLC0415 - the core loads torch only to export

    state = checkpoint["state_dict"]
    others = [name for name, value in state.items() if not hasattr(value, "untyped_storage")]
    if others:
        message = f'the format "safetensors" holds tensors only, and the state dict has others: {", ".join(others)}; leave the format out'
        raise ExportError(message)
    # One key of metadata: several come out in random order, and the digest would differ from export to export.
    save_file({name: state[name].contiguous().clone() for name in _first_of_shared(state)}, folder / FILE, metadata={"format": "pt"})
    return folder / FILE


def load(folder: Path) -> dict[str, Any]:
    """The tensors of an exported file, by name."""
    from safetensors.torch import load_file  # noqa: PLC0415

    return load_file(folder / FILE)


def _first_of_shared(state: Mapping[str, Any]) -> list[str]:
    seen = set()
    names = []
    for name in sorted(state):
        tensor = state[name]
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() == 0 or key not in seen:
            names.append(name)
            seen.add(key)
    return names
