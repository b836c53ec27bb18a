"""What stands behind a validation's values, batch by batch: for confidence bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Trainer

from fitgate.store._evidence import SAMPLES, WEIGHT
from fitgate.store._schema import BATCHES, Record
from fitgate_callbacks._internals import running_sums
from fitgate_callbacks._ranks import gathered
from fitgate_callbacks._validation import all_validate, not_repeated, samples_in, share_of, val_loaders
from fitgate_callbacks._values import fetch_values, number_or_tensor

__all__ = ["ValidationEvidence"]

_MOST_WAITING = 1000
"""Batches whose sums wait on a device: each takes half a kilobyte of its memory, however small it is."""
_FLUSH_EVERY = 10_000
"""Records that are given on at one go; of far more some would find no room."""
_FIRST = 3
"""The first column of sums in what ranks give each other."""

Sink = Callable[[int, tuple[str, ...], list[Any]], None]
"""Takes (step, names, values)."""
_Floats = npt.NDArray[np.float64]
_Metric = tuple[int, str]
"""A loader, and a metric that is logged for it."""


class _Batch(NamedTuple):
    """What a rank knows after a batch of `size` samples, of which `once` are no repetition.

    `share` tells which of the loader's samples the rank is given; `record` holds the running sums, each with its weight.
    """

    loader: int
    share: int
    size: int
    once: int
    record: Record

    @property
    def sums(self) -> dict[str, tuple[float, float]]:
        """By metric, sum and weight."""
        names, values = self.record.names, self.record.values
        return dict(zip(names[::2], zip(values[::2], values[1::2], strict=True), strict=True))


class ValidationEvidence:
    """Gives a sink the running sums of each validation pass of a fit.

    With one process that is after each batch. On an accelerator nothing is computed and nothing is waited for then: the sums are
    Lightning's own tensors. With several, the batches of all ranks are put together once the pass is over.

    Args:
        sink: told after each batch.
        flush: brings what the sink was told to the disk.
    """

    def __init__(self, sink: Sink, flush: Callable[[], None]) -> None:
        self._sink = sink
        self._flush = flush
        self._step = 0
        self.start()

    def start(self) -> None:
        """A pass begins."""
        self._seen: dict[int, int] = {}
        self._batches: list[_Batch] = []
        self._fetched = 0

    def add(self, trainer: Trainer, batch: Any, loader: int) -> None:  # noqa: ANN401 - whatever a dataloader gives
        """After a batch. One whose size can't be told is left out, and so is its loader's pass."""
        size = samples_in(batch)
        if size is None:
            return
        before = self._seen.get(loader, 0)
        self._seen[loader] = before + size
        sums = running_sums(trainer)
        names = tuple(each for name, _, _ in sums for each in (name, f"{name}{WEIGHT}"))
        values = [number_or_tensor(name, each) for name, *both in sums for each in both]
        if trainer.world_size == 1:
            self._send((f"{SAMPLES}{_suffix(trainer, loader)}", *names), [float(before + size), *values])
            return
        share, once = share_of(trainer, loader), not_repeated(trainer, loader, before, size)
        self._batches.append(_Batch(loader, share, size, once, Record(BATCHES, 0, 0, 0, 0, names, values)))
        if len(self._batches) >= self._fetched + _MOST_WAITING:
            self._fetch()

    def end(self, trainer: Trainer) -> None:
        """The pass is over. With several processes every rank calls this, whatever it has seen."""
        if trainer.world_size == 1:
            return
        self._fetch()
        mine = tuple(dict.fromkeys((batch.loader, name) for batch in self._batches for name in batch.sums))
        if all_validate(trainer):
            metrics: tuple[_Metric, ...] = trainer.strategy.broadcast(mine)  # what rank 0 has is what gets recorded
            ranks = _of_all(trainer, _added(self._batches, metrics))
        else:
            metrics, ranks = mine, _added(self._batches, mine)[None]
        if not trainer.is_global_zero:
            return
        for loader, samples, sums in _together(ranks):
            own = [i for i, (of, _) in enumerate(metrics) if of == loader]
            names = [each for i in own for each in (metrics[i][1], f"{metrics[i][1]}{WEIGHT}")]
            values = [each for i in own for each in sums[2 * i : 2 * i + 2]]
            self._send((f"{SAMPLES}{_suffix(trainer, loader)}", *names), [samples, *values])
            if self._step % _FLUSH_EVERY == 0:
                self._flush()

    def _fetch(self) -> None:
        waiting = self._batches[self._fetched :]
        records = fetch_values([batch.record for batch in waiting])
        self._batches[self._fetched :] = [batch._replace(record=record) for batch, record in zip(waiting, records, strict=True)]
        self._fetched = len(self._batches)

    def _send(self, names: tuple[str, ...], values: list[Any]) -> None:
        self._sink(self._step, names, values)
        self._step += 1


def _added(batches: Sequence[_Batch], metrics: Sequence[_Metric]) -> _Floats:
    """Of each batch its loader, share and samples, and what it has added to each metric's sum and weight; of repetitions nothing.

    A batch that repeats some of its samples keeps its mean, with the weight of the others.
    """
    rows = np.zeros((len(batches), _FIRST + 2 * len(metrics)))
    before: dict[str, tuple[float, float]] = {}
    for row, batch in zip(rows, batches, strict=True):
        row[:_FIRST] = batch.loader, batch.share, batch.once
        sums = batch.sums
        for i, (loader, name) in enumerate(metrics):
            if loader == batch.loader and name in sums:
                added = np.subtract(sums[name], before.get(name, (0.0, 0.0)))
                row[_FIRST + 2 * i :][:2] = added * batch.once / max(batch.size, 1)
        before.update(sums)
    return rows


def _of_all(trainer: Trainer, rows: _Floats) -> _Floats:
    """The rows of all ranks, of shape (ranks, rows, columns); those that a rank has fewer of are zero. All ranks must call this."""
    most = int(gathered(trainer, torch.tensor([len(rows)])).max())
    padded = torch.zeros(most, rows.shape[1], dtype=torch.float64)
    padded[: len(rows)] = torch.from_numpy(rows)
    found: _Floats = gathered(trainer, padded).double().numpy()
    return found


def _together(ranks: _Floats) -> Iterator[tuple[int, float, list[float]]]:
    """Loader, samples and sums so far after each batch that any rank has seen, in the order of one process that sees them all.

    Where several ranks are given the same samples, those of the first are all there is.
    """
    totals: dict[int, _Floats] = {}
    givers: dict[tuple[int, int], int] = {}
    for at_once in ranks.swapaxes(0, 1):
        for rank, row in enumerate(at_once):
            loader, share, once = map(int, row[:_FIRST])
            if once and givers.setdefault((loader, share), rank) == rank:
                totals[loader] = totals.get(loader, 0.0) + row[_FIRST - 1 :]
                samples, *sums = totals[loader].tolist()
                yield loader, samples, sums


def _suffix(trainer: Trainer, loader: int) -> str:
    return f"/dataloader_idx_{loader}" if len(val_loaders(trainer)) > 1 else ""
