"""What a comparison raises."""

from __future__ import annotations

from fitgate.errors import FitgateError

__all__ = ["ComparisonError"]


class ComparisonError(FitgateError, ValueError):
    """Runs can't be compared as asked: no such metric, no direction, no such baseline."""
