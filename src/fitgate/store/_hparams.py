"""Hyperparameters as JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["plain_hparams"]


def plain_hparams(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, texts, lists and dicts as they are; anything else as its text.

    Example:
        >>> from pathlib import Path
        >>> plain_hparams({"lr": 0.1, "data": Path("x"), "layers": (1, 2)})
        {'lr': 0.1, 'data': 'x', 'layers': [1, 2]}
    """
    return {str(key): _plain(value) for key, value in hparams.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)  # a subclass, such as numpy's float64 or an enum of texts, as what it is underneath
    if isinstance(value, Mapping):
        return plain_hparams(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    return str(value)
