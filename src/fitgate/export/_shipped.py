"""What ships of a training checkpoint: weights, and hyperparameters that load without unpickling code.

`torch.load(weights_only=True)` takes plain values, containers and tensors. Other values are converted where something plain says
the same (a path is its text), or left out; either is named, for the manifest.
"""

from __future__ import annotations

import dataclasses
import enum
import io
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

__all__ = ["Shipped", "shipped_checkpoint"]

# What a fit needs to go on, and nobody to deploy.
_TRAINING = frozenset(
    {
        "optimizer_states",
        "lr_schedulers",
        "callbacks",
        "loops",
        "native_amp_scaling_state",
        "amp_scaling_state",
        "MixedPrecision",
        "MixedPrecisionPlugin",
        # Weight averaging keeps the weights that were not averaged, and its counters.
        "current_model_state",
        "averaging_state",
        # The class of the hyperparameters' container; a dict does.
        "hparams_type",
        "datamodule_hparams_type",
    }
)
_HPARAMS = ("hyper_parameters", "datamodule_hyper_parameters")


@dataclass(frozen=True)
class Shipped:
    """The content of model.ckpt.

    Attributes:
        content: keys as in a Lightning checkpoint.
        converted: name of a value, "from" and "to" type.
        left_out: name of a value, and its type.
    """

    content: dict[str, Any]
    converted: tuple[dict[str, str], ...] = ()
    left_out: tuple[dict[str, str], ...] = ()


def shipped_checkpoint(source: Mapping[str, Any]) -> Shipped:
    """Take what ships of a checkpoint: all but what only training needs.

    Example:
        >>> from pathlib import Path
        >>> shipped = shipped_checkpoint({"state_dict": {}, "hyper_parameters": {"data": Path("x"), "f": print}, "loops": {}})
        >>> shipped.content
        {'state_dict': {}, 'hyper_parameters': {'data': 'x'}}
        >>> [entry["name"] for entry in shipped.converted], [entry["name"] for entry in shipped.left_out]
        (['data'], ['f'])
    """
    converted: list[dict[str, str]] = []
    left_out: list[dict[str, str]] = []
    content: dict[str, Any] = {}

    for key, value in source.items():
        if key == "state_dict":
            content[key] = dict(value)
        elif key in _HPARAMS:
            content[key] = _plain_dict(_items(value), "", converted, left_out)
        elif key not in _TRAINING:
            content |= _plain_dict([(key, value)], "", converted, left_out)
    return Shipped(content, tuple(converted), tuple(left_out))


_LEFT_OUT = object()


def _plain(value: Any, name: str, converted: list[dict[str, str]], left_out: list[dict[str, str]]) -> Any:  # noqa: ANN401
    """`value` as it is where that loads safely, else converted, else `_LEFT_OUT`."""
    if _loads_safely(value):
        return value
    for applies, convert in _CONVERSIONS:
        if applies(value):
            plain = convert(value)
            if _loads_safely(plain):
                converted.append({"name": name, "from": _kind(value), "to": _kind(plain)})
                return plain
    if isinstance(value, Mapping | Namespace) or _is_record(value):
        if type(value) is not dict:
            converted.append({"name": name, "from": _kind(value), "to": "dict"})
        return _plain_dict(_items(value), f"{name}.", converted, left_out)
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(item, f"{name}[{index}]", converted, left_out) for index, item in enumerate(value)]
        kept = [item for item in items if item is not _LEFT_OUT]
        # A set whose items can't stand in one any longer is a list of them.
        into: type = (
            tuple if isinstance(value, tuple) else set if isinstance(value, set | frozenset) and all(map(_hashable, kept)) else list
        )
        if type(value) is not into:
            converted.append({"name": name, "from": _kind(value), "to": into.__name__})
        return into(kept)
    left_out.append({"name": name, "type": _kind(value)})
    return _LEFT_OUT


def _plain_dict(
    items: list[tuple[Any, Any]], prefix: str, converted: list[dict[str, str]], left_out: list[dict[str, str]]
) -> dict[Any, Any]:
    """The items with plain keys and values. One whose key can't be made plain, or not without meeting another, is left out."""
    found: dict[Any, Any] = {}
    # Keys that need no change come first: a converted one must not take the place of one of them.
    for key, value in sorted(items, key=lambda item: not _loads_safely(item[0])):
        name = f"{prefix}{key}"
        of_key: list[dict[str, str]] = []
        lost: list[dict[str, str]] = []
        plain_key = _plain(key, f"the key {name}", of_key, lost)
        if lost or not _hashable(plain_key) or plain_key in found:
            left_out.append({"name": name, "type": f"{_kind(value)} under a key of type {_kind(key)}"})
            continue
        plain = _plain(value, name, converted, left_out)
        if plain is not _LEFT_OUT:
            found[plain_key] = plain
            converted += of_key
    return found


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_record(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _items(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, Namespace):
        return list(vars(value).items())
    return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]


def _number(value: Any) -> Any:  # noqa: ANN401
    """A subclass of a number, such as numpy's float64, as what it is underneath."""
    kind = next(kind for kind in (int, float, complex) if isinstance(value, kind))
    return kind(value)


def _kind(value: object) -> str:
    return type(value).__name__


def _loads_safely(value: object) -> bool:
    import pickle  # noqa: PLC0415 - only its error is used

    import torch  # noqa: PLC0415 - the core loads torch only to export

    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError, RuntimeError, ValueError, RecursionError):
        return False
    return True


# In order: what applies first is tried first.
_CONVERSIONS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (lambda value: isinstance(value, PurePath), str),
    (lambda value: isinstance(value, enum.Enum), lambda value: value.value),
    (lambda value: isinstance(value, str), str.__str__),
    (lambda value: isinstance(value, bool | int | float | complex), _number),
    (lambda value: hasattr(value, "item") and getattr(value, "shape", None) == (), lambda value: value.item()),
    (lambda value: hasattr(value, "tolist") and hasattr(value, "dtype"), lambda value: value.tolist()),
)
