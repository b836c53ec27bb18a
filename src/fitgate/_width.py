"""Whether something fits a terminal."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.measure import Measurement

__all__ = ["least_width"]

_ANY = 100_000


def least_width(console: Console, what: RenderableType) -> int:
    """Columns under which some word of it would be broken, or a column that must not wrap be cut; rich itself stops at the terminal's.

    Example:
        >>> least_width(Console(width=5), "mindful bittern")
        7
    """
    return Measurement.get(console, console.options.update(width=_ANY, max_width=_ANY), what).minimum
