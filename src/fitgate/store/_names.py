"""Run ids: they sort by time and read well, such as `20261123-084001-quiet-otter`."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime

import coolname

__all__ = ["new_run_id"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Names must not follow the seed of a training, or two runs with one seed would get one name;
# and drawing them must not move the training's random numbers.
coolname.replace_random(random.SystemRandom())


def new_run_id(name: str | None = None, now: datetime | None = None) -> str:
    """A new id, led by the run's name where it has one.

    Example:
        >>> new_run_id("digits", datetime(2026, 11, 23, 8, 40, 1, tzinfo=UTC))[:23]
        'digits-20261123-084001-'
    """
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
    slug = coolname.generate_slug(2)
    prefix = _UNSAFE.sub("-", name).strip("-.") if name else ""
    return f"{prefix}-{stamp}-{slug}" if prefix else f"{stamp}-{slug}"
