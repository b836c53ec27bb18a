"""What fitgate raises, beside Python's own `ValueError` and `TypeError`.

Every message names what came, what was expected and, where it can, the nearest right thing, so
the command line prints it as it stands.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ExportError",
    "FitgateError",
    "RegistryError",
    "RunNotFoundError",
    "StoreError",
    "ThresholdError",
]


class FitgateError(Exception):
    """The base of every error of fitgate's own."""


class StoreError(FitgateError):
    """A store, a run or one of its files can't be read or written."""


class RunNotFoundError(StoreError, LookupError):
    """No run of a store goes by that id, part of an id or name, or several do."""


class ThresholdError(FitgateError, ValueError):
    """A threshold can't be read, or a set of thresholds makes no sense."""


class CheckpointError(FitgateError):
    """The checkpoint that would ship is missing or can't be read."""


class ExportError(FitgateError):
    """A checkpoint could not be exported, verified or published."""


class RegistryError(FitgateError):
    """A deployed model, one of its versions or its files can't be read, or is not what it was when it was published."""
