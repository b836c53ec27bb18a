"""config.pbtxt: how NVIDIA Triton is to serve a model's ONNX file, and which version.

A model's folder is one of Triton's model repository. Triton serves the highest version unless
`version_policy` says otherwise, so the file follows `CURRENT`. Source: Triton's "Model Configuration"; names
and dtypes must be those in the ONNX file. `max_batch_size: 0` gives shapes whole, the batch dimension as -1: requests of any
batch size are served as they come.
"""

from __future__ import annotations

import json
from pathlib import Path

from fitgate._files import replace_file
from fitgate.errors import RegistryError
from fitgate.registry._layout import CONFIG, version_dir
from fitgate.registry._manifest import Manifest, TensorSpec, read_manifest
from fitgate.registry._reading import read_regular

__all__ = ["config_text", "is_in_step", "write_config"]

ONNX_FILE = "model.onnx"
_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}


def config_text(name: str, version: int, manifest: Manifest) -> str | None:
    """The content of config.pbtxt for one live version; None when it has no ONNX file that Triton could serve."""
    signature = manifest.signature
    if signature is None or ONNX_FILE not in {entry.path for entry in manifest.files}:
        return None
    if any(spec.dtype not in _TYPES for spec in (*signature.inputs, *signature.outputs)):
        return None
    lines = [
        "# Written by fitgate at each publish, promote and rollback; the version is the one in CURRENT.",
        f"name: {json.dumps(name)}",
        'platform: "onnxruntime_onnx"',
        f'default_model_filename: "{ONNX_FILE}"',
        "max_batch_size: 0",
        *(_tensor("input", spec) for spec in signature.inputs),
        *(_tensor("output", spec) for spec in signature.outputs),
        f"version_policy {{ specific {{ versions: [ {version} ] }} }}",
    ]
    return "\n".join(lines) + "\n"


def write_config(model_dir: Path, version: int) -> None:
    """Make config.pbtxt serve `version`, or take it away where that version has nothing for Triton.

    Raises:
        RegistryError: the version's manifest can't be read.
    """
    text = config_text(model_dir.name, version, read_manifest(version_dir(model_dir, version))[0])
    if text is None:
        (model_dir / CONFIG).unlink(missing_ok=True)
        return
    data = text.encode()
    replace_file(model_dir / CONFIG, lambda file: file.write(data), durable=True)


def is_in_step(model_dir: Path, version: int) -> bool:
    """Whether config.pbtxt is the one for `version`. True also where that can't be told."""
    try:
        text = config_text(model_dir.name, version, read_manifest(version_dir(model_dir, version))[0])
    except (OSError, RegistryError):
        return True
    try:
        return read_regular(model_dir / CONFIG) == (text.encode() if text is not None else None)
    except RegistryError:
        return False


def _tensor(kind: str, spec: TensorSpec) -> str:
    # Triton takes no empty dims: a scalar is written as one element with a reshape to none.
    dims = ", ".join(map(str, spec.shape)) if spec.shape else "1"
    reshape = "" if spec.shape else " reshape { shape: [ ] }"
    return f"{kind} [ {{ name: {json.dumps(spec.name)} data_type: {_TYPES[spec.dtype]} dims: [ {dims} ]{reshape} }} ]"
