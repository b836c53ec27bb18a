"""Staging an export: write, load again, prove, measure; then seal it with all that goes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitgate._files import encode_json
from fitgate._started import git_state
from fitgate.export._card import model_card
from fitgate.export._measure import artifact_metrics, measure_latency
from fitgate.export._proof import Proof, prove
from fitgate.export._subject import make_subject
from fitgate.export.formats import all_formats, check_formats, needs_example
from fitgate.registry import MANIFEST, Signature, Staging, new_staging, write_manifest
from fitgate.registry import publish as publish_staging

if TYPE_CHECKING:
    from torch import nn

__all__ = ["GOLDEN", "Staged", "publish", "seal", "stage"]

GOLDEN = "golden.safetensors"


@dataclass(frozen=True, kw_only=True)
class Staged:
    """An export that is written and proven, beside the versions, and not yet one of them.

    Attributes:
        model_dir: the folder it may become a version of.
        run_id: the run it comes from.
        files: the names of the model files.
        metrics: its `artifact.*` values.
        proof: what was compared, and the greatest difference.
        signature: what the model takes and gives; None without an example input.
        details: further entries for the manifest.
        staging: the folder and its lock.
    """

    model_dir: Path
    run_id: str
    files: tuple[str, ...]
    metrics: Mapping[str, float]
    proof: Proof
    signature: Signature | None
    details: Mapping[str, Any]
    staging: Staging

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self.staging.folder

    @property
    def differs(self) -> tuple[str, ...]:
        """A reason for each file that is not what the eager model is; empty when all are proven."""
        return self.proof.differs

    def drop(self) -> None:
        """It will not be published: remove it."""
        self.staging.drop()


def stage(
    checkpoint: Mapping[str, Any],
    model_dir: Path,
    *,
    run_id: str,
    formats: Iterable[str],
    module: nn.Module | None = None,
    example_input: object = None,
    example_source: str = "example_input",
) -> Staged:
    """Write every format beside the versions, load each again the way a server would, and compare it with the eager model.

    Args:
        checkpoint: as a ModelCheckpoint writes it; its weights are what is exported.
        model_dir: the model's folder, such as `deploy/digits`.
        run_id: the run it comes from.
        formats: any of `"checkpoint"`, `"safetensors"`, `"torch_export"`, `"onnx"`.
        module: the live module, which is only read: graphs are made from a copy of it.
        example_input: arguments of its forward: a tensor, a tuple or a dict of tensors, the batch first.
        example_source: where the example comes from, in words, for the manifest.

    Returns:
        The staged export. Files that are not as they should be are in its `differs`.

    Raises:
        ExportError: a file can't be written or loaded.
        ValueError: a format is unknown.
    """
    from fitgate.export._eager import undisturbed  # noqa: PLC0415 - with torch
    from fitgate.export._watch import unchanged  # noqa: PLC0415 - with torch

    names = check_formats(formats)
    chosen = [all_formats()[name] for name in names]
    staging = new_staging(Path(model_dir), run_id)
    try:
        with undisturbed(), unchanged(module):
            subject = make_subject(checkpoint, module, example_input, graph=bool(needs_example(names)))
            for form in chosen:
                form.save(subject, staging.folder)
            proof = prove(subject, chosen, staging.folder)
            latency = () if proof.differs else measure_latency(subject, chosen, staging.folder)
        if proof.golden:
            from safetensors.torch import save_file  # noqa: PLC0415 - with torch

            save_file({name: t.contiguous() for name, t in proof.golden.items()}, staging.folder / GOLDEN, metadata={"format": "pt"})
        details = {
            "proof": {
                "files": [asdict(file) for file in proof.files],
                "batch_sizes": proof.batch_sizes,
                "inputs": example_source if proof.golden else None,
                "golden": GOLDEN if proof.golden else None,
                "outputs_not_compared": proof.outputs_not_compared,
            },
            "latency": [asdict(entry) for entry in latency],
            "hparams": {"converted": subject.checkpoint.converted, "left_out": subject.checkpoint.left_out},
        }
        return Staged(
            model_dir=Path(model_dir),
            run_id=run_id,
            files=tuple(form.file for form in chosen),
            metrics=artifact_metrics(subject, chosen, staging.folder, latency),
            proof=proof,
            signature=subject.signature,
            details=details,
            staging=staging,
        )
    except BaseException:
        staging.drop()
        raise


def seal(staged: Staged, *, gate: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Write gate.json, README.md and manifest.json with the digest of every file. All is on the disk on return.

    Called again, before it is published, it seals anew.

    Args:
        staged: an export that passed.
        gate: the content of gate.json.
        manifest: what manifest.json says beside its files: metrics, checks, source, versions, …
    """
    folder = staged.folder
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / "gate.json").write_bytes(encode_json(gate))
    judged = {check["metric"]: check["value"] for check in gate.get("checks", ())}
    card = model_card(
        model_dir=staged.model_dir,
        run_id=staged.run_id,
        gate=gate,
        metrics=judged,
        signature=staged.signature,
        files=list(staged.files),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_manifest(folder, {**staged.details, "signature": staged.signature, "git": git_state(), **manifest})


def publish(staged: Staged, *, why: str, only_if: Callable[[], str | None] | None = None) -> int:
    """Make a sealed export the next version, and the live one.

    Args:
        staged: it.
        why: for history.jsonl, in words.
        only_if: see `fitgate.registry.publish`.

    Returns:
        The version.

    Raises:
        ChampionMovedError: `only_if` says so.
        RegistryError: a file is not what the manifest says.
    """
    return publish_staging(staged.staging, staged.model_dir, why=why, only_if=only_if)
