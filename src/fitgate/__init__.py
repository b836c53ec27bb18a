"""Evidence from training runs, and decisions from evidence.

Example:
    >>> import fitgate
    >>> fitgate.evaluate(["accuracy > 0.8"], {"accuracy": 0.85}).verdict
    'deploy'
"""

from fitgate.errors import CheckpointError, ExportError, FitgateError, RunNotFoundError, StoreError, ThresholdError
from fitgate.gate import Champion, Check, Decision, Threshold, evaluate

__all__ = [
    "Champion",
    "Check",
    "CheckpointError",
    "Decision",
    "ExportError",
    "FitgateError",
    "RunNotFoundError",
    "StoreError",
    "Threshold",
    "ThresholdError",
    "evaluate",
]
