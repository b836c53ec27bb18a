"""How far something stands from the left of a terminal, and whether it fits."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.padding import Padding

__all__ = ["INDENT", "indented", "least_width"]

INDENT = 2
_ANY = 100_000


def indented(what: RenderableType, columns: int = INDENT) -> Padding:
    """That many columns further to the right, every line of it; no wider than it has to be."""
    return Padding(what, (0, 0, 0, columns), expand=False)


def least_width(console: Console, what: RenderableType) -> int:
    """Columns under which some word of it would be broken, or a column that must not wrap be cut; rich itself stops at the terminal's.

    Example:
        >>> least_width(Console(width=5), "mindful bittern")
        7
    """
    return Measurement.get(console, console.options.update(width=_ANY, max_width=_ANY), what).minimum
