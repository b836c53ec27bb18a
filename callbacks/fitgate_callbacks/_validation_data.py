"""Which data a fit was validated on: sizes, and a digest of the first samples."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from fitgate_callbacks._lightning import Trainer

__all__ = ["ValidationData"]

_SAMPLES = 4


class ValidationData:
    """Remembers the first samples that each validation dataloader gave, as a digest.

    Data that come shuffled or augmented at random look like other data each time.
    """

    def __init__(self) -> None:
        self._digests: dict[int, str] = {}

    def take(self, batch: Any, dataloader_idx: int) -> None:  # noqa: ANN401 - whatever a dataloader gives
        """Look at a batch; only the first of each dataloader counts."""
        if dataloader_idx not in self._digests:
            self._digests[dataloader_idx] = _digest(batch)

    def describe(self, trainer: Trainer) -> dict[str, Any] | None:
        """For the manifest: `sizes`, samples by dataloader (None where that can't be told), `n` in all, `digest` of the first samples.

        None where nothing was validated.
        """
        if not self._digests:
            return None
        sizes = [_size(loader) for loader in _loaders(trainer)]
        known = [size for size in sizes if size is not None]
        whole = hashlib.sha256("".join(digest for _, digest in sorted(self._digests.items())).encode()).hexdigest()
        return {"sizes": sizes, "n": sum(known) if len(known) == len(sizes) else None, "digest": whole}

    def forget(self) -> None:
        """Before another fit."""
        self._digests = {}


def _digest(batch: Any) -> str:  # noqa: ANN401
    digest = hashlib.sha256()
    for leaf in tree_leaves(batch):
        if not isinstance(leaf, torch.Tensor):
            digest.update(repr(leaf).encode() if isinstance(leaf, str | bytes | int | float | bool) else type(leaf).__name__.encode())
            continue
        few = (leaf[:_SAMPLES] if leaf.dim() else leaf).detach().cpu().contiguous()
        digest.update(f"{few.dtype} {tuple(few.shape)}".encode())
        digest.update(few.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _loaders(trainer: Trainer) -> list[Any]:
    loaders = trainer.val_dataloaders
    if loaders is None:
        return []
    if isinstance(loaders, list | tuple):
        return list(loaders)
    return list(loaders.values()) if isinstance(loaders, dict) else [loaders]


def _size(loader: Any) -> int | None:  # noqa: ANN401 - whatever iterates over batches
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError):
        return None
