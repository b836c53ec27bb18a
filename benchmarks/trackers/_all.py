"""Every tracker there is to measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.trackers._builtin import BARE, BUILTIN, REFERENCE
from benchmarks.trackers._peers import PEERS
from benchmarks.trackers._tracker import Tracker

__all__ = ["choose", "trackers_named"]

ALL = (*BUILTIN, *PEERS)


def choose(only: Sequence[str] = ()) -> tuple[list[Tracker], list[Tracker]]:
    """The trackers to measure, and those that are asked for but not installed.

    Args:
        only: parts of names, whatever their case; none for all. The bare fit and the reference are always in.

    Raises:
        ValueError: a part that no name holds.

    Example:
        >>> [tracker.name for tracker in choose(["naive"])[0]]
        ['bare fit', 'CSVLogger', 'naive callback']
    """
    parts = [part.casefold() for part in only]
    for part in parts:
        if not any(part in tracker.name.casefold() for tracker in ALL):
            message = f"no tracker's name holds {part!r}; there are: {', '.join(tracker.name for tracker in ALL)}"
            raise ValueError(message)
    asked = [t for t in ALL if not parts or t.name in (BARE, REFERENCE) or any(part in t.name.casefold() for part in parts)]
    return [t for t in asked if t.installed], [t for t in asked if not t.installed]


def trackers_named(names: Iterable[str]) -> list[Tracker]:
    """The trackers of exactly these names, in the order of the table."""
    wanted = set(names)
    return [tracker for tracker in ALL if tracker.name in wanted]
