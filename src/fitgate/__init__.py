"""Evidence from training runs, and decisions from evidence.

Example:
    >>> import fitgate
    >>> fitgate.evaluate(["accuracy > 0.8"], {"accuracy": 0.85}).verdict
    'deploy'
"""

from fitgate.errors import CheckpointError, ExportError, FitgateError, RegistryError, RunNotFoundError, StoreError, ThresholdError
from fitgate.gate import Champion, Check, Decision, Threshold, evaluate, margin
from fitgate.loop import Round, Rounds, fit_until_deployed
from fitgate.serving import DeployedModel, open_model
from fitgate.store import ManualRun, Run, Store, start_run

__all__ = [
    "Champion",
    "Check",
    "CheckpointError",
    "Decision",
    "DeployedModel",
    "ExportError",
    "FitgateError",
    "ManualRun",
    "RegistryError",
    "Round",
    "Rounds",
    "Run",
    "RunNotFoundError",
    "Store",
    "StoreError",
    "Threshold",
    "ThresholdError",
    "evaluate",
    "fit_until_deployed",
    "margin",
    "open_model",
    "start_run",
]
