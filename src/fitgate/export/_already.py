"""Whether weights are live already: a resumed fit whose best checkpoint is still the one that shipped publishes nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitgate.errors import FitgateError
from fitgate.export.formats import all_formats
from fitgate.gate import ARTIFACT, LiveVersion, Threshold, on_record
from fitgate.registry import live_content, verify_version, version_dir

__all__ = ["SameWeights", "already_live", "weights_digest"]


@dataclass(frozen=True, kw_only=True)
class SameWeights:
    """The live version, where it holds the very weights that are judged.

    Attributes:
        version: its number.
        before: the version that was live when it was judged, which relative thresholds are held against; None when there was none.
        artifact: what was measured of its files.
        outputs_not_compared: why only its weights were proven; None where its outputs were.
    """

    version: int
    before: LiveVersion | None
    artifact: Mapping[str, float]
    outputs_not_compared: str | None = None


def already_live(
    source: Mapping[str, object], formats: Sequence[str], thresholds: Iterable[Threshold], model_dir: Path
) -> SameWeights | None:
    """The live version, where publishing these weights would make the same once more; None where it would not.

    That takes the same checkpoint file, byte by byte and of the same run (where there is no file, the same weights), no format and no
    measure that the version lacks, and files that are whole.

    Args:
        source: where the weights come from: `sha256` of the checkpoint's file, else as `weights_digest` gives it, and `run_id`.
        formats: what would be written.
        thresholds: those on exported files must have been measured.
        model_dir: the model's folder.
    """
    if not source.get("sha256"):
        return None
    try:
        live = live_content(model_dir)
        if live is None or any(live.get("source", {}).get(key) != source.get(key) for key in ("sha256", "run_id")):
            return None
        files = {entry["path"] for entry in live["files"]}
        measures = live.get("metrics", {}).items()
        artifact = {name: value for name, value in measures if name.startswith(ARTIFACT) and value is not None}
        measured = {threshold.metric for threshold in thresholds if threshold.metric.startswith(ARTIFACT)} <= artifact.keys()
        if not measured or not {all_formats()[name].file for name in formats} <= files:
            return None
        folder = version_dir(model_dir, live["version"])
        verify_version(folder)
        decision = on_record((folder / "gate.json").read_bytes(), str(folder / "gate.json")).decision
    except (FitgateError, OSError):
        return None  # what can't be read is no reason not to publish a good version
    # An earlier version of fitgate kept the compared values alone.
    before = decision.live or (None if decision.champion is None else LiveVersion(metrics=decision.champion))
    not_compared = live.get("proof", {}).get("outputs_not_compared")
    return SameWeights(version=live["version"], before=before, artifact=artifact, outputs_not_compared=not_compared)


def weights_digest(state: Mapping[str, Any]) -> str | None:
    """The SHA-256 of a state dict's names, types, shapes and bytes; None where a value has no bytes to read, such as a sparse tensor.

    Example:
        >>> import torch
        >>> weights_digest({"w": torch.zeros(2)}) == weights_digest({"w": torch.zeros(2)}) != weights_digest({"w": torch.ones(2)})
        True
    """
    import torch  # noqa: PLC0415 - the core loads torch only to export

    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if type(tensor) not in {torch.Tensor, torch.nn.Parameter} or tensor.is_quantized:
            return None
        try:
            data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        except RuntimeError:
            return None
        digest.update(f"{name!r} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(data)
    return digest.hexdigest()
