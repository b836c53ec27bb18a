"""Which data a fit is validated on: its loaders, sizes and samples."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch.utils.data import DistributedSampler, RandomSampler

from fitgate.store._run_file import ValidationSet

__all__ = ["ValidationSetSeen", "all_validate", "not_repeated", "samples_in", "share_of", "val_loaders"]

_FIRST = 8
"""Samples of each loader that the digest is taken of."""


class ValidationSetSeen:
    """Takes the fingerprint of a fit's validation set: sizes, and a digest of the first samples.

    What a hook keeps of a batch stays on its device; it is read in the background, in `settle`.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, int | None] = {}
        self._samples: dict[int, list[torch.Tensor]] = {}
        self._digests: dict[int, str | None] = {}
        self._settling = threading.Lock()

    def take(self, trainer: Trainer, batch: Any, index: int) -> None:  # noqa: ANN401
        """After the first batch of a loader, once; the sanity check's will do."""
        if index in self._sizes:
            return
        loader = val_loaders(trainer)[index]
        dataset = getattr(loader, "dataset", None)
        samples = None if isinstance(getattr(loader, "sampler", None), RandomSampler) else _first_samples(batch)
        if samples is not None:
            self._samples[index] = samples
        self._sizes[index] = _size(dataset)

    def settle(self) -> None:
        """Read what was kept, and keep it no more."""
        with self._settling:
            for index in list(self._samples):
                self._digests[index] = _digest(self._samples[index])
                del self._samples[index]

    @property
    def facts(self) -> ValidationSet | None:
        """What was seen; None before anything was."""
        if not self._sizes:
            return None
        self.settle()
        loaders = sorted(self._sizes)
        digests = [self._digests.get(loader) for loader in loaders]
        whole = None if None in digests else hashlib.sha256("".join(map(str, digests)).encode()).hexdigest()
        sizes = tuple(self._sizes[loader] for loader in loaders)
        known = [size for size in sizes if size is not None]
        return ValidationSet(sizes=sizes, n=sum(known) if len(known) == len(sizes) else None, digest=whole)


def val_loaders(trainer: Trainer) -> list[Any]:
    """The validation's loaders, in the order of their indices."""
    return list(_flat(trainer.val_dataloaders))


def _flat(loaders: Any) -> Iterator[Any]:  # noqa: ANN401 - one, or lists and dicts of them, as deep as Lightning allows
    if isinstance(loaders, Mapping | list | tuple):
        for part in loaders.values() if isinstance(loaders, Mapping) else loaders:
            yield from _flat(part)
    else:
        yield loaders


def _size(dataset: Any) -> int | None:  # noqa: ANN401
    """The length of a data set; None where it has none to tell, as a chain of iterables, whose `__len__` raises."""
    try:
        return len(dataset) if isinstance(dataset, Sized) else None
    except (TypeError, NotImplementedError, AttributeError):  # what Lightning takes for that
        return None


def samples_in(batch: Any) -> int | None:  # noqa: ANN401
    """The samples in a batch: the length of the first tensor in it."""
    if isinstance(batch, torch.Tensor):
        return batch.size(0) if batch.ndim else 1  # a nested one has no shape
    return next((size for size in map(samples_in, _parts(batch)) if size is not None), None)


def all_validate(trainer: Trainer) -> bool:
    """Whether no rank can have left a validation out: one without any batch does, hooks included, where the user allows it."""
    owners = (trainer.lightning_module, getattr(trainer, "datamodule", None))
    return not any(getattr(owner, "allow_zero_length_dataloader_with_multiple_devices", False) for owner in owners)


def share_of(trainer: Trainer, index: int) -> int:
    """Which share of a loader's samples this rank is given; where ranks are given the same, it is the same."""
    sampler = _distributed_sampler(trainer, index)
    return sampler.rank if sampler is not None else 0


def not_repeated(trainer: Trainer, index: int, start: int, size: int) -> int:
    """How many of a batch's samples are not a repetition: they come first.

    A distributed sampler gives rank r of w the samples r, r + w, …, and begins anew where they don't come out even.

    Args:
        trainer: what validates.
        index: the loader's.
        start: samples of the loader that this rank was given before.
        size: samples in the batch.
    """
    sampler = _distributed_sampler(trainer, index)
    if sampler is None:
        return size
    total = _size(sampler.dataset)
    if total is None:
        return size
    mine = -((sampler.rank - total) // sampler.num_replicas)
    return min(max(mine - start, 0), size)


def _distributed_sampler(trainer: Trainer, index: int) -> DistributedSampler[Any] | None:
    sampler = getattr(val_loaders(trainer)[index], "sampler", None)
    return sampler if isinstance(sampler, DistributedSampler) else None


def _first_samples(batch: Any) -> list[torch.Tensor] | None:  # noqa: ANN401
    """Of every tensor in a batch the first samples, copied where they are; None where one can't be read as bytes."""
    tensors = list(_tensors(batch))
    if any(tensor.layout != torch.strided or tensor.is_nested for tensor in tensors):
        return None
    return [(tensor[:_FIRST] if tensor.ndim else tensor).detach().clone() for tensor in tensors]


def _digest(samples: Iterable[torch.Tensor]) -> str | None:
    """Of the type, shape and values of each; None where a device can't give them any more, or a tensor's class won't."""
    digest = hashlib.sha256()
    try:
        for few in samples:
            digest.update(f"{few.dtype}{tuple(few.shape)}".encode())
            digest.update(few.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    except Exception:  # noqa: BLE001 - raised here, it would take the records with it that are fetched next
        return None
    return digest.hexdigest()


def _tensors(batch: Any) -> Iterator[torch.Tensor]:  # noqa: ANN401
    if isinstance(batch, torch.Tensor):
        yield batch
    for part in _parts(batch):
        yield from _tensors(part)


def _parts(batch: Any) -> Iterable[Any]:  # noqa: ANN401
    if isinstance(batch, Mapping):
        return batch.values()
    if isinstance(batch, list | tuple):
        return batch
    return [getattr(batch, field.name) for field in fields(batch)] if is_dataclass(batch) else []
