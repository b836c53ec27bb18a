"""The step values in Lightning's private result collections, each taken once for each time it was logged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

    Attributes:
        has_axis: there is such a metric.
        own_names: all that was ever logged for loggers.
    """

    def __init__(self, results: Any, *, step_is_axis: bool = False) -> None:  # noqa: ANN401 - Lightning's private class
        self._results = results
        self._step_is_axis = step_is_axis
        self._planned = 0
        self._plans: dict[int | None, _Plan] = {}
        self._axis: _LastOf | None = None
        self.has_axis = False
        self.own_names: frozenset[str] = frozenset()

    @property
    def axis(self) -> Any:  # noqa: ANN401
        """The value of the metric named `step`, which stands until it is logged again; None where there is none."""
        axis = self._axis
        return None if axis is None or axis._forward_cache is None else axis_of(axis._forward_cache)  # noqa: SLF001

    def take(self) -> tuple[tuple[str, ...], Sequence[Any]]:
        """Names and values of what was logged since the last call, for the loader that runs now: floats in a tuple, or a list with tensors in it."""
        results = self._results
        if len(results) != self._planned:
            self._plan_again()
        plan = self._plans.get(results.dataloader_idx)
        if plan is None:
            return (), ()
        names, counts = plan.names, plan.counts
        kept: list[str] | None = None
        values: list[Any] = []
        waits = False
        for i, metric in enumerate(plan.metrics):
            count, cache = metric._update_count, metric._forward_cache  # noqa: SLF001
            if count == counts[i] or cache is None:
                kept = list(names[:i]) if kept is None else kept
                continue
            counts[i] = count
            try:
                if cache.is_cpu:
                    values.append(cache.item())
                else:
                    values.append(number_or_tensor(names[i], cache))
                    waits = True
            except RuntimeError:
                not_one_number(names[i], cache)
            if kept is not None:
                kept.append(names[i])
        # The same tuple as long as the same names come: whoever groups records by names then compares one object.
        return (names if kept is None else tuple(kept)), (values if waits else tuple(values))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is given out meanwhile counts as not given out."""
        if len(self._results) != self._planned:
            self._plan_again()
        before = [(plan, list(plan.counts)) for plan in self._plans.values()]
        try:
            yield
        finally:
            for plan, counts in before:
                plan.counts = counts

    def counts_were_reset(self) -> None:
        """Lightning has reset some of the collection, and counts those from 0 again: what comes next is new at whatever count."""
        for plan in self._plans.values():
            plan.counts = [0 if metric._forward_cache is None else count for metric, count in zip(plan.metrics, plan.counts, strict=True)]  # noqa: SLF001

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
            self.has_axis = axis is not None
        self._plans = {loader: _Plan(names, self._plans.get(loader)) for loader, names in by_name.items()}
        self.own_names = frozenset(m.meta.name for m in self._results.values() if m.meta.logger)


class _Plan:
    """What to look at after each batch, worked out when a new name appears.

    Whether a metric was logged again is told by its count of updates. Its tensor would tell as well, were it kept here
    until then; but then each is freed long after all of it has left the processor's caches.

    Attributes:
        names: of the metrics, in their order.
        metrics: Lightning's; under one name the last of several. A torchmetrics object that was reset has none: its last value stays in it.
        counts: of updates, of each metric when it was given out last; 0 before, and after a reset.
    """

    def __init__(self, by_name: Mapping[str, list[Any]], before: _Plan | None) -> None:
        self.names = tuple(by_name)
        self.metrics = [metrics[0] if len(metrics) == 1 and metrics[0].is_tensor else _LastOf(metrics) for metrics in by_name.values()]
        given = dict(zip(before.names, before.counts, strict=True)) if before is not None else {}
        self.counts: list[Any] = [given.get(name, 0) for name in by_name]


class _LastOf:
    """One name logged in several hooks: loggers get the value of the hook that came to log it last of all."""

    def __init__(self, metrics: list[Any]) -> None:
        self._metrics = metrics[::-1]

    @property
    def _valid(self) -> Any:  # noqa: ANN401
        return next((m for m in self._metrics if m._forward_cache is not None and not m.has_reset), self._metrics[0])  # noqa: SLF001

    @property
    def _forward_cache(self) -> Any:  # noqa: ANN401
        valid = self._valid
        return None if valid.has_reset else valid._forward_cache  # noqa: SLF001

    @property
    def _update_count(self) -> tuple[int, int]:
        valid = self._valid
        return id(valid), valid._update_count  # noqa: SLF001
