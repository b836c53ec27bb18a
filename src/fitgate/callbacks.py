"""The callbacks, as one imports them: `from fitgate.callbacks import GateCallback, MetricsCallback`."""

from fitgate_callbacks import GateCallback, MetricsCallback

__all__ = ["GateCallback", "MetricsCallback"]
