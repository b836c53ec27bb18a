"""Hyperparameters of several runs side by side: which of them differ, and which are seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

__all__ = ["canonical", "differing_names", "is_seed"]

_SEED = re.compile(r"(?i)(?:.*seed|random_state|seed_everything)")


def is_seed(name: str) -> bool:
    """Whether a hyperparameter is a seed, by the last part of its name.

    Example:
        >>> [is_seed(name) for name in ("seed", "data.split_seed", "randomSeed", "random_state", "seedling", "lr")]
        [True, True, True, True, False, False]
    """
    return _SEED.fullmatch(re.split(r"[./]", name)[-1]) is not None


def differing_names(sides: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names whose value is not the same on all sides, in the order met.

    A missing one is a difference, but those with different values come first, and seeds last.

    Example:
        >>> differing_names([{"seed": 1, "lr": 0.1, "width": 8}, {"seed": 2, "lr": 0.2, "width": 8}])
        ('lr', 'seed')
    """
    names = dict.fromkeys(name for side in sides for name in side)
    values = {name: {canonical(side[name]) if name in side else None for side in sides} for name in names}
    differ = [name for name in names if len(values[name]) > 1]
    return tuple(sorted(differ, key=lambda name: (is_seed(name), len(values[name] - {None}) < 2)))  # noqa: PLR2004 - two values differ


def canonical(value: Any) -> bytes:  # noqa: ANN401 - whatever run.json holds
    """Equal bytes for equal values; 1 and 1.0 are equal.

    Example:
        >>> canonical({"b": 1.0, "a": [1]}) == canonical({"a": [1], "b": 1})
        True
    """
    return msgspec.json.encode(_whole(value), order="deterministic")


def _whole(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value
