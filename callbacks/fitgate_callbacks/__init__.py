"""The Lightning side: thin hooks that call the core. Import from `fitgate.callbacks`."""

from fitgate_callbacks.gate import GateCallback
from fitgate_callbacks.metrics import MetricsCallback

__all__ = ["GateCallback", "MetricsCallback"]
