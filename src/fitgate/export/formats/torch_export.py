"""Format "torch_export": the graph as `torch.export.save` writes it, with a dynamic batch dimension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fitgate.errors import ExportError
from fitgate.export._messages import short
from fitgate.export._quiet import quiet
from fitgate.export._threads import computing_on
from fitgate.export.formats._base import GraphFormat, Play, Run
from fitgate.registry import Signature

if TYPE_CHECKING:
    from torch import Tensor

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

    def open(self, folder: Path, signature: Signature, *, threads: int | None = None) -> Run:  # noqa: ARG002 - the graph has its own
        """A module made of the graph alone."""
        import torch  # noqa: PLC0415

        play = self._load(folder, threads)
        return lambda arrays: [tensor.numpy() for tensor in play([torch.as_tensor(array) for array in arrays])]

    def player(self, subject: Subject, folder: Path) -> Play:  # noqa: ARG002 - the file is all it takes
        """As tensors all the way: NumPy has no bfloat16."""
        play = self._load(folder, 1)

        def played(tensors: Sequence[Tensor]) -> list[Tensor]:
            try:
                return play(tensors)
            except Exception as error:
                message = f"{self.file} fails on the example input: {type(error).__name__}: {short(error)}"
                raise ExportError(message) from error

        return played

    def _load(self, folder: Path, threads: int | None) -> Play:
        import torch  # noqa: PLC0415
        from torch.utils._pytree import tree_unflatten  # noqa: PLC0415 - what torch.export flattens arguments with

        from fitgate.export._eager import flat_outputs  # noqa: PLC0415 - with torch

        try:
            with quiet():
                program = torch.export.load(folder / self.file)
                module = program.module()
        except Exception as error:
            message = f"torch.export can't load {folder / self.file}: {short(error)}"
            raise ExportError(message) from error

        def play(tensors: Sequence[Tensor]) -> list[Tensor]:
            args, kwargs = tree_unflatten(list(tensors), program.call_spec.in_spec)
            with computing_on(threads), torch.no_grad():
                return [tensor for _, tensor in flat_outputs(module(*args, **kwargs))]

        return play


FORMAT = _TorchExport()
