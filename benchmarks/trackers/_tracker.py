"""What the harness must know of a tracker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Tracker"]


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """One row of the table.

    Attributes:
        name: what the table calls it.
        build: takes the empty folder for all that it writes; returns the Trainer's keyword arguments.
        finish: called after fit; returns when everything is on disk and helper processes have ended.
        count: reads back how many points lie under the folder, to show that the work was done; None
            where only the tracker's own server could read them.
        module: what must be importable; the tracker is left out where it is not.
        package: the distribution whose version the table shows.
        share: the part of the steps that it runs; less than 1 where each costs so much that fewer tell as much.
    """

    name: str
    build: Callable[[Path], dict[str, Any]]
    finish: Callable[[], None] = _nothing
    count: Callable[[Path], int] | None = None
    module: str = "pytorch_lightning"
    package: str = ""
    share: float = 1.0

    @property
    def installed(self) -> bool:
        """Whether it can be measured here."""
        return find_spec(self.module) is not None

    def shortfall(self, folder: Path, points: int) -> str | None:
        """In words, that it did not keep every point of a fit that is over; None where it did, or nobody can tell.

        Args:
            folder: the one that `build` was given.
            points: how many were logged.
        """
        found = points if self.count is None else self.count(folder)
        return None if found == points else f"{self.name} kept {found} points of {points}"

    @property
    def builtin(self) -> bool:
        """Whether it needs nothing beyond what fitgate itself needs."""
        return self.module == "pytorch_lightning"

    @property
    def version(self) -> str:
        """Of its distribution, or empty."""
        try:
            return version(self.package) if self.package else ""
        except PackageNotFoundError:
            return ""
