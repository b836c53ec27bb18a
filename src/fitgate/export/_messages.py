"""Errors of other libraries, told in a line: torch adds a page on what to do."""

from __future__ import annotations

__all__ = ["short"]

_TELLING = ("Caused by", "Missing key", "Unexpected key", "size mismatch")
_MOST = 600


def short(error: BaseException) -> str:
    r"""The first line of what it says, and of the rest those that tell where.

    Example:
        >>> short(RuntimeError("Could not trace.  (hint)\n\nCaused by: (net.py:6 in forward)\nFor more information, …"))
        'Could not trace.  (hint) Caused by: (net.py:6 in forward)'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [*lines[:1], *(line for line in lines[1:] if line.startswith(_TELLING))]
    return " ".join(told)[:_MOST] or type(error).__name__
