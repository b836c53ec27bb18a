"""What a report reads beside a run's points: its gate.json, and the runs around it. From any fsspec store."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from fitgate._command_line import shown_path
from fitgate.errors import StoreError
from fitgate.gate import read_gate_file
from fitgate.store import Run
from fitgate.store._run_file import RUN_FILE, read_run_info

__all__ = ["previous_run", "read_gate", "root_of", "sibling"]


def read_gate(run: Run) -> dict[str, Any] | None:
    """The content of a run's gate.json; None where nobody has judged it.

    Raises:
        StoreError: it is there and can't be read.
    """
    path = f"{run.path}/gate.json"
    fs = run.fs
    if not fs.exists(path):
        return None
    return read_gate_file(fs.cat_file(path), path)


def previous_run(run: Run, metrics: Iterable[str] = ()) -> Run | None:
    """The newest run of the same store that began before this one and has something to compare with.

    Args:
        run: from any store.
        metrics: those that it is judged by: a run that has none of them, such as one that failed before its first validation, is passed
            over. Without any: any value will do.

    Returns:
        A run of the same name where there is such a one, else of any; None where there is none.
    """
    asked = list(metrics) or None
    earlier = [r for r in _siblings(run) if (r.created, r.id) < (run.created, run.id)]
    earlier.sort(key=lambda r: (r.name == run.name, r.created, r.id), reverse=True)
    return next((r for r in earlier if _has_values(r, asked)), None)


def sibling(run: Run, run_id: str) -> Run | None:
    """Another run of the same store, by its id; None where it isn't there."""
    fs, path = run.fs, f"{run.path.rsplit('/', 1)[0]}/{run_id}/{RUN_FILE}"
    if "/" in run_id or not fs.exists(path):
        return None
    return Run(fs, path.rsplit("/", 1)[0], read_run_info(fs.cat_file(path), path))


def root_of(run: Run, *, within: str | None = None) -> str:
    """The store's root, as one would type it in the folder `within` (None: the working folder): relative where it lies in it."""
    fs, parent = run.fs, run.path.rsplit("/", 1)[0]
    if "file" not in ([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol):
        return str(fs.unstrip_protocol(parent))
    return shown_path(parent, within=within)


def _has_values(run: Run, names: list[str] | None) -> bool:
    try:
        return bool(run.last_values(names))
    except StoreError as error:
        warnings.warn(str(error), stacklevel=4)
        return False


def _siblings(run: Run) -> list[Run]:
    fs = run.fs
    found = []
    for path in fs.glob(f"{run.path.rsplit('/', 1)[0]}/*/{RUN_FILE}"):
        try:
            info = read_run_info(fs.cat_file(path), path)
        except (StoreError, OSError) as error:
            warnings.warn(str(error), stacklevel=3)
            continue
        found.append(Run(fs, path.rsplit("/", 1)[0], info))
    return found
