"""The proof: each file loaded again as a server would, and its outputs beside the eager model's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitgate.errors import ExportError
from fitgate.export._eager import call
from fitgate.export._messages import short
from fitgate.export._subject import Subject
from fitgate.export.formats import Format, Play
from fitgate.gate import DIFFERS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BATCH_SIZES", "FileProof", "Proof", "prove"]

BATCH_SIZES = (1, 2, 5)
"""One sample, the number that graphs are traced with, and another."""

# A part of the output's largest magnitude: what reordered sums cost in that precision, and some.
_PRECISION = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 3e-2, "complex64": 1e-4, "complex128": 1e-9}


@dataclass(frozen=True, kw_only=True)
class FileProof:
    """What one file was compared in.

    Attributes:
        file: its name.
        format: the name of its format.
        tensors: how many tensors were compared bit for bit; None for a graph.
        max_abs_difference: the greatest between an output and the eager model's; None where none was compared.
        tolerance: what it may be; for that output.
        differs: in words, what is not the same; None when all is.
    """

    file: str
    format: str
    tensors: int | None = None
    max_abs_difference: float | None = None
    tolerance: float | None = None
    differs: str | None = None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What all files were compared in.

    Attributes:
        files: one entry each.
        batch_sizes: of the inputs; empty where no outputs were compared.
        outputs_not_compared: why not; None when they were.
        golden: inputs and outputs of the eager model by name, at the largest batch size.
    """

    files: tuple[FileProof, ...]
    batch_sizes: tuple[int, ...] = ()
    outputs_not_compared: str | None = None
    golden: Mapping[str, Any] = field(default_factory=dict)

    @property
    def differs(self) -> tuple[str, ...]:
        """A reason for each file that is not what it should be; one that holds for all of them stands once."""
        return tuple(dict.fromkeys(f"{DIFFERS}: {proof.differs}" for proof in self.files if proof.differs))


def prove(subject: Subject, formats: Iterable[Format], folder: Path) -> Proof:
    """Load each file again and compare.

    Tensors must be the same bit for bit. Outputs must lie within a part of the output's largest magnitude (1e-4 for float32);
    those that are not floating-point must be the same; NaN and infinities must stand in the same places.

    Raises:
        ExportError: the eager model itself fails on the example.
    """
    model, example = subject.model, subject.example
    expected: dict[int, list[tuple[str, Tensor]]] = {}
    if model is not None and example is not None:
        expected = {batch: call(model, example.at(batch)) for batch in BATCH_SIZES}
        again = call(model, example.at(BATCH_SIZES[-1]))
        if _difference(expected[BATCH_SIZES[-1]], [t for _, t in again])[2]:
            reason = f"{type(model).__name__}.forward gives other outputs for the same inputs when it is called again in eval mode"
            files = tuple(FileProof(file=f.file, format=f.name, differs=reason) for f in formats)
            return Proof(files=files, batch_sizes=BATCH_SIZES)
    files = tuple(_prove_file(subject, f, folder, expected) for f in formats)
    if not expected or example is None:
        return Proof(files=files, outputs_not_compared=subject.why_no_outputs)
    largest = max(BATCH_SIZES)
    golden = {f"input.{name}": t for name, t in zip(example.names, example.at(largest).tensors, strict=True)}
    golden |= {f"output.{name}": t for name, t in expected[largest]}
    return Proof(files=files, batch_sizes=BATCH_SIZES, golden=golden)


def _prove_file(subject: Subject, form: Format, folder: Path, expected: Mapping[int, list[tuple[str, Tensor]]]) -> FileProof:
    try:
        return _compared(subject, form, folder, expected)
    except Exception as error:  # noqa: BLE001 - whatever a reader raises on a file that it can't load
        why = str(error) if isinstance(error, ExportError) else f"{form.file} can't be loaded: {type(error).__name__}: {short(error)}"
        return FileProof(file=form.file, format=form.name, differs=why)


