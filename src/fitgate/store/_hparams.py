"""Hyperparameters as JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fitgate._files import encodable

__all__ = ["plain_hparams"]


def plain_hparams(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, texts, lists and dicts as they are; anything else as its text, which can always be written as UTF-8.

    Example:
        >>> from pathlib import Path
        >>> plain_hparams({"lr": 0.1, "data": Path("x"), "layers": (1, 2)})
        {'lr': 0.1, 'data': 'x', 'layers': [1, 2]}
    """
    return {encodable(str(key)): _plain(value) for key, value in hparams.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, bool):
        return value
    # A subclass, such as numpy's float64 or an enum of texts, as what it is underneath.
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return plain_hparams(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    inner = value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else str(value)
    return encodable(str(inner)) if type(inner) in (str, type(value)) else _plain(inner)  # numpy's longdouble is its own item
