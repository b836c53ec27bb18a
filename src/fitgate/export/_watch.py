"""Making sure that a copy's forward is the copy's own: nothing of the live module is read, and nothing of it changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fitgate.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fitgate.export._example import Example

__all__ = ["reads_live", "unchanged"]

_THROUGH = "through a closure, a global or an attribute that can't be copied; an export would not hold the checkpoint's weights"


class _ReadsLive(BaseException):
    """Stops forward before anything of the live module is used. No `Exception`: a model's own handlers must not take it."""


def reads_live(model: nn.Module, live: nn.Module, example: Example) -> str | None:
    """In words, what of the live module the forward of its copy reads; None when it reads nothing of it.

    Each operation's tensors are compared, by where they lie in memory, with the live module's, and each module that is called
    with its modules, before the operation runs. Source: `torch.utils._python_dispatch` in PyTorch's documentation of extending it.
    """
    import torch  # noqa: PLC0415 - the core loads torch only to export
    from torch.nn.modules.module import register_module_forward_pre_hook  # noqa: PLC0415
    from torch.utils._python_dispatch import TorchDispatchMode  # noqa: PLC0415
    from torch.utils._pytree import tree_leaves  # noqa: PLC0415

    places = {place: name for name, tensor in _tensors(live).items() if (place := _place(tensor))}
    modules = {id(child): name or type(live).__name__ for name, child in live.named_modules()}

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own, as the next
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's signature
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, torch.Tensor) and (name := places.get(_place(leaf))) is not None:
                    raise _ReadsLive(name)
            return func(*args, **(kwargs or {}))

    def called(module: nn.Module, _: Any) -> None:  # noqa: ANN401 - its arguments
        if id(module) in modules:
            raise _ReadsLive(modules[id(module)])

    handle = register_module_forward_pre_hook(called)
    given = example.at(2)
    try:
        with torch.no_grad(), Watch():  # type: ignore[no-untyped-call]
            model(*given.args, **given.kwargs)
    except _ReadsLive as found:
        return f"{type(live).__name__}.forward reads the live module's {str(found)!r} {_THROUGH}"
    except Exception:  # noqa: BLE001 - whoever runs it unwatched meets the same, or it was the watching
        return None
    finally:
        handle.remove()
    return None


@contextmanager
def unchanged(live: nn.Module | None) -> Iterator[None]:
    """Whatever runs inside leaves the live module's tensors and modes as they were.

    Raises:
        ExportError: something was changed; it is set back.
    """
    import torch  # noqa: PLC0415

    if live is None:
        yield
        return
    before = {name: (tensor, _count(tensor), tensor.detach().to("cpu", copy=True)) for name, tensor in _tensors(live).items()}
    modes = [(child, child.training) for child in live.modules()]
    try:
        yield
    finally:
        changed = [name for name, (tensor, count, _) in before.items() if _count(tensor) != count]
        with torch.no_grad():
            for name in changed:
                before[name][0].copy_(before[name][2])
        switched = [child for child, training in modes if child.training != training]
        for child, training in modes:
            child.training = training
    if changed or switched:
        what = f"{', '.join(changed[:3])} of" if changed else "the mode of"
        message = f"exporting changed {what} the live {type(live).__name__}, {_THROUGH}; it was set back"
        raise ExportError(message)


def _tensors(module: nn.Module) -> Mapping[str, Tensor]:
    from torch.nn.parameter import is_lazy  # noqa: PLC0415

    return {name: tensor for name, tensor in (*module.named_parameters(), *module.named_buffers()) if not is_lazy(tensor)}


def _place(tensor: Tensor) -> int:
    """Where a tensor lies in memory; 0 for one that lies nowhere."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # of a kind without a storage
        return 0


def _count(tensor: Tensor) -> int:
    """How often it was written to."""
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001 - as autograd tells
