"""Nouns with their counts."""

from __future__ import annotations

__all__ = ["plural"]


def plural(noun: str, count: int) -> str:
    """The noun as it stands behind a count.

    Example:
        >>> plural("step", 1), plural("step", 0)
        ('step', 'steps')
    """
    return noun if count == 1 else f"{noun}s"
