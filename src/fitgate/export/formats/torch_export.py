"""Format "torch_export": the graph as `torch.export.save` writes it, with a dynamic batch dimension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fitgate.errors import ExportError
from fitgate.export._quiet import quiet
from fitgate.export._threads import computing_on
from fitgate.export.formats._base import GraphFormat, Run
from fitgate.registry import Signature

if TYPE_CHECKING:
    from fitgate.export._subject import Subject

__all__ = ["FORMAT"]


class _TorchExport(GraphFormat):
    name: ClassVar[str] = "torch_export"
    file: ClassVar[str] = "model.pt2"
    rank: ClassVar[int] = 20

    def save(self, subject: Subject, folder: Path) -> None:
        """Write model.pt2."""
        import torch  # noqa: PLC0415 - the core loads torch only to export

        program = subject.program
        with quiet():
            torch.export.save(program, folder / self.file)

    def open(self, folder: Path, signature: Signature, *, threads: int | None = None) -> Run:
        """A module made of the graph alone."""
        import torch  # noqa: PLC0415
        from torch.utils._pytree import tree_unflatten  # noqa: PLC0415 - what torch.export flattens arguments with

        from fitgate.export._eager import flat_outputs  # noqa: PLC0415 - with torch

        try:
            with quiet():
                program = torch.export.load(folder / self.file)
                module = program.module()
        except Exception as error:
            message = f"torch.export can't load {folder / self.file}: {error}"
            raise ExportError(message) from error
        count = len(signature.inputs)

        def run(arrays: Sequence[Any]) -> list[Any]:
            tensors = [torch.as_tensor(array) for array in arrays]
            assert len(tensors) == count
            args, kwargs = tree_unflatten(tensors, program.call_spec.in_spec)
            with computing_on(threads), torch.no_grad():
                outputs = module(*args, **kwargs)
            return [tensor.numpy() for _, tensor in flat_outputs(outputs)]

        return run


FORMAT = _TorchExport()
