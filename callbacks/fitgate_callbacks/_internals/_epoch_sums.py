"""What Lightning's private result collections have added up so far: of an epoch that a resume goes on with, of a running validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Trainer

__all__ = ["Sums", "finished", "go_on_summing", "running_sums", "sums_of", "unfinished"]

Sums = Mapping[str, tuple[Any, torch.Tensor | None]]


def running_sums(trainer: Trainer) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """Of each epoch mean that the running pass of validation logs, for its current loader: name, weighted sum, weight.

    The tensors are never written to: each log makes new ones. Nothing where Lightning's collection is another.
    """
    results: Any = getattr(trainer, "_results", None)
    try:
        return [
            (results._forked_name(metric, False)[1], metric.value, metric.cumulated_batch_size)  # noqa: SLF001, FBT003 - Lightning's signature
            for _, metric in results.valid_items()
            if metric.is_tensor and metric.meta.on_epoch and metric.meta.logger and metric.meta.is_mean_reduction
        ]
    except AttributeError:
        return []


def sums_of(results: Any) -> Sums:  # noqa: ANN401 - Lightning's private collection
    """By key, of what has been logged for the epoch: the value so far and its weight, if any, or the torchmetrics object that knows.

    The tensors are never written to: each log makes new ones.
    """
    return {
        key: (metric.value, getattr(metric, "cumulated_batch_size", None))
        for key, metric in results.items()
        if metric.meta.on_epoch and not metric.has_reset
    }


def unfinished(results: Any, sums: Sums, *, alone: bool) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - Lightning's private collection
    """By key, what each value that is due at the end of the epoch has come to so far, or the torchmetrics object that knows.

    What `on_train_start` logs is logged again on a resume. Sums that ranks will put together are not one rank's to keep.

    Args:
        results: the collection.
        sums: what it had summed up at the instant that counts, as `sums_of` gave it.
        alone: there are no other ranks.
    """
    found = {}
    for key, (value, weight) in sums.items():
        metric = results[key]
        meta = metric.meta
        if not meta.logger or key.startswith("on_train_start.") or not (alone or not meta.sync.should):
            continue
        entry = found[key] = {"name": results._forked_name(metric, False)[1]}  # noqa: SLF001, FBT003 - Lightning's signature
        if not metric.is_tensor:
            entry["object"] = meta.metric_attribute
        else:
            entry |= {"value": value, "weight": weight}
    return found


def go_on_summing(results: Any, sums: dict[str, dict[str, Any]]) -> None:  # noqa: ANN401 - Lightning's private collection
    """Put earlier sums under those that have begun anew, as the first summand. torchmetrics objects go on by themselves."""
    for key in [key for key in sums if key in results and not results[key].has_reset]:
        metric, before = results[key], sums.pop(key)
        if not metric.is_tensor:
            continue
        value = before["value"].to(metric.value.device)
        if metric.meta.is_max_reduction or metric.meta.is_min_reduction:
            metric.value = metric.meta.reduce_fx(value, metric.value)
        else:
            metric.value = value + metric.value
        if metric.meta.is_mean_reduction:
            metric.cumulated_batch_size = before["weight"].to(metric.value.device) + metric.cumulated_batch_size


def finished(sums: Mapping[str, dict[str, Any]], module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """By name, the epoch values of what was not logged again before the epoch's end; torchmetrics objects then begin anew."""
    values: dict[str, torch.Tensor] = {}
    for entry in sums.values():
        if "object" in entry:
            metric: Any = module.get_submodule(entry["object"])
            values[entry["name"]] = metric.compute()
        else:
            values[entry["name"]] = entry["value"] if entry["weight"] is None else entry["value"] / entry["weight"]
    for name in {entry["object"] for entry in sums.values() if "object" in entry}:
        module.get_submodule(name).reset()  # type: ignore[operator]  # a torchmetrics object
    return values
