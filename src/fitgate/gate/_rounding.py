"""Values that were float32 once, held against bounds that are written in decimal."""

from __future__ import annotations

import ctypes
import math

__all__ = ["settled"]

_HALF_ULP = 2.0**-24
"""Rounding to the nearest float32 moves a number by no more than this share of it, unless it is too large or too small for one."""


def settled(value: float, bound: float) -> float:
    """The bound itself where a value is the float32 nearest to it; else the value.

    Lightning keeps metrics in float32, in which 0.8 is 0.800000012 and 0.9 is 0.899999976. Without this, a metric that is
    exactly 0.8 passes `> 0.8`, and one that is exactly 0.9 misses `>= 0.9`.

    Example:
        >>> settled(0.8999999761581421, 0.9), settled(0.89999992, 0.9), settled(0.8999999761581421, 0.8)
        (0.9, 0.89999992, 0.8999999761581421)
    """
    if value == bound or not math.isfinite(value) or value != ctypes.c_float(bound).value:
        return value
    return bound if abs(value - bound) <= _HALF_ULP * abs(bound) else value
