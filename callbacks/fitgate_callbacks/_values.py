"""One logged value: a float where that is free, a tensor on its device where reading it would wait."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any, NoReturn

import torch

from fitgate.store._schema import Record

__all__ = ["fetch_values", "joined", "not_one_number", "number_or_tensor"]


def number_or_tensor(name: str, value: Any) -> Any:  # noqa: ANN401 - a tensor or a number
    """A float where that is free; on an accelerator the tensor itself, to be fetched in the background.

    Raises:
        ValueError: it holds several numbers.
    """
    if not isinstance(value, torch.Tensor):
        return float(value)
    if value.numel() != 1:
        not_one_number(name, value)
    if value.is_cpu:
        return value.item()
    return value.detach() if value.requires_grad else value


def not_one_number(name: str, value: torch.Tensor) -> NoReturn:
    """Say which metric it is; torch's own message doesn't."""
    message = (
        f"metric {name!r}: a logged value must be one number, got a tensor of shape {tuple(value.shape)}; "
        "log each element under a name of its own, or a mean"
    )
    raise ValueError(message)


def joined(values: Sequence[Any], more: Sequence[Any]) -> Sequence[Any]:
    """Values with others behind them: in a tuple where all are numbers, as those of a `Record`."""
    known = type(values) is tuple and all(type(value) is float for value in more)
    return (*values, *more) if known else [*values, *more]


def fetch_values(records: list[Record]) -> list[Record]:
    """Fetch the values that are still on a device, with one copy for all of a kind.

    A step may be waiting too: it is what the module logged under the name `step`.
    """
    # Mostly there is nothing to fetch. To ask each value what it is, long after it was read, would take longer than all else that is done with
    # it before it is encoded.
    loose = (record.values for record in records if type(record.values) is not tuple)
    kinds = {*map(type, chain.from_iterable(loose)), *(type(record.step) for record in records)}
    if not any(issubclass(kind, torch.Tensor) for kind in kinds):
        return records
    waiting: dict[Any, list[torch.Tensor]] = defaultdict(list)
    for record in records:
        for value in (record.step, *record.values):
            if isinstance(value, torch.Tensor):
                waiting[value.device, value.dtype].append(value)
    numbers = {kind: iter(torch.stack([v.reshape(()) for v in values]).tolist()) for kind, values in waiting.items()}

    def fetched(value: Any) -> Any:  # noqa: ANN401
        return next(numbers[value.device, value.dtype]) if isinstance(value, torch.Tensor) else value

    return [record._replace(step=int(fetched(record.step)), values=[fetched(v) for v in record.values]) for record in records]
