"""Deployed models on the disk: versions that never change, `CURRENT` that says which one is live.

    deploy/digits/CURRENT  history.jsonl  config.pbtxt  1/  2/  3/

Nothing here loads torch. Publishing is a rename under the model's lock; promote and rollback verify every file first.

Example:
    >>> from fitgate.registry import models
    >>> for model in models("deploy"):  # doctest: +SKIP
    ...     print(model.name, model.live, [version.number for version in model.versions])
    digits 2 [1, 2]
"""

from fitgate.registry._current import Current, Move, read_current, read_history
from fitgate.registry._folders import no_version, what_it_is
from fitgate.registry._layout import MANIFEST, version_dir, version_numbers
from fitgate.registry._listing import LiveValues, Model, ModelVersion, champion, live_content, model, models
from fitgate.registry._manifest import FileEntry, Manifest, Signature, TensorSpec, read_manifest
from fitgate.registry._moves import promote, rollback, tidy
from fitgate.registry._publish import ChampionMovedError, publish, write_manifest
from fitgate.registry._staging import Staging, new_staging
from fitgate.registry._verify import Problem, Verification, verify, verify_version

__all__ = [
    "MANIFEST",
    "ChampionMovedError",
    "Current",
    "FileEntry",
    "LiveValues",
    "Manifest",
    "Model",
    "ModelVersion",
    "Move",
    "Problem",
    "Signature",
    "Staging",
    "TensorSpec",
    "Verification",
    "champion",
    "live_content",
    "model",
    "models",
    "new_staging",
    "no_version",
    "promote",
    "publish",
    "read_current",
    "read_history",
    "read_manifest",
    "rollback",
    "tidy",
    "verify",
    "verify_version",
    "version_dir",
    "version_numbers",
    "what_it_is",
    "write_manifest",
]
