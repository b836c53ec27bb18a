"""Whether the processes of a distributed fit agree on the metrics that are judged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import Trainer

from fitgate_callbacks._internals import last_saved_steps
from fitgate_callbacks._ranks import gathered

__all__ = ["Disagreements", "RankAgreement"]

_RELATIVE = 1e-6
"""Sums in another order differ by less."""
_VALIDATE, _TRAIN = "validate", "train"

_Key = tuple[int, str]
"""A `global_step` and a name."""


class RankAgreement:
    """Remembers what each rank has for the gated metrics, and compares once, at the end of fit.

    It is told what gets recorded on rank 0, and on each other rank what would be: a metric that is logged without `sync_dist=True`
    is each rank's own, of its own share of the data. Nothing is gathered before the end, and in a fit of one process nothing
    is done at all. Of values logged at each training batch, those at a checkpoint's step are kept, and the last.

    Args:
        metrics: the gated names.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        self._metrics = frozenset(metrics)
        self.forget()

    def forget(self) -> None:
        """Another fit begins."""
        self._seen: dict[str, dict[_Key, Any]] = {_VALIDATE: {}, _TRAIN: {}}
        self._current: dict[str, int] = {}
        self._saved: set[int] = set()

    def take(self, trainer: Trainer, stage: str, names: Sequence[str], values: Sequence[Any]) -> None:
        """What is recorded together, or would be on a rank that records."""
        if self._metrics.isdisjoint(names) or stage not in self._seen:
            return
        seen, step = self._seen[stage], trainer.global_step
        if stage == _TRAIN:
            self._saved |= last_saved_steps(trainer)
        for name, value in zip(names, values, strict=True):
            if name not in self._metrics:
                continue
            before = self._current.get(name, step)
            if stage == _TRAIN and before != step and before not in self._saved:
                del seen[before, name]
            if stage == _TRAIN:
                self._current[name] = step
            seen[step, name] = value

    def compare(self, trainer: Trainer) -> Mapping[int, str]:
        """By `global_step`, in words, where the ranks differ. Every rank calls this; the answer is the same on all."""
        if trainer.world_size == 1:
            return {}
        mine = self._judged()
        # What rank 0 has is what gets recorded. A value that others have alone is judged by nobody.
        keys: list[_Key] = trainer.strategy.broadcast(list(mine))
        rows = [[float(key in mine) for key in keys], [float(mine.get(key, math.nan)) for key in keys]]
        ranks = gathered(trainer, torch.tensor(rows, dtype=torch.float64)).tolist() if keys else []
        by_rank = {key: [values[i] if there[i] else None for there, values in ranks] for i, key in enumerate(keys)}
        return Disagreements(self._metrics, by_rank)

    def _judged(self) -> dict[_Key, Any]:
        """The values that can be judged: of a metric that is validated those of validations alone."""
        validated = {name for _, name in self._seen[_VALIDATE]}
        trained = {key: value for key, value in self._seen[_TRAIN].items() if key[1] not in validated}
        return {**self._seen[_VALIDATE], **trained}


class Disagreements(Mapping[int, str]):
    """By `global_step`, in words, on which metrics the ranks don't agree, as far as is known.

    A step at which this fit recorded nothing, such as that of a checkpoint from before a resume, is told by the others: ranks
    that differ elsewhere do so there. A metric that was not recorded at all is one on which nobody knows.

    Args:
        metrics: the gated names.
        by_rank: by `global_step` and name, each rank's value; None where a rank has none.

    Example:
        >>> found = Disagreements(["acc", "f1"], {(5, "acc"): [0.9, 0.1], (5, "f1"): [0.5, 0.5], (9, "acc"): [0.7, 0.7]})
        >>> found.get(5)
        'acc is 0.9 on rank 0, 0.1 on rank 1; log it with sync_dist=True'
        >>> found.get(9)
        >>> found.get(7)
        'acc is 0.9 on rank 0, 0.1 on rank 1 at step 5; log it with sync_dist=True'
    """

    def __init__(self, metrics: Iterable[str], by_rank: Mapping[_Key, Sequence[float | None]]) -> None:
        self._metrics = sorted(metrics)
        self._by_rank = by_rank
        self._differing = {key: values for key, values in by_rank.items() if not _alike(values)}

    def __getitem__(self, step: int) -> str:
        found = [words for words in (self._words(step, name) for name in self._metrics) if words]
        if not found:
            raise KeyError(step)
        return "; ".join(found)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({step for step, _ in self._differing}))

    def __len__(self) -> int:
        return len({step for step, _ in self._differing})

    def _words(self, step: int, name: str) -> str | None:
        steps = [at for at, other in self._by_rank if other == name]
        if not steps:
            return f"no rank recorded {name} in this fit, so nothing tells whether they agree on it"
        at = step if step in steps else next((at for at in reversed(steps) if (at, name) in self._differing), step)
        values = self._differing.get((at, name))
        if values is None:
            return None
        shown = ", ".join(f"{'nothing' if value is None else f'{value:.6g}'} on rank {rank}" for rank, value in enumerate(values))
        what_to_do = "on every rank" if None in values else "with sync_dist=True"
        return f"{name} is {shown}{'' if at == step else f' at step {at}'}; log it {what_to_do}"


def _alike(values: Sequence[float | None]) -> bool:
    first = values[0]
    if first is None or None in values:
        return False
    return all(
        value is not None and (math.isclose(value, first, rel_tol=_RELATIVE) or (math.isnan(value) and math.isnan(first)))
        for value in values
    )
