"""The example input: what a model is traced with, proven on and timed with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fitgate.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Example", "check_example", "example_from_batch", "few_samples", "fits_forward", "forward_of", "has_forward", "make_example"]

_EXPECTED = "expected a tensor, a tuple of tensors (positional arguments of forward) or a dict of tensors (keyword arguments)"
# A LightningModule without a forward of its own has this one, which only raises.
_NO_FORWARD = frozenset({"LightningModule.forward", "_forward_unimplemented", "Module._forward_unimplemented"})


@dataclass(frozen=True)
class Example:
    """Inputs of a model's forward, as tensors on the CPU.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        names: a name for each tensor, those of forward's parameters, positional ones first.
        batched: for each tensor whether its first dimension is the batch. A tensor whose first dimension is not that of the
            first tensor is taken as one of fixed shape.
    """

    args: tuple[Tensor, ...]
    kwargs: Mapping[str, Tensor]
    names: tuple[str, ...]
    batched: tuple[bool, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in the order of `names`."""
        return (*self.args, *self.kwargs.values())

    def at(self, batch: int) -> Example:
        """The same example with `batch` samples: cut off, or repeated from the first."""
        import torch  # noqa: PLC0415 - the core loads torch only to export

        def resized(tensor: Tensor, batched: bool) -> Tensor:  # noqa: FBT001 - a pair from two rows
            return tensor[torch.arange(batch) % tensor.shape[0]].clone() if batched else tensor.clone()

        return self.holding([resized(t, b) for t, b in zip(self.tensors, self.batched, strict=True)])

    def holding(self, tensors: Sequence[Tensor]) -> Example:
        """The same arguments with other tensors."""
        args = tuple(tensors[: len(self.args)])
        return Example(args, dict(zip(self.kwargs, tensors[len(self.args) :], strict=True)), self.names, self.batched)


def check_example(value: object) -> None:
    """Check an `example_input` where it is given.

    Raises:
        TypeError: it is neither tensors nor arrays, nor a tuple or dict of them.
    """
    if isinstance(value, Mapping):
        items = list(value.values())
        if not all(isinstance(key, str) for key in value):
            items = [value]
    else:
        items = list(value) if isinstance(value, tuple | list) else [value]
    wrong = [item for item in items if not hasattr(item, "shape") or not hasattr(item, "dtype")]
    if wrong or not items:
        message = f"example_input: {_EXPECTED}, got {_described(value)}"
        raise TypeError(message)


def make_example(value: object, module: nn.Module) -> Example:
    """Arguments of a module's forward from what was given, by Lightning's rule for `example_input_array`.

    Args:
        value: a tensor is the one argument, a tuple the positional ones, a dict the keyword ones. NumPy arrays will do.
        module: whose forward takes it.

    Raises:
        ExportError: forward doesn't take that, or a tensor has no batch dimension.
    """
    signature = fits_forward(value, module)
    args, kwargs = _arguments(value)
    args, kwargs = tuple(map(_tensor, args)), {name: _tensor(item) for name, item in kwargs.items()}
    names = _names(signature, len(args), kwargs)
    tensors = (*args, *kwargs.values())
    first = tensors[0]
    if first.dim() == 0 or first.shape[0] == 0:
        message = f"example_input: its first dimension is the batch, with a sample in it at least; got the shape {tuple(first.shape)}"
        raise ExportError(message)
    return Example(args, kwargs, names, _batched(tensors))


def fits_forward(value: object, module: nn.Module) -> inspect.Signature:
    """Make sure that a module's forward takes these arguments; for nothing but their number and names.

    Raises:
        ExportError: it doesn't, or there is no forward.
    """
    check_example(value)
    args, kwargs = _arguments(value)
    if not has_forward(module):
        message = f"{type(module).__name__} has no forward"
        raise ExportError(message)
    signature = inspect.signature(forward_of(module))
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        message = f"example_input does not fit {type(module).__name__}.forward{signature}: {error}"
        raise ExportError(message) from error
    return signature


def few_samples(value: object, most: int) -> object:
    """The same arguments as tensors on the CPU with `most` samples at the most. What has no batch dimension stays whole.

    Which tensors are batched is told on the example as it was given, and stays so: where one of fixed shape has as many rows as there
    would be samples, fewer samples are kept, or all.
    """
    args, kwargs = _arguments(value)
    tensors = tuple(map(_tensor, (*args, *kwargs.values())))
    batched = _batched(tensors)
    taken = {t.shape[0] for t, with_batch in zip(tensors, batched, strict=True) if t.dim() and not with_batch}
    count = next((n for n in range(most, 0, -1) if n not in taken), None)
    few = iter([t[:count].clone() if with_batch else t for t, with_batch in zip(tensors, batched, strict=True)])
    if isinstance(value, Mapping):
        return dict(zip(kwargs, few, strict=True))
    return tuple(few) if isinstance(value, tuple | list) else next(few)


def _arguments(value: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(value, Mapping):
        return (), dict(value)
    return tuple(value) if isinstance(value, tuple | list) else (value,), {}


def _batched(tensors: Sequence[Tensor]) -> tuple[bool, ...]:
    first = tensors[0]
    return tuple(t.dim() > 0 and first.dim() > 0 and t.shape[0] == first.shape[0] for t in tensors)


def example_from_batch(batch: object, module: nn.Module) -> object:
    """What of a validation batch is forward's input; the rest is targets.

    A tensor is the input. Of a tuple as many of the first items as forward requires arguments: `(x, y)` gives `x`. Of a dict
    those keys that are parameters of forward; where none is and forward takes one argument, the first tensor.

    Returns:
        Something for `make_example`; None where the batch can't be read so.
    """
    if hasattr(batch, "shape"):
        return batch
    parameters = inspect.signature(forward_of(module)).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    found: object = None
    if isinstance(batch, Mapping):
        named = {p.name: batch[p.name] for p in parameters if p.name in batch and hasattr(batch[p.name], "shape")}
        tensors = [item for item in batch.values() if hasattr(item, "shape")]
        found = named or (tensors[0] if tensors and len(required) <= 1 else None)
    elif isinstance(batch, tuple | list) and batch:
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        count = max(len(required), 1) if not variadic or required else max(len(batch) - 1, 1)
        found = tuple(batch[:count])
    try:
        check_example(found)
    except TypeError:
        return None
    return found


def has_forward(module: nn.Module) -> bool:
    """Whether a module has a forward of its own, so that inputs have outputs."""
    return getattr(type(module).forward, "__qualname__", "") not in _NO_FORWARD


def forward_of(module: nn.Module) -> Callable[..., Any]:
    """A module's own forward: of a compiled one an attribute hides it."""
    bound: Callable[..., Any] = type(module).forward.__get__(module)
    return bound


def _names(signature: inspect.Signature, count: int, keywords: Iterable[str]) -> tuple[str, ...]:
    """The names of `count` positional arguments, then the keywords."""
    named = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = [p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL]
    positional = [named[i].name if i < len(named) else f"{rest[0]}_{i - len(named)}" for i in range(count)]
    return (*positional, *keywords)


def _tensor(value: Any) -> Tensor:  # noqa: ANN401 - a tensor or what torch makes one of
    import torch  # noqa: PLC0415

    tensor: Tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    return tensor.detach().cpu().clone()


def _described(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(f'{k!r}: {type(v).__name__}' for k, v in value.items()) or 'nothing'}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(type(v).__name__ for v in value) or 'nothing'}"
    return f"{type(value).__name__}: {value!r}"
