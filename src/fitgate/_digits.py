"""In how many digits a number is shown."""

from __future__ import annotations

__all__ = ["apart"]

_LEAST = 4
_MOST = 17
"""Enough to tell any two doubles apart."""


def apart(number: float, *others: float | None) -> str:
    """A number in as many digits as tell it from each of the others, and no fewer than 4; those that equal it don't count.

    Numbers that are told apart so are shown in their order, since both are rounded at the same digit.

    Example:
        >>> apart(0.17108366, 0.1152), apart(0.17108366, 0.17106), apart(0.17106, 0.17108366)
        ('0.1711', '0.17108', '0.17106')
        >>> apart(0.5, 0.5, None)
        '0.5'
    """
    return f"{number:.{max((_digits(number, other) for other in others if other is not None), default=_LEAST)}g}"


def _digits(number: float, other: float) -> int:
    if number == other:
        return _LEAST
    return next(digits for digits in range(_LEAST, _MOST + 1) if f"{number:.{digits}g}" != f"{other:.{digits}g}" or digits == _MOST)
