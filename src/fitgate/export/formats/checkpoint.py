"""Format "checkpoint": a Lightning checkpoint with weights and hyperparameters, nothing else.

It always loads with `weights_only=True`, and `load_from_checkpoint` takes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fitgate.errors import ExportError
from fitgate.export.formats._base import WeightFormat

if TYPE_CHECKING:
    from torch import Tensor

    from fitgate.export._subject import Subject

__all__ = ["FORMAT"]


class _Checkpoint(WeightFormat):
    name: ClassVar[str] = "checkpoint"
    file: ClassVar[str] = "model.ckpt"

    def save(self, subject: Subject, folder: Path) -> None:
        """Write model.ckpt."""
        import torch  # noqa: PLC0415 - the core loads torch only to export

        torch.save(dict(subject.shipped), folder / self.file)

    def tensors(self, folder: Path) -> dict[str, Tensor]:
        """Read the file as anyone may: without unpickling code."""
        import torch  # noqa: PLC0415

        try:
            content: dict[str, Any] = torch.load(folder / self.file, map_location="cpu", weights_only=True)
        except Exception as error:
            message = (
                f"the state dict holds more than tensors and plain values, so {self.file} can't be loaded with weights_only=True: {error}"
            )
            raise ExportError(message) from error
        state: dict[str, Tensor] = content["state_dict"]
        return state


FORMAT = _Checkpoint()
