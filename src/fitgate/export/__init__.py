"""Exporting a checkpoint: each format is written, loaded again the way a server would, and proven; then it is published.

    staged = stage(checkpoint, Path("deploy/digits"), run_id=run_id, formats=["safetensors", "onnx"], module=module, example_input=x)
    staged.metrics                      # {"artifact.size_mb": …, "artifact.latency_ms": …, …}
    staged.differs                      # empty: proven
    seal(staged, gate=…, manifest=…)    # gate.json, README.md, manifest.json
    version = publish(staged, why="run … passed its gate")

The live module is only read. A format is one file in `fitgate.export.formats`.
"""

from fitgate.export._again import judge_again, judge_by
from fitgate.export._already import weights_digest
from fitgate.export._champion import judge_run, live
from fitgate.export._example import check_example, example_from_batch, few_samples, fits_forward, has_forward
from fitgate.export._load import UnsafeCheckpointError, load_checkpoint
from fitgate.export._measure import ARTIFACT_METRICS
from fitgate.export._publication import AlreadyLive, Prepared, release
from fitgate.export._rehearse import rehearse
from fitgate.export._release import Candidate, prepare
from fitgate.export._stage import Staged, publish, seal, stage
from fitgate.export._thresholds import check_artifact_thresholds, without_artifact
from fitgate.export.formats import all_formats, check_formats, needs_example

__all__ = [
    "ARTIFACT_METRICS",
    "AlreadyLive",
    "Candidate",
    "Prepared",
    "Staged",
    "UnsafeCheckpointError",
    "all_formats",
    "check_artifact_thresholds",
    "check_example",
    "check_formats",
    "example_from_batch",
    "few_samples",
    "fits_forward",
    "has_forward",
    "judge_again",
    "judge_by",
    "judge_run",
    "live",
    "load_checkpoint",
    "needs_example",
    "prepare",
    "publish",
    "rehearse",
    "release",
    "seal",
    "stage",
    "weights_digest",
    "without_artifact",
]
