"""Format "onnx": one file for ONNX Runtime, Triton and many others, with a dynamic batch dimension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fitgate.errors import ExportError
from fitgate.export._messages import short
from fitgate.export._quiet import quiet
from fitgate.export.formats._base import GraphFormat, Run
from fitgate.registry import Signature

if TYPE_CHECKING:
    from torch import nn
    from torch.onnx import ONNXProgram

    from fitgate.export._subject import Subject

__all__ = ["FORMAT"]


class _Onnx(GraphFormat):
    name: ClassVar[str] = "onnx"
    file: ClassVar[str] = "model.onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    rank: ClassVar[int] = 10
    runtime: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    def complaint(self, module: nn.Module) -> str | None:
        """ONNX Runtime has no kernels for bfloat16 on the CPU."""
        dtypes = {str(p.dtype) for p in module.parameters() if p.is_floating_point()}
        if dtypes == {"torch.bfloat16"}:
            return f"{type(module).__name__} is bfloat16, which ONNX Runtime can't compute with on the CPU; use 'torch_export', or 'bf16-mixed'"
        return super().complaint(module)

    def rehearse(self, subject: Subject) -> None:
        """Translate the graph: not every operation of torch has one in ONNX."""
        self._translated(subject)

    def save(self, subject: Subject, folder: Path) -> None:
        """Write model.onnx, weights included."""
        written = self._translated(subject)
        try:
            written.save(folder / self.file, external_data=False)
        except Exception as error:
            message = f"the model can't be written as ONNX: {short(error)}"
            raise ExportError(message) from error

    def _translated(self, subject: Subject) -> ONNXProgram:
        import torch  # noqa: PLC0415 - the core loads torch only to export

        assert subject.signature is not None
        names = [spec.name for spec in subject.signature.inputs], [spec.name for spec in subject.signature.outputs]
        program = subject.program
        try:
            with quiet():
                written = torch.onnx.export(
                    program, (), input_names=names[0], output_names=names[1], dynamo=True, external_data=False, verbose=False
                )
        except Exception as error:
            cause: BaseException = error  # the outermost tells how to report a bug, the innermost which operation it is
            while cause.__cause__ is not None:
                cause = cause.__cause__
            message = f"the model can't be written as ONNX: {short(cause)}"
            raise ExportError(message) from error
        assert written is not None
        return written

    def open(self, folder: Path, signature: Signature, *, threads: int | None = None) -> Run:
        """An ONNX Runtime session on the CPU."""
        import onnxruntime  # noqa: PLC0415 - an extra

        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = options.inter_op_num_threads = threads
        try:
            session = onnxruntime.InferenceSession(str(folder / self.file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            message = f"ONNX Runtime can't load {folder / self.file}: {error}"
            raise ExportError(message) from error
        inputs = [item.name for item in session.get_inputs()]
        outputs = [item.name for item in session.get_outputs()]
        if inputs != [spec.name for spec in signature.inputs] or outputs != [spec.name for spec in signature.outputs]:
            message = f"{folder / self.file} takes {inputs} and gives {outputs}, which is not what the manifest says"
            raise ExportError(message)

        def run(arrays: Sequence[Any]) -> list[Any]:
            return list(session.run(outputs, dict(zip(inputs, arrays, strict=True))))

        return run


FORMAT = _Onnx()
