"""What is exported: what ships of a checkpoint, the eager model with its weights, and an example input."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fitgate.errors import ExportError
from fitgate.export._copy import copy_module
from fitgate.export._eager import call, plain_names, with_weights
from fitgate.export._example import Example, forward_of, has_forward, make_example
from fitgate.export._messages import short
from fitgate.export._quiet import quiet
from fitgate.export._shipped import Shipped, shipped_checkpoint
from fitgate.export._watch import reads_live
from fitgate.registry import Signature, TensorSpec

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

__all__ = ["Subject", "make_subject", "rehearsal"]

_TRACED_BATCH = 2  # torch.export takes 1 for a constant, not for a dimension


class Subject:
    """A model about to be exported.

    Attributes:
        checkpoint: what ships, and what of its hyperparameters was converted or left out.
        model: the eager model in eval mode on the CPU; None when only weights are exported and no module was given.
        example: an example input; None when there is none.
        signature: what the model takes and gives; None without an example.
        why_no_outputs: in words, why there are no outputs to compare; None when there are.
    """

    def __init__(self, checkpoint: Shipped, model: nn.Module | None, example: Example | None, why_no_outputs: str | None) -> None:
        self.checkpoint = checkpoint
        self.model = model
        self.example = example
        self.why_no_outputs = why_no_outputs
        self.signature = _signature(model, example) if model is not None and example is not None else None

    @property
    def shipped(self) -> Mapping[str, Any]:
        """The content of model.ckpt."""
        return self.checkpoint.content

    @property
    def state(self) -> Mapping[str, Any]:
        """The state dict that ships."""
        state: Mapping[str, Any] = self.checkpoint.content["state_dict"]
        return state

    @functools.cached_property
    def program(self) -> ExportedProgram:
        """The graph of forward, with a dynamic batch dimension.

        Raises:
            ExportError: forward can't be traced, or fixes the batch size.
        """
        import torch  # noqa: PLC0415 - the core loads torch only to export

        assert self.model is not None
        assert self.example is not None
        traced = self.example.at(_TRACED_BATCH)
        batch = torch.export.Dim("batch")
        shapes = [{0: batch} if batched else None for batched in traced.batched]
        bound_shapes = _bind(self.model, shapes, traced)
        try:
            with quiet(), torch.no_grad():
                return torch.export.export(self.model, traced.args, dict(traced.kwargs), dynamic_shapes=bound_shapes, strict=False)
        except Exception as error:
            name = type(self.model).__name__
            message = f"{name}.forward can't be written down as a graph with a dynamic batch dimension: {short(error)}"
            raise ExportError(message) from error


def make_subject(checkpoint: Mapping[str, Any], module: nn.Module | None, example_input: object, *, graph: bool) -> Subject:
    """Gather what is exported.

    Args:
        checkpoint: as a ModelCheckpoint writes it.
        module: the live module; only read.
        example_input: for `make_example`; None when there is none.
        graph: a graph will be written, so module and example must do; else they are used as far as they do.

    Raises:
        ExportError: the weights don't fit the module; with `graph`, its forward fails on the example, or reads the live module.
    """
    content = {**checkpoint, "state_dict": plain_names(checkpoint["state_dict"])}
    shipped = shipped_checkpoint(content)
    model: nn.Module | None = None
    why: str | None
    try:
        if module is None:
            why = "no module was given"
        else:
            model = copy_module(module)
            why = None if has_forward(model) else f"{type(model).__name__} has no forward"
            if why is None and example_input is None:
                why = "there is no example input"
    except ExportError as error:
        why = str(error)
    if model is not None:
        model = with_weights(model, content)
    if why is None and model is not None:
        try:
            example = make_example(example_input, model)
            why = reads_live(model, module, example) if module is not None else None
            if why is None:
                return Subject(shipped, model, example, None)
        except ExportError as error:
            why = str(error)
    if graph:
        raise ExportError(why)
    return Subject(shipped, model, None, why)


def rehearsal(module: nn.Module, example_input: object) -> Subject:
    """What would be exported of the module as it is now: a copy of it, and the example that it was tried on. For use before training.

    Raises:
        ExportError: forward fails on the example, or reads the live module.
    """
    model = copy_module(module).cpu().eval()
    example = make_example(example_input, model)
    if why := reads_live(model, module, example):
        raise ExportError(why)
    model.requires_grad_(requires_grad=False)  # only now: a lazy layer has its weights since its first forward
    return Subject(shipped_checkpoint({"state_dict": model.state_dict()}), model, example, None)


def _signature(model: nn.Module, example: Example) -> Signature:
    """Dtypes and shapes of inputs and outputs; -1 where the size is that of the batch, at 2 and at 3 samples."""
    calls = {batch: call(model, example.at(batch)) for batch in (2, 3)}
    outputs = []
    for (name, two), (_, three) in zip(calls[2], calls[3], strict=True):
        outputs.append(TensorSpec(name=name, dtype=_dtype(two), shape=_shape(two.shape, three.shape)))
    inputs = []
    for name, two, three in zip(example.names, example.at(2).tensors, example.at(3).tensors, strict=True):
        inputs.append(TensorSpec(name=name, dtype=_dtype(two), shape=_shape(two.shape, three.shape)))
    return Signature(inputs=tuple(inputs), outputs=tuple(outputs))


def _shape(two: Any, three: Any) -> tuple[int, ...]:  # noqa: ANN401 - torch.Size
    return tuple(a if a == b else -1 for a, b in zip(two, three, strict=True))


def _dtype(tensor: Any) -> str:  # noqa: ANN401 - a tensor; torch is not loaded here
    return str(tensor.dtype).removeprefix("torch.")


def _bind(model: nn.Module, shapes: list[Any], example: Example) -> dict[str, Any]:
    """The shapes as torch.export wants them: by parameter, those of `*args` and `**kwargs` gathered."""
    import inspect  # noqa: PLC0415 - for this alone

    count = len(example.args)
    keywords = dict(zip(example.kwargs, shapes[count:], strict=True))
    return dict(inspect.signature(forward_of(model)).bind(*shapes[:count], **keywords).arguments)
