"""How values are written for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from fitgate._digits import apart
from fitgate.gate import is_relative

__all__ = ["apart_text", "bound_text", "change_text", "exact", "margin_text", "number_text", "rule_title", "sparkline", "value_text"]

_BLOCKS = "▁▂▃▄▅▆▇█"


def number_text(value: float | None) -> str:
    """A measured number, with the digits that say something; a dash where there is none.

    Example:
        >>> number_text(0.7531234), number_text(12345678.0), number_text(4)
        ('0.7531', '1.235e+07', '4')
    """
    return "–" if value is None else f"{value:.4g}"


def apart_text(value: float | None, bound: float | None) -> str:
    """A measured number with as many digits as show on which side of a bound it lies.

    Example:
        >>> apart_text(0.7531234, 0.8), apart_text(0.79999123, 0.8)
        ('0.7531', '0.79999')
    """
    return number_text(None) if value is None else apart(value, bound)


def bound_text(bound: float | None, threshold: str, *values: float | None) -> str:
    """What a threshold needs: a bound as it was written, one that follows from the champion in as many digits as the values beside it.

    Example:
        >>> bound_text(0.8, "acc >= 0.8", 0.7531), bound_text(0.17108366, "loss <= champion * 1.5", 0.1152, None)
        ('0.8', '0.1711')
    """
    return exact(bound) if bound is None or not is_relative(threshold) else apart(bound, *values)


def exact(value: float | None) -> str:
    """A number that somebody wrote, such as a bound.

    Example:
        >>> exact(0.80), exact(100000)
        ('0.8', '100000')
    """
    return "–" if value is None else f"{value:.10g}"


def margin_text(value: float | None) -> str:
    """A margin, with its sign.

    Example:
        >>> margin_text(0.05)
        '+0.05'
    """
    return "–" if value is None else f"{value:+.4g}".replace("-", "−")


def change_text(now: float | None, before: float | None) -> str:
    """How a metric moved, with its sign; nothing where either value is missing or no number, or they are the same.

    Example:
        >>> change_text(0.9, 0.85), change_text(0.9, None), change_text(0.9, float("nan"))
        ('+0.05', '', '')
    """
    moved = None if now is None or before is None else now - before
    return margin_text(moved) if moved and math.isfinite(moved) else ""


def value_text(value: object) -> str:
    """A hyperparameter.

    Example:
        >>> value_text(0.001), value_text("adam"), value_text([1, 2])
        ('0.001', 'adam', '[1, 2]')
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def rule_title(rule: str) -> str:
    """A rule's name as a title.

    Example:
        >>> rule_title("loss_not_falling")
        'Loss not falling'
    """
    return rule.replace("_", " ").capitalize()


def sparkline(values: Sequence[float], width: int = 32) -> str:
    """A curve as one line of blocks, low to high.

    Example:
        >>> sparkline([0.0, 0.5, 1.0])
        '▁▅█'
    """
    if not values:
        return ""
    means = [float(part.mean()) for part in np.array_split(np.asarray(values, dtype=np.float64), min(width, len(values)))]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(_BLOCKS[round((mean - low) / span * (len(_BLOCKS) - 1))] for mean in means)
