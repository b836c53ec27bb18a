"""A copy of the live module that is whole in itself: every reference back to the module leads to the copy.

`copy.deepcopy` takes functions as they are, and a closure over the module goes on reading the live one: such functions are made
anew by `fitgate.export._rebind`. What can't be made so is found by `fitgate.export._watch`.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fitgate.errors import ExportError
from fitgate.export._messages import short
from fitgate.export._rebind import rebound

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["COMPILED", "copy_module"]

COMPILED = "_orig_mod"
# What Lightning sets on the instance for a compiled module, beside the context that remembers the real ones.
_COMPILED_METHODS = ("forward", "training_step", "validation_step", "test_step", "predict_step")


def copy_module(module: nn.Module) -> nn.Module:
    """A copy that shares no tensor with `module`, and runs uncompiled. Weights on an accelerator are copied to the CPU.

    Where `deepcopy` fails (a lock, an open file, a tensor with a graph behind it), modules and tensors are copied one by one
    and what can't be copied is shared.

    Raises:
        ExportError: that fails as well.
    """
    try:
        real = _uncompiled(module)
        twin: nn.Module = object.__new__(type(real))
        # The twin stands in the memo from the start: a bound method kept as an attribute would make a second one otherwise.
        memo: dict[int, Any] = {id(real): twin, id(module): twin}
        _take_off_accelerators(real, memo)
        try:
            twin = _deep(real, twin, memo)
        except Exception:  # noqa: BLE001 - whatever an attribute raises that does not like to be copied
            memo = {}
            twin = _copy_by_parts(real, memo)
            memo[id(module)] = twin
    except Exception as error:
        message = f"{type(module).__name__} can't be copied, and export works on a copy: {type(error).__name__}: {short(error)}"
        raise ExportError(message) from error
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if COMPILED in child._modules:  # noqa: SLF001 - where torch.compile keeps the real module
                parent._modules[name] = child._modules[COMPILED]  # noqa: SLF001
    for each in list(twin.modules()):
        for name, value in list(vars(each).items()):
            if name not in {"_parameters", "_buffers", "_modules"}:
                vars(each)[name] = rebound(value, memo)
    return twin


def _deep(real: nn.Module, twin: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """What `copy.deepcopy` does, into the twin; a class that has its own way makes another."""
    state = _plain_state(real)
    if hasattr(type(real), "__deepcopy__"):
        shell: nn.Module = object.__new__(type(real))
        shell.__dict__.update(state)
        for alias in [key for key, value in memo.items() if value is twin]:
            del memo[alias]
        copied: nn.Module = copy.deepcopy(shell, memo)
        return copied
    twin.__setstate__(copy.deepcopy(state, memo))  # type: ignore[no-untyped-call]  # torch's own
    return twin


def _uncompiled(module: nn.Module) -> nn.Module:
    while COMPILED in module._modules:  # noqa: SLF001
        inner = module._modules[COMPILED]  # noqa: SLF001
        assert inner is not None
        module = inner
    return module


def _plain_state(module: nn.Module) -> dict[str, Any]:
    """What a module would be pickled as, less what compiling put on the instance: Lightning's leave their trainer out."""
    state: dict[str, Any] = dict(module.__getstate__())  # type: ignore[no-untyped-call]  # object's own, where the class has none
    if state.get("_compiler_ctx") is not None:
        state["_compiler_ctx"] = None
        for name in _COMPILED_METHODS:
            state.pop(name, None)
    return state


def _take_off_accelerators(module: nn.Module, memo: dict[int, Any]) -> None:
    """A second copy of the weights there, were it only for a moment, may not fit."""
    import torch  # noqa: PLC0415 - the core loads torch only to export

    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device.type not in {"cpu", "meta"} and type(tensor) in {torch.Tensor, torch.nn.Parameter}:
            _copy_tensor(tensor, memo)


def _copy_by_parts(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    import torch  # noqa: PLC0415 - the core loads torch only to export

    if id(module) in memo:
        found: nn.Module = memo[id(module)]
        return found
    twin: nn.Module = object.__new__(type(module))
    memo[id(module)] = twin
    state = _plain_state(module)
    twin.__dict__.update(state)
    for kind in ("_parameters", "_buffers"):
        twin.__dict__[kind] = {name: _copy_tensor(tensor, memo) for name, tensor in state[kind].items()}
    twin.__dict__["_modules"] = {n: None if m is None else _copy_by_parts(m, memo) for n, m in state["_modules"].items()}
    for name, value in state.items():
        if name in {"_parameters", "_buffers", "_modules"}:
            continue
        if isinstance(value, torch.Tensor):
            twin.__dict__[name] = _copy_tensor(value, memo)
            continue
        with suppress(Exception):  # it is shared then
            twin.__dict__[name] = copy.deepcopy(value, memo)
    return twin


def _copy_tensor(tensor: Tensor | None, memo: dict[int, Any]) -> Tensor | None:
    from torch import nn  # noqa: PLC0415

    if tensor is None:
        return None
    if id(tensor) not in memo:
        twin = tensor.detach().cpu() if tensor.device.type not in {"cpu", "meta"} else tensor.detach().clone()
        memo[id(tensor)] = nn.Parameter(twin, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else twin
    copied: Tensor = memo[id(tensor)]
    return copied
