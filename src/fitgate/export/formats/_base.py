"""What a format is: a file, how it is written, and how a server would read it."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fitgate.errors import ExportError
from fitgate.export._eager import call, fill
from fitgate.export._example import has_forward
from fitgate.registry import Signature

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fitgate.export._subject import Subject

__all__ = ["Format", "GraphFormat", "Play", "Run", "WeightFormat"]

Play = Callable[[Sequence["Tensor"]], list["Tensor"]]
"""Inputs in, outputs out, as tensors in the order of the signature."""

Run = Callable[[Sequence[Any]], list[Any]]
"""The same with NumPy arrays."""


class Format(ABC):
    """One way to write a model down. Subclass `WeightFormat` or `GraphFormat`.

    Attributes:
        name: what people write in `formats=`.
        file: the file's name in a version's folder.
        packages: what must be installed, as imported.
        graph: the file runs without the module's code; it takes an example input to make one.
    """

    name: ClassVar[str]
    file: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    graph: ClassVar[bool] = False

    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed."""
        return _not_installed(self.packages)

    def complaint(self, module: nn.Module) -> str | None:  # noqa: ARG002 - for those that have something to say
        """Why this module can't be written so; known before training. None when nothing speaks against it."""
        return None

    def rehearse(self, subject: Subject) -> None:  # noqa: B027 - weights can always be written
        """Before training: do what of the writing takes no file.

        Raises:
            ExportError: it can't be done.
        """

    @abstractmethod
    def save(self, subject: Subject, folder: Path) -> None:
        """Write the file.

        Raises:
            ExportError: it can't be written.
        """

    def tensors(self, folder: Path) -> dict[str, Tensor] | None:  # noqa: ARG002
        """The file's tensors by their names in the state dict; None when it holds none by name."""
        return None

    @abstractmethod
    def player(self, subject: Subject, folder: Path) -> Play:
        """Load the file the way a server would.

        Raises:
            ExportError: it can't be loaded.
        """


class WeightFormat(Format):
    """A file of weights: a server builds the module and fills it from the file."""

    def player(self, subject: Subject, folder: Path) -> Play:
        """A fresh copy of the module, filled from the file."""
        assert subject.model is not None
        assert subject.example is not None
        example = subject.example
        fresh = fill(subject.model, self.tensors(folder) or {})
        return lambda tensors: [tensor for _, tensor in call(fresh, example.holding(tensors))]


class GraphFormat(Format):
    """A file that holds the computation too: it runs without the module's code.

    Attributes:
        rank: of several in one version the one with the lowest rank serves.
        runtime: the packages that running it takes; fewer than writing it does.
    """

    graph: ClassVar[bool] = True
    rank: ClassVar[int] = 100
    runtime: ClassVar[tuple[str, ...]] = ("torch",)

    def missing_to_run(self) -> tuple[str, ...]:
        """The packages of the runtime that are not installed."""
        return _not_installed(self.runtime)

    def complaint(self, module: nn.Module) -> str | None:
        """A graph is one of forward."""
        if has_forward(module):
            return None
        return f"the format {self.name!r} writes down what forward does, and {type(module).__name__} has no forward of its own"

    def rehearse(self, subject: Subject) -> None:
        """Trace forward."""
        _ = subject.program

    @abstractmethod
    def open(self, folder: Path, signature: Signature, *, threads: int | None = None) -> Run:
        """Load the file to serve from it.

        Args:
            folder: the version's folder.
            signature: what the model takes and gives.
            threads: how many to compute with; None leaves it to the runtime.

        Raises:
            ExportError: it can't be loaded, or does not have that signature.
        """

    def player(self, subject: Subject, folder: Path) -> Play:
        """What a server would run, on one thread."""
        import torch  # noqa: PLC0415 - the core loads torch only to export

        assert subject.signature is not None
        run = self.open(folder, subject.signature, threads=1)

        def play(tensors: Sequence[Tensor]) -> list[Tensor]:
            try:
                return [torch.from_numpy(array) for array in run([tensor.numpy() for tensor in tensors])]
            except Exception as error:
                message = f"{self.file} fails on the example input: {type(error).__name__}: {error}"
                raise ExportError(message) from error

        return play


def _not_installed(packages: Sequence[str]) -> tuple[str, ...]:
    return tuple(package for package in packages if importlib.util.find_spec(package) is None)
