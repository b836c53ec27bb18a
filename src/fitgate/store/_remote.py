"""Files of a store wherever they are: a local folder, or any fsspec URL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

__all__ = ["in_parallel", "is_local", "listed", "open_file", "segment_paths"]

_FEW = 4
_MOST_THREADS = 32

T = TypeVar("T")


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether paths are the operating system's own."""
    return isinstance(fs, LocalFileSystem)


def listed(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """What is in a folder now, sorted; nothing where there is no such folder."""
    fs.invalidate_cache(folder)  # a store lives: what was listed a minute ago is not all
    try:
        return sorted(fs.ls(folder, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def segment_paths(fs: fsspec.AbstractFileSystem, run_path: str, folder: str = "metrics") -> list[str]:
    """The Parquet files in a run's folder, in the order in which they were begun."""
    return [path for path in listed(fs, f"{run_path}/{folder}") if path.endswith(".parquet")]


def open_file(fs: fsspec.AbstractFileSystem, path: str) -> pa.NativeFile:
    """Open a file to read all over; one that is far away is fetched whole, since each look into it would wait for the network."""
    return pa.OSFile(path, "r") if is_local(fs) else pa.BufferReader(fs.cat_file(path))


def in_parallel(fs: fsspec.AbstractFileSystem, action: Callable[[str], T], paths: Iterable[str]) -> Iterator[tuple[str, T | Exception]]:
    """Do something with each path, several at a time; what it gives or raises, in the paths' order."""

    def attempt(path: str) -> T | Exception:
        try:
            return action(path)
        except Exception as error:  # noqa: BLE001 - whoever asked decides what it means
            return error

    everything = list(paths)
    # A far store is waited for, a local one keeps the cores busy.
    threads = min(_MOST_THREADS, (os.cpu_count() or 1) if is_local(fs) else _MOST_THREADS, len(everything))
    if len(everything) <= _FEW and is_local(fs):
        yield from ((path, attempt(path)) for path in everything)
        return
    with ThreadPoolExecutor(max(1, threads)) as pool:
        yield from zip(everything, pool.map(attempt, everything), strict=True)
