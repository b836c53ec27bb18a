"""The step values in Lightning's private result collections, each taken once for each time it was logged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fitgate_callbacks._values import not_one_number, number_or_tensor

__all__ = ["StepValues", "axis_of"]

# Lightning sets `has_reset` to False whenever a metric is logged, and to True when it is reset; it asks for no more than its truth. This, which is
# as false, stands there from when a value was given out until the metric is logged again. To count Lightning's updates, or to keep the last
# tensor, would tell as well, and touch memory of the step before that has left the processor's caches: an eighth of all that values take.
_GIVEN_OUT = 0
_State = dict[str, Any]
"""The attributes of one of Lightning's metrics."""


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
        self._plans: dict[int | None, tuple[tuple[str, ...], list[_State | _LastOf]]] = {}
        self._axis: _LastOf | None = None
        self.has_axis = False
        self.own_names: frozenset[str] = frozenset()

    @property
    def axis(self) -> Any:  # noqa: ANN401
        """The value of the metric named `step`, which stands until it is logged again; None where there is none."""
        axis = self._axis
        value = None if axis is None or axis["has_reset"] is True else axis["_forward_cache"]
        return None if value is None else axis_of(value)

    def take(self) -> tuple[tuple[str, ...], Sequence[Any]]:
        """Names and values of what was logged since the last call, for the loader that runs now: floats in a tuple, or a list with tensors in it."""
        results = self._results
        if len(results) != self._planned:
            self._plan_again()
        plan = self._plans.get(results.dataloader_idx)
        if plan is None:
            return (), ()
        names, states = plan
        values: list[Any] = []
        for state in states:
            cache = state["_forward_cache"]
            if state["has_reset"] is not False or cache is None or not cache.is_cpu:
                return _with_the_others(names, states, values)
            state["has_reset"] = _GIVEN_OUT
            try:
                values.append(cache.item())
            except RuntimeError:
                not_one_number(names[len(values)], cache)
        return names, tuple(values)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is given out meanwhile counts as not given out."""
        before = [(metric.__dict__, metric.has_reset) for metric in self._results.values()]
        try:
            yield
        finally:
            for state, has_reset in before:
                state["has_reset"] = has_reset

    def _plan_again(self) -> None:
        """What to look at after each batch, worked out when a new name appears."""
        self._planned = len(self._results)
        by_name: dict[int | None, dict[str, list[_State]]] = {}
        for metric in self._results.values():
            if metric.meta.on_step and metric.meta.logger:
                names = by_name.setdefault(metric.meta.dataloader_idx, {})
                names.setdefault(self._results._forked_name(metric, True)[1], []).append(metric.__dict__)  # noqa: SLF001, FBT003 - Lightning's signature
        if self._step_is_axis:
            axis = by_name.get(None, {}).pop("step", None)
            self._axis = _LastOf(axis) if axis is not None else None
            self.has_axis = axis is not None
        self._plans = {
            loader: (tuple(names), [states[0] if len(states) == 1 else _LastOf(states) for states in names.values()])
            for loader, names in by_name.items()
        }
        self.own_names = frozenset(m.meta.name for m in self._results.values() if m.meta.logger)


class _LastOf:
    """One name logged in several hooks, as if it were one metric: loggers get the value of the hook that came to log it last of all."""

    def __init__(self, states: list[_State]) -> None:
        self._states = states[::-1]

    @property
    def _valid(self) -> _State:
        return next((s for s in self._states if s["_forward_cache"] is not None and s["has_reset"] is not True), self._states[0])

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401
        return self._valid[key]

    def __setitem__(self, key: str, value: Any) -> None:  # noqa: ANN401
        self._valid[key] = value


def _with_the_others(names: tuple[str, ...], states: list[_State | _LastOf], values: list[Any]) -> tuple[tuple[str, ...], Sequence[Any]]:
    """What `take` gives where not all was logged again, or some of it is on a device; it has come as far as `values`."""
    done, waits = len(values), False
    taken = list(names[:done])
    for name, state in zip(names[done:], states[done:], strict=True):
        cache = state["_forward_cache"]
        if state["has_reset"] is False and cache is not None:
            state["has_reset"] = _GIVEN_OUT
            values.append(number_or_tensor(name, cache))
            taken.append(name)
            waits = waits or not cache.is_cpu
    # The same tuple as long as the same names come: whoever groups records by names then compares one object.
    return names if len(taken) == len(names) else tuple(taken), values if waits else tuple(values)
