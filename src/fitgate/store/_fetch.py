"""From what was logged to numbers: records that can't be turned into any don't take the others with them."""

from __future__ import annotations

from collections.abc import Callable

from fitgate.store._batch import Batch
from fitgate.store._schema import Record

__all__ = ["Fetch", "fetched"]

Fetch = Callable[[list[Record]], list[Record]]
"""Turns the values of records into floats, such as by copying them from a device."""


def fetched(records: list[Record], fetch: Fetch | None) -> tuple[Batch, list[tuple[Record, Exception]]]:
    """The records as a batch of floats, and those of which no floats could be had, with the reason.

    Example:
        >>> good, bad = Record("train", 0, 1, 0, 0, ("loss",), [0.5]), Record("train", 1, 2, 0, 0, ("loss",), ["?"])
        >>> batch, failed = fetched([good, bad], None)
        >>> batch.blocks[0].values.tolist(), len(failed)
        ([[0.5]], 1)
    """
    try:
        return _as_batch(records, fetch), []
    except Exception:  # noqa: BLE001 - one at a time tells which
        good: list[Record] = []
        failed: list[tuple[Record, Exception]] = []
        for record in records:
            try:
                good += _as_batch([record], fetch)
            except Exception as error:  # noqa: BLE001 - whatever a device or a value raises
                failed.append((record, error))
        return Batch(good), failed


def _as_batch(records: list[Record], fetch: Fetch | None) -> Batch:
    batch = Batch(fetch(records) if fetch and records else records)
    _ = batch.blocks  # what is no number fails here
    return batch
