"""The step values in Lightning's private result collections, each taken once for each time it was logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fitgate_callbacks._values import not_one_number, number_or_tensor

__all__ = ["StepValues", "axis_of"]


def axis_of(value: Any) -> Any:  # noqa: ANN401 - a tensor or a number
    """A step: a whole number, or a tensor on a device that will be fetched with the values."""
    step = number_or_tensor("step", value)
    return step if isinstance(step, torch.Tensor) else int(step)


class StepValues:
    """The step values of one of Lightning's result collections, each given out once for each time it was logged.

    Args:
        results: the collection.
        step_is_axis: a metric named `step` is the x-axis of the others, as in training.
    """

    def __init__(self, results: Any, *, step_is_axis: bool = False) -> None:  # noqa: ANN401 - Lightning's private class
        self._results = results
        self._step_is_axis = step_is_axis
        self._planned = 0
        self._plans: dict[int | None, _Plan] = {}
        self._axis: _LastOf | None = None
        self.own_names: frozenset[str] = frozenset()

    @property
    def axis(self) -> Any:  # noqa: ANN401
        """The value of the metric named `step`, which stands until it is logged again; None where there is none."""
        axis = self._axis
        return None if axis is None or axis.has_reset or axis._forward_cache is None else axis_of(axis._forward_cache)  # noqa: SLF001

    def take(self) -> tuple[tuple[str, ...], list[Any]]:
        """Names and values of what was logged since the last call, for the loader that runs now."""
        results = self._results
        if len(results) != self._planned:
            self._plan_again()
        plan = self._plans.get(results.dataloader_idx)
        return plan.take() if plan is not None else ((), [])

    def _plan_again(self) -> None:
        self._planned = len(self._results)
        by_name: dict[int | None, dict[str, list[Any]]] = {}
        for metric in self._results.values():
            if metric.meta.on_step and metric.meta.logger:
                names = by_name.setdefault(metric.meta.dataloader_idx, {})
                names.setdefault(self._results._forked_name(metric, True)[1], []).append(metric)  # noqa: SLF001, FBT003 - Lightning's signature
        if self._step_is_axis:
            axis = by_name.get(None, {}).pop("step", None)
            self._axis = _LastOf(axis) if axis is not None else None
        self._plans = {loader: _Plan(names, self._plans.get(loader)) for loader, names in by_name.items()}
        self.own_names = frozenset(m.meta.name for m in self._results.values() if m.meta.logger)


class _Plan:
    """What to look at after each batch, worked out when a new name appears.

    Each log makes a new tensor and the one given out last is kept alive here, so the same object means: not logged
    again. Only a torchmetrics object can keep its tensor though it was logged again; there its count of updates tells.
    """

    def __init__(self, by_name: Mapping[str, list[Any]], before: _Plan | None) -> None:
        self._names = tuple(by_name)
        self._metrics = [metrics[0] if len(metrics) == 1 else _LastOf(metrics) for metrics in by_name.values()]
        given = before.given() if before is not None else {}
        self._caches = [given.get(name, (None, 0))[0] for name in by_name]
        self._counts = [given.get(name, (None, 0))[1] for name in by_name]
        self._objects = [i for i, metric in enumerate(self._metrics) if not metric.is_tensor]

    def take(self) -> tuple[tuple[str, ...], list[Any]]:
        names, caches = self._names, self._caches
        kept: list[str] | None = None
        values: list[Any] = []
        for i, metric in enumerate(self._metrics):
            cache = metric._forward_cache  # noqa: SLF001
            if cache is None or (cache is caches[i] and (metric.is_tensor or metric._update_count == self._counts[i])):  # noqa: SLF001
                kept = list(names[:i]) if kept is None else kept
                continue
            caches[i] = cache
            try:
                values.append(cache.item() if cache.is_cpu else number_or_tensor(names[i], cache))
            except RuntimeError:
                not_one_number(names[i], cache)
            if kept is not None:
                kept.append(names[i])
        for i in self._objects:
            self._counts[i] = self._metrics[i]._update_count  # noqa: SLF001
        # The same tuple as long as the same names come: whoever groups records by names then compares one object.
        return (names if kept is None else tuple(kept)), values

    def given(self) -> dict[str, tuple[Any, int]]:
        """By name, the tensor that was given out last and the count of updates."""
        return {name: (cache, count) for name, cache, count in zip(self._names, self._caches, self._counts, strict=True)}


class _LastOf:
    """One name logged in several hooks: loggers get the value of the hook that came to log it last of all."""

    is_tensor = True

    def __init__(self, metrics: list[Any]) -> None:
        self._metrics = metrics[::-1]

    @property
    def _valid(self) -> Any:  # noqa: ANN401
        return next((m for m in self._metrics if m._forward_cache is not None and not m.has_reset), self._metrics[0])  # noqa: SLF001

    @property
    def _forward_cache(self) -> Any:  # noqa: ANN401
        return self._valid._forward_cache  # noqa: SLF001

    @property
    def has_reset(self) -> bool:
        return bool(self._valid.has_reset)

    @property
    def _update_count(self) -> int:
        return int(self._valid._update_count)  # noqa: SLF001
