"""Functions over a module made anew over its copy: in their cells, their defaults and what they are bound to."""

from __future__ import annotations

import copy
import functools
import types
from contextlib import suppress
from typing import Any

__all__ = ["rebound"]


def rebound(value: Any, memo: dict[int, Any], around: tuple[int, ...] = ()) -> Any:  # noqa: ANN401 - an attribute of the copy
    """The attribute with each function in it made anew over the copy. No container is changed in place: it may be shared.

    `around` are the containers that it lies in, since one may hold itself.
    """
    if isinstance(value, types.FunctionType):
        return _function(value, memo)
    if isinstance(value, functools.partial):
        args = [rebound(item, memo, around) for item in value.args]
        keywords = {key: rebound(item, memo, around) for key, item in value.keywords.items()}
        return type(value)(rebound(value.func, memo, around), *args, **keywords)
    if id(value) in around or not isinstance(value, dict | list | tuple):
        return value
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    found = {key: rebound(item, memo, (*around, id(value))) for key, item in items}
    changed = {key: found[key] for key, item in items if found[key] is not item}
    if not changed:
        return value
    if isinstance(value, tuple):
        return tuple(found.values()) if type(value) is tuple else value
    twin = copy.copy(value)
    for key, item in changed.items():
        twin[key] = item
    return twin


def _function(function: types.FunctionType, memo: dict[int, Any]) -> types.FunctionType:
    """The function with copies in its cells and defaults; itself where it holds nothing that is copied."""
    if id(function) in memo:
        known: types.FunctionType = memo[id(function)]
        return known
    if not (function.__closure__ or function.__defaults__ or function.__kwdefaults__):
        return function
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    twin = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, cells or None)
    functools.update_wrapper(twin, function)
    twin.__dict__.pop("__wrapped__", None)
    twin.__dict__.update(function.__dict__)
    memo[id(function)] = twin
    twin.__defaults__ = tuple(_held(item, memo) for item in function.__defaults__) if function.__defaults__ else None
    twin.__kwdefaults__ = {k: _held(v, memo) for k, v in function.__kwdefaults__.items()} if function.__kwdefaults__ else None
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # one that is not filled yet
            cell.cell_contents = _held(old.cell_contents, memo)
    return twin


def _held(value: Any, memo: dict[int, Any]) -> Any:  # noqa: ANN401 - whatever a function holds
    """What a function holds, for the copy: modules, tensors and containers copied, and of all else what the copy has of it."""
    import torch  # noqa: PLC0415

    if isinstance(value, types.FunctionType):
        return _function(value, memo)
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, torch.nn.Module | torch.Tensor | types.MethodType | functools.partial | list | dict | set | tuple):
        try:
            return rebound(copy.deepcopy(value, memo), memo)
        except Exception:  # noqa: BLE001 - it is shared then
            return value
    return value
