"""Counts, times and ids as people read them."""

from __future__ import annotations

import re

from fitgate._words import plural

__all__ = ["counted", "duration", "number", "undated"]

_DATE = re.compile(r"-?\d{8}-\d{6}-")


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> counted(1, "run"), counted(3, "run")
        ('1 run', '3 runs')
    """
    return f"{count:,} {plural(noun, count)}"


def number(value: float | None) -> str:
    """A metric's value, in five digits; a dash for none.

    Example:
        >>> number(0.9123456), number(None), number(float("nan"))
        ('0.91235', '-', 'nan')
    """
    return "-" if value is None else f"{value:.5g}"


def duration(seconds: float | None) -> str:
    """A length of time in its two greatest units; a dash for none.

    Example:
        >>> duration(4.2), duration(125), duration(3 * 3600 + 5 * 60), duration(50 * 3600), duration(None)
        ('4 s', '2 min 5 s', '3 h 5 min', '2 d 2 h', '-')
    """
    if seconds is None:
        return "-"
    left = round(seconds)
    units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]
    first = next((i for i, (_, size) in enumerate(units) if left >= size), len(units) - 1)
    parts: list[str] = []
    for name, size in units[first : first + 2]:
        if left >= size or not parts:
            parts.append(f"{left // size} {name}")
        left %= size
    return " ".join(parts)


def undated(run_id: str) -> str:
    """An id without its date, which tells no runs apart.

    Example:
        >>> undated("wide-20261123-084001-quiet-otter"), undated("20261123-084001-quiet-otter")
        ('wide…quiet-otter', 'quiet-otter')
    """
    return _DATE.sub("…", run_id, count=1).removeprefix("…")
