"""How many threads torch computes with, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["computing_on"]


@contextmanager
def computing_on(threads: int | None) -> Iterator[None]:
    """Inside, torch computes on that many threads; None leaves it as it is."""
    import torch  # noqa: PLC0415 - the core loads torch only to export

    before = torch.get_num_threads()
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
