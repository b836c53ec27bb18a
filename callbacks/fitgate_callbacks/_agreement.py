"""Whether the processes of a distributed fit agree on the metrics that are judged."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from fitgate_callbacks._lightning import Trainer

__all__ = ["RankAgreement"]

_RELATIVE = 1e-6
"""Sums in another order differ by less."""


class RankAgreement:
    """Remembers what each rank has for the gated metrics, and compares once, at the end of fit.

    A metric that is logged without `sync_dist=True` is each rank's own, of its own share of the data; rank 0's is what
    gets recorded. Nothing is gathered before the end, and in a fit of one process nothing is done at all.

    Args:
        metrics: the gated names.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        self._metrics = tuple(dict.fromkeys(metrics))
        self._seen: dict[int, list[Any]] = {}

    def forget(self) -> None:
        """Another fit begins."""
        self._seen = {}

    def see(self, trainer: Trainer, *, again: bool = True) -> None:
        """Remember this rank's values now; with `again=False` only where nothing was seen at this `global_step`."""
        if trainer.world_size > 1 and (again or trainer.global_step not in self._seen):
            values = trainer.callback_metrics
            self._seen[trainer.global_step] = [values.get(name, math.nan) for name in self._metrics]

    def compare(self, trainer: Trainer) -> dict[int, str]:
        """By `global_step`, in words, where the ranks differ. Every rank calls this; the answer is the same on all."""
        if trainer.world_size == 1:
            return {}
        steps = list(self._seen)
        counts = self._gather(trainer, torch.tensor([len(steps)], dtype=torch.float64))
        if len(set(counts.flatten().tolist())) > 1:
            seen = ", ".join(f"{int(count)} on rank {rank}" for rank, count in enumerate(counts.flatten().tolist()))
            return dict.fromkeys(steps, f"the ranks validated different numbers of times: {seen}")
        if not steps:
            return {}
        mine = torch.tensor([[float(value) for value in self._seen[step]] for step in steps], dtype=torch.float64)
        ranks = self._gather(trainer, mine).tolist()
        found = {}
        for row, step in enumerate(steps):
            differing = [
                f"{name} is {', '.join(f'{values[row][column]:.6g} on rank {rank}' for rank, values in enumerate(ranks))}"
                for column, name in enumerate(self._metrics)
                if not _alike([values[row][column] for values in ranks])
            ]
            if differing:
                found[step] = f"{'; '.join(differing)}; log it with sync_dist=True"
        return found

    @staticmethod
    def _gather(trainer: Trainer, values: torch.Tensor) -> torch.Tensor:
        device = trainer.strategy.root_device
        width = torch.float32 if device.type == "mps" else torch.float64
        gathered: torch.Tensor = trainer.strategy.all_gather(values.to(device, width))
        return gathered.reshape(trainer.world_size, *values.shape).cpu()


def _alike(values: list[float]) -> bool:
    first = values[0]
    return all(math.isclose(value, first, rel_tol=_RELATIVE) or (math.isnan(value) and math.isnan(first)) for value in values)
