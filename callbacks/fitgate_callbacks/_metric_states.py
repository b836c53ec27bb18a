"""The module's torchmetrics objects across a resume: amid an epoch they hold what Lightning's checkpoint leaves out."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

import torch
from torchmetrics import Metric, MetricCollection

__all__ = ["metric_states", "restore_metric_states"]


def metric_states(module: torch.nn.Module, *, reset_soon: Container[int]) -> dict[str, Any]:
    """The states of all torchmetrics objects in a module that have been updated since their last reset.

    Args:
        module: what holds them.
        reset_soon: identities of those that Lightning will have reset before they are updated again.

    Returns:
        By the object's name in the module: how often it was updated, and copies of its states on the CPU.
    """
    for part in module.modules():
        if isinstance(part, MetricCollection):
            # The objects of a compute group share the states of the first, and get them when they are asked for.
            part.items(keep_base=True, copy_state=False)
    return {
        name: {"updates": part.update_count, "states": {key: _copied(state) for key, state in part.metric_state.items()}}
        for name, part in module.named_modules()
        if isinstance(part, Metric) and part.update_count and id(part) not in reset_soon
    }


def restore_metric_states(module: torch.nn.Module, states: dict[str, Any]) -> None:
    """Give a module's torchmetrics objects the states that `metric_states` took; the others are as new."""
    for name, part in module.named_modules():
        if not isinstance(part, Metric):
            continue
        part.reset()
        saved = states.get(name)
        if saved is not None and saved["states"].keys() == part.metric_state.keys():
            for key, state in saved["states"].items():
                setattr(part, key, _moved(state, part.device))
            part._update_count = saved["updates"]  # noqa: SLF001 - running means depend on it, and there is no public way


def _copied(state: Any) -> Any:  # noqa: ANN401 - a tensor, a list of them, or what a metric keeps in a list
    if isinstance(state, list):
        return [_copied(item) for item in state]
    return state.detach().cpu().clone() if isinstance(state, torch.Tensor) else copy.deepcopy(state)


def _moved(state: Any, device: torch.device) -> Any:  # noqa: ANN401 - likewise
    if isinstance(state, list):
        return [_moved(item, device) for item in state]
    return state.to(device) if isinstance(state, torch.Tensor) else state
