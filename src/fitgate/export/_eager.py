"""The eager model: a copy of the live module in eval mode, on the CPU, with the checkpoint's weights.

The live module is only read. What a checkpoint does not hold (plain attributes, non-persistent buffers) is the live module's, and
so are its hooks: they run in the copy, on the copy's own state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fitgate.errors import ExportError
from fitgate.export._copy import COMPILED, copy_module
from fitgate.export._messages import short
from fitgate.gate import DIFFERS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fitgate.export._example import Example

__all__ = ["call", "fill", "flat_outputs", "plain_names", "undisturbed", "with_weights"]


def with_weights(model: nn.Module, checkpoint: Mapping[str, Any]) -> nn.Module:
    """Fill a copy of the live module with the weights of `checkpoint`, for inference.

    Raises:
        ExportError: the weights don't fit it.
    """
    content = dict(checkpoint)
    hook = getattr(model, "on_load_checkpoint", None)
    try:
        if callable(hook):
            hook(content)  # as Lightning does before it loads the weights
        model.load_state_dict(content["state_dict"], strict=bool(getattr(model, "strict_loading", True)))
    except Exception as error:
        message = f"the checkpoint's weights don't fit {type(model).__name__}: {short(error)}"
        raise ExportError(message) from error
    return model.cpu().eval().requires_grad_(requires_grad=False)


def plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict with the names that the modules have when nothing is compiled.

    Example:
        >>> plain_names({"net._orig_mod.weight": 1, "bias": 2})
        {'net.weight': 1, 'bias': 2}
    """
    return {name.replace(f"{COMPILED}.", ""): value for name, value in state.items()}


def fill(model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
    """A copy of `model` whose every weight comes from `state`: what is not in there would show as NaN or 0.

    Raises:
        ExportError: `state` holds what the model has no place for.
    """
    import torch  # noqa: PLC0415 - the core loads torch only to export

    fresh = copy_module(model)
    with torch.no_grad():
        for name, tensor in fresh.state_dict().items():
            if isinstance(tensor, torch.Tensor) and name in model.state_dict():
                tensor.fill_(torch.nan if tensor.is_floating_point() else 0)
        _, unexpected = fresh.load_state_dict(dict(state), strict=False)
    if unexpected:
        message = f"{DIFFERS}: the model has no {', '.join(unexpected)}"
        raise ExportError(message)
    return fresh.eval()


def call(model: nn.Module, example: Example) -> list[tuple[str, Tensor]]:
    """The outputs of a forward, by name: `output`, `output_0` …, or the keys of a dict.

    Raises:
        ExportError: forward fails, or gives something other than tensors in tuples and dicts.
    """
    import torch  # noqa: PLC0415

    given = example.at(example.tensors[0].shape[0])  # a forward that writes to its input must not spoil the next
    try:
        with torch.no_grad():
            outputs = model(*given.args, **given.kwargs)
    except Exception as error:
        message = (
            f"{type(model).__name__}.forward fails on the example input in eval mode on the CPU: {type(error).__name__}: {short(error)}"
        )
        raise ExportError(message) from error
    return _unique(list(flat_outputs(outputs)), set(example.names))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever runs inside leaves random number generators as they were."""
    import random  # noqa: PLC0415 - its state alone

    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is meant
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def flat_outputs(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401 - whatever a forward returns
    """The tensors of what a forward returned, each with a name. None is left out, as in an exported graph.

    Raises:
        ExportError: there is something else among them.
    """
    import torch  # noqa: PLC0415

    if isinstance(value, torch.Tensor):
        yield name or "output", value.detach()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from flat_outputs(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from flat_outputs(item, f"{name or 'output'}_{index}")
    elif value is not None:
        message = f"forward must return tensors, in tuples or dicts, to be exported; {name or 'it'} is {type(value).__name__}"
        raise ExportError(message)


def _unique(outputs: list[tuple[str, Tensor]], taken: set[str]) -> list[tuple[str, Tensor]]:
    named = []
    for first, tensor in outputs:
        name = first
        while name in taken:  # an output that is called like an input is another value in a graph
            name = f"{name}_out"
        taken.add(name)
        named.append((name, tensor))
    return named
