"""The module's torchmetrics objects across a resume: amid an epoch they hold what Lightning's checkpoint leaves out.

One that is persistent is in the module's own state, which Lightning restores, but for the count of its updates.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torchmetrics import Metric, MetricCollection

__all__ = ["ObjectState", "kept_states", "metric_states", "object_states", "restore_metric_states", "update_counts"]


@dataclass(frozen=True)
class ObjectState:
    """One torchmetrics object at one instant.

    Attributes:
        name: its name in the module.
        part: the object.
        updates: how often it was updated since its last reset.
        states: by name, where they are.
    """

    name: str
    part: Metric
    updates: int
    states: Mapping[str, Any]


def update_counts(module: torch.nn.Module) -> dict[str, int]:
    """How often each torchmetrics object in a module was updated since its last reset, by its name in the module."""
    return {name: part.update_count for name, part in _metrics(module)}


def object_states(module: torch.nn.Module) -> list[ObjectState]:
    """The states of each torchmetrics object in a module; a later update may write to them."""
    for part in module.modules():
        if isinstance(part, MetricCollection) and not getattr(part, "_state_is_copy", False):
            # The objects of a compute group share the states of the first, and get them when they are asked for; not one that somebody has
            # taken out of it, with a copy of its own: the collection would forget that.
            part.items(keep_base=True, copy_state=False)
    return [ObjectState(name, part, part.update_count, part.metric_state) for name, part in _metrics(module)]


def kept_states(module: torch.nn.Module) -> list[ObjectState]:
    """Copies of them, on the same device: nothing waits for it. What a list holds is only added to."""
    return [replace(each, states={key: _kept(state) for key, state in each.states.items()}) for each in object_states(module)]


def metric_states(found: Iterable[ObjectState], *, reset_soon: Container[int], unless: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The states of all torchmetrics objects that have been updated since their last reset, as a checkpoint takes them.

    Args:
        found: as `object_states` gave them.
        reset_soon: identities of those that Lightning will have reset before they are updated again.
        unless: counts as `update_counts` gave them; those that were updated since are left out.

    Returns:
        By the object's name in the module: how often it was updated, and copies of its states on the CPU.
    """
    return {
        each.name: {"updates": each.updates, "states": {key: _copied(state) for key, state in each.states.items()}}
        for each in found
        if (each.updates or _is_persistent(each.part))
        and id(each.part) not in reset_soon
        and (unless is None or unless.get(each.name) == each.updates)
    }


def restore_metric_states(module: torch.nn.Module, states: dict[str, Any], *, within: Iterable[str] = ("",)) -> None:
    """Give a module's torchmetrics objects the states that `metric_states` took; others that were updated since are as new.

    Args:
        module: the whole of it.
        states: by name.
        within: only in these parts of it. Elsewhere what the module's own state brings back stays as it is.
    """
    inside = {id(part) for each in within for _, part in _metrics(module.get_submodule(each))}
    for name, part in _metrics(module):
        is_inside = id(part) in inside
        saved = states.get(name) if is_inside else None
        # One that was never updated here is as new, or as somebody loaded it.
        if saved is not None or (part.update_count and (is_inside or not _is_persistent(part))):
            part.reset()
        if saved is not None and saved["states"].keys() == part.metric_state.keys():
            for key, state in saved["states"].items():
                setattr(part, key, _moved(state, part.device))
            part._update_count = saved["updates"]  # noqa: SLF001 - running means depend on it, and there is no public way


def _metrics(module: torch.nn.Module) -> Iterator[tuple[str, Metric]]:
    return ((name, part) for name, part in module.named_modules() if isinstance(part, Metric))


def _is_persistent(part: Metric) -> bool:
    return any(part._persistent.values())  # noqa: SLF001 - there is no public way


def _kept(state: Any) -> Any:  # noqa: ANN401 - a tensor, a list of them, or what a metric keeps in a list
    if isinstance(state, list):
        return list(state)
    return state.detach().clone() if isinstance(state, torch.Tensor) else copy.deepcopy(state)


def _copied(state: Any) -> Any:  # noqa: ANN401 - likewise
    if isinstance(state, list):
        return [_copied(item) for item in state]
    return state.detach().cpu().clone() if isinstance(state, torch.Tensor) else copy.deepcopy(state)


def _moved(state: Any, device: torch.device) -> Any:  # noqa: ANN401 - likewise
    if isinstance(state, list):
        return [_moved(item, device) for item in state]
    return state.to(device) if isinstance(state, torch.Tensor) else state
