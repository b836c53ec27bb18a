"""Hyperparameters as JSON can hold them."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from fitgate._files import encodable

__all__ = ["plain_hparams"]

_DEEPEST = 32
"""Of dicts and lists in each other: readers of JSON give up somewhere (DuckDB, ours at 100), and one that holds itself never ends."""


def plain_hparams(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, texts, lists and dicts as they are; anything else as its text, which can always be written as UTF-8.

    What lies deeper than 32 dicts and lists in each other is an abridged text too.

    Example:
        >>> from pathlib import Path
        >>> plain_hparams({"lr": 0.1, "data": Path("x"), "layers": (1, 2)})
        {'lr': 0.1, 'data': 'x', 'layers': [1, 2]}
    """
    return _plain_mapping(hparams, depth=0)


def _plain_mapping(hparams: Mapping[str, Any], *, depth: int) -> dict[str, Any]:
    return {encodable(str(key)): _plain(value, depth=depth + 1) for key, value in hparams.items()}


def _plain(value: Any, *, depth: int) -> Any:  # noqa: ANN401, PLR0911 -- one return for each kind of value
    if value is None or isinstance(value, bool):
        return value
    # A subclass, such as numpy's float64 or an enum of texts, as what it is underneath.
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= _DEEPEST:
        return encodable(reprlib.repr(value))
    if isinstance(value, Mapping):
        return _plain_mapping(value, depth=depth)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth=depth + 1) for item in value]
    inner = value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else str(value)
    return encodable(str(inner)) if type(inner) in (str, type(value)) else _plain(inner, depth=depth)  # numpy's longdouble is its own item
