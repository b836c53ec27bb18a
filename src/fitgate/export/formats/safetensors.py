"""Format "safetensors": the weights alone, for any framework.

Of tensors that are one in memory the first by name is written, as `safetensors.torch.save_model` does; so
`safetensors.torch.load_model` fills a fresh module from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fitgate.errors import ExportError
from fitgate.export.formats._base import WeightFormat

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fitgate.export._subject import Subject

__all__ = ["FORMAT"]


class _Safetensors(WeightFormat):
    name: ClassVar[str] = "safetensors"
    file: ClassVar[str] = "model.safetensors"

    def complaint(self, module: nn.Module) -> str | None:
        """Extra state is whatever a module likes; this format holds tensors."""
        from torch import nn  # noqa: PLC0415 - the core loads torch only to export

        for name, child in module.named_modules():
            if type(child).get_extra_state is not nn.Module.get_extra_state:
                where = name or type(module).__name__
                return (
                    f"the format {self.name!r} holds tensors only, and {where} keeps an extra state in the state dict; leave the format out"
                )
        return None

    def save(self, subject: Subject, folder: Path) -> None:
        """Write model.safetensors."""
        from safetensors.torch import save_file  # noqa: PLC0415

        state = subject.state
        others = [name for name, value in state.items() if not hasattr(value, "untyped_storage")]
        if others:
            message = (
                f"the format {self.name!r} holds tensors only, and the state dict has others: {', '.join(others)}; leave the format out"
            )
            raise ExportError(message)
        # One key of metadata: several come out in random order, and the digest would differ from export to export.
        save_file(
            {name: state[name].contiguous().clone() for name in _first_of_shared(state)}, folder / self.file, metadata={"format": "pt"}
        )

    def tensors(self, folder: Path) -> dict[str, Tensor]:
        """Read the file."""
        from safetensors.torch import load_file  # noqa: PLC0415

        return load_file(folder / self.file)


FORMAT = _Safetensors()


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
