"""The callbacks, as one imports them: `from fitgate.callbacks import MetricsCallback`."""

from fitgate_callbacks import MetricsCallback

__all__ = ["MetricsCallback"]
