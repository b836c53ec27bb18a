"""Using what is deployed: `fitgate.open_model("deploy/digits").predict(inputs)`.

Reads the disk alone: no run, no training code. ONNX files run in ONNX Runtime and load no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitgate._command_line import typed
from fitgate.errors import ExportError, RegistryError
from fitgate.export.formats import GraphFormat, Run, all_formats
from fitgate.registry import (
    Signature,
    TensorSpec,
    models,
    read_current,
    read_manifest,
    verify_version,
    version_dir,
    version_numbers,
)

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DeployedModel", "open_model"]


class DeployedModel:
    """One version of a deployed model.

    Attributes:
        version: its number.
        folder: where its files are.
        manifest: the content of manifest.json.
    """

    def __init__(self, folder: Path, version: int, manifest: dict[str, Any], signature: Signature | None) -> None:
        self.folder = folder
        self.version = version
        self.manifest = manifest
        self._signature = signature
        self._run: Run | None = None

    def path(self, file: str) -> Path:
        """The path of one of its files, such as `"model.safetensors"`.

        Raises:
            RegistryError: it has no such file.
        """
        names = [entry["path"] for entry in self.manifest["files"]]
        if file not in names and file != "manifest.json":
            message = f"version {self.version} of {self.folder.parent} has no file {file!r}; it has {', '.join(names)}"
            raise RegistryError(message)
        return self.folder / file

    def predict(self, inputs: Any) -> np.ndarray[Any, Any] | dict[str, np.ndarray[Any, Any]]:  # noqa: ANN401 - whatever holds numbers
        """The model's outputs, computed by ONNX Runtime or torch.export.

        Args:
            inputs: an array or tensor of shape (batch, …), a tuple of them in the order of the signature, or a dict by name.

        Returns:
            An array of shape (batch, …); for a model of several outputs a dict of arrays by name.

        Raises:
            ExportError: this version holds no file that can run here.
            ValueError, TypeError: the inputs are not what the model takes; the message says what it does.
        """
        signature = self._signature
        run = self._runner()
        assert signature is not None
        outputs = run([_array(value, spec) for value, spec in zip(_in_order(inputs, signature), signature.inputs, strict=True)])
        if len(outputs) == 1:
            found: np.ndarray[Any, Any] = outputs[0]
            return found
        return {spec.name: output for spec, output in zip(signature.outputs, outputs, strict=True)}

    def __repr__(self) -> str:
        return f"<DeployedModel {self.folder.parent.name} version {self.version} at {self.folder}>"

    def _runner(self) -> Run:
        if self._run is None:
            names = {entry["path"] for entry in self.manifest["files"]}
            graphs = sorted((f for f in all_formats().values() if isinstance(f, GraphFormat)), key=lambda f: f.rank)
            there = [form for form in graphs if form.file in names]
            runnable = [form for form in there if not form.missing_to_run()]
            if not runnable or self._signature is None:
                raise ExportError(self._why_not(there))
            self._run = runnable[0].open(self.folder, self._signature)
        return self._run

    def _why_not(self, there: Sequence[GraphFormat]) -> str:
        if there:
            form = there[0]
            missing = ", ".join(form.missing_to_run())
            return f"{form.file} needs {missing}, which is not installed: pip install {missing.replace(',', '')}"
        files = ", ".join(entry["path"] for entry in self.manifest["files"])
        return (
            f"version {self.version} of {self.folder.parent} holds weights only ({files}), which take the module's code to run; "
            'export with GateCallback(formats=["onnx"]) or "torch_export" for predict()'
        )


def open_model(model_dir: str | os.PathLike[str], *, version: int | None = None) -> DeployedModel:
    """Open the live version of a model, every file of it verified.

    Args:
        model_dir: the model's folder, such as `deploy/digits`.
        version: another than the live one.

    Raises:
        RegistryError: there is no such model or version, none is live, or a file is not what was published.
    """
    folder = Path(model_dir)
    numbers = version_numbers(folder)
    current = None
    if version is None:
        current = read_current(folder) if folder.is_dir() else None
        if current is None:
            raise RegistryError(_nothing_live(folder, numbers))
        version = current.version
    if version not in numbers:
        message = f"{folder} has no version {version}; it has {', '.join(map(str, numbers)) or 'none'}"
        raise RegistryError(message)
    where = version_dir(folder, version)
    verify_version(where)
    manifest, content = read_manifest(where, sha256=current.manifest_sha256 if current is not None else None)
    return DeployedModel(where, version, content, manifest.signature)


def _nothing_live(folder: Path, numbers: Sequence[int]) -> str:
    if numbers:
        return f"{folder} has no live version; make one live: {typed('promote', folder, numbers[-1])}"
    inside = [model.path for model in models(folder)] if folder.is_dir() else []
    if inside:
        return f"{folder} is a deploy root, not a model's folder; in it: {', '.join(inside)}"
    return f"{folder} holds no deployed model; expected a model's folder, such as deploy/model"


def _in_order(inputs: Any, signature: Signature) -> list[Any]:  # noqa: ANN401
    names = [spec.name for spec in signature.inputs]
    if isinstance(inputs, Mapping):
        if set(inputs) != set(names):
            message = f"the model takes {', '.join(names)}; got {', '.join(map(str, inputs)) or 'nothing'}"
            raise ValueError(message)
        return [inputs[name] for name in names]
    if isinstance(inputs, tuple):
        if len(inputs) != len(names):
            message = f"the model takes {len(names)} inputs ({', '.join(names)}), got a tuple of {len(inputs)}"
            raise ValueError(message)
        return list(inputs)
    if len(names) != 1:
        message = f"the model takes {len(names)} inputs; give a tuple or a dict of {', '.join(names)}"
        raise ValueError(message)
    return [inputs]


def _array(value: Any, spec: TensorSpec) -> np.ndarray[Any, Any]:  # noqa: ANN401
    """An array of the dtype and shape that the model takes.

    Only what loses no meaning is converted: float64 to float32, int to float, int64 to int32; never a value that the other dtype
    has no place for.
    """
    import numpy as np  # noqa: PLC0415 - only for predicting

    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError as error:
        message = f"{spec.name!r} is {spec.dtype}, which NumPy does not know; load the file itself, with path()"
        raise TypeError(message) from error
    if array.dtype != dtype:
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            message = f"{spec.name!r} takes {spec.dtype}, got {array.dtype}"
            raise TypeError(message)
        array = _converted(array, dtype, spec)
    if array.ndim != len(spec.shape) or any(want not in (-1, have) for want, have in zip(spec.shape, array.shape, strict=True)):
        message = f"{spec.name!r} takes the shape {_words(spec.shape)}, got {array.shape}"
        raise ValueError(message)
    return np.ascontiguousarray(array)


def _converted(array: np.ndarray[Any, Any], dtype: np.dtype[Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    """The array in another dtype; rounded, and nothing more."""
    import numpy as np  # noqa: PLC0415

    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        beyond = [int(v) for v in (array.min(), array.max()) if not info.min <= int(v) <= info.max] if array.size else []
    else:
        beyond = array[np.isfinite(array) & ~np.isfinite(converted)].tolist()
    if beyond:
        message = f"{spec.name!r} takes {spec.dtype}, which has no place for {beyond[0]} (given as {array.dtype})"
        raise ValueError(message)
    return converted


def _words(shape: Sequence[int]) -> str:
    return "(" + ", ".join("batch" if size == -1 else str(size) for size in shape) + ")"