def _compared(subject: Subject, form: Format, folder: Path, expected: Mapping[int, list[tuple[str, Tensor]]]) -> FileProof:
    tensors = form.tensors(folder)
    differs = None if tensors is None else _other_tensor(subject.state, tensors, form.file)
    count = None if tensors is None else len(tensors)
    if differs or not expected:
        return FileProof(file=form.file, format=form.name, tensors=count, differs=differs)
    play = form.player(subject, folder)
    worst, tolerance, differs = 0.0, 0.0, None
    for batch, outputs in expected.items():
        difference, allowed, why = _replay(subject, play, batch, outputs)
        if difference >= worst:
            worst, tolerance = difference, allowed
        if why and differs is None:
            differs = f"{form.file}, {batch} sample{'s' if batch > 1 else ''}: {why}"
    return FileProof(file=form.file, format=form.name, tensors=count, max_abs_difference=worst, tolerance=tolerance, differs=differs)


def _replay(subject: Subject, play: Play, batch: int, outputs: Sequence[tuple[str, Tensor]]) -> tuple[float, float, str | None]:
    assert subject.example is not None
    try:
        got = play(subject.example.at(batch).tensors)
    except ExportError as error:
        return 0.0, 0.0, str(error)
    return _difference(outputs, got)


def _difference(expected: Sequence[tuple[str, Tensor]], got: Sequence[Tensor]) -> tuple[float, float, str | None]:
    """The greatest absolute difference, its tolerance, and in words what is beyond it."""
    import torch  # noqa: PLC0415 - the core loads torch only to export

    if len(expected) != len(got):
        return 0.0, 0.0, f"it gives {len(got)} outputs where the model gives {len(expected)}"
    worst, tolerance = 0.0, 0.0
    for (name, want), have in zip(expected, got, strict=True):
        if want.shape != have.shape or want.dtype != have.dtype:
            what = f"{name!r} has shape {tuple(have.shape)} and {have.dtype} where the model gives {tuple(want.shape)} and {want.dtype}"
            return worst, tolerance, what
        wide = torch.complex128 if want.is_complex() else torch.float64
        one, other = want.to(wide), have.to(wide)
        finite = torch.isfinite(one)
        if not torch.equal(finite, torch.isfinite(other)) or not torch.equal(one[~finite].nan_to_num(), other[~finite].nan_to_num()):
            return worst, tolerance, f"{name!r} has NaN or infinities where the model has none, or none where it has"
        difference = float((one - other)[finite].abs().max()) if finite.any() else 0.0
        scale = float(one[finite].abs().max()) if finite.any() else 0.0
        allowed = _PRECISION.get(str(want.dtype).removeprefix("torch."), 0.0) * scale
        if difference >= worst:
            worst, tolerance = difference, allowed
        if difference > allowed:
            return difference, allowed, f"{name!r} differs by {difference:.3g}, and {allowed:.3g} is allowed"
    return worst, tolerance, None


def _other_tensor(expected: Mapping[str, Any], got: Mapping[str, Any], file: str) -> str | None:
    """Which tensor of a file is not, bit for bit, the checkpoint's. One that shares memory may stand under another's name."""
    import torch  # noqa: PLC0415

    tensors = {name: t for name, t in expected.items() if isinstance(t, torch.Tensor)}
    shared = {(t.data_ptr(), t.shape, t.stride()): got[name] for name, t in tensors.items() if name in got}
    for name, tensor in tensors.items():
        other = got.get(name, shared.get((tensor.data_ptr(), tensor.shape, tensor.stride())))
        if other is None:
            return f"{file} lacks {name!r}"
        if other.dtype != tensor.dtype or other.shape != tensor.shape or not torch.equal(_bytes(tensor.cpu()), _bytes(other)):
            return f"{name!r} in {file} is not what the checkpoint holds"
    return None


def _bytes(tensor: Tensor) -> Tensor:
    import torch  # noqa: PLC0415

    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
