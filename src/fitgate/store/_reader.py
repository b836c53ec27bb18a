"""Reading a store: all runs under one root."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import fsspec

from fitgate.errors import RunNotFoundError, StoreError
from fitgate.store._remote import in_parallel, listed
from fitgate.store._run import Run
from fitgate.store._run_file import RUN_FILE, read_run_info

__all__ = ["Run", "Store"]


class Store:
    """All runs under one root.

    Args:
        root: a folder, or any fsspec URL (`"s3://bucket/runs"`).

    Raises:
        StoreError: there is no such folder.
    """

    def __init__(self, root: str | os.PathLike[str] = "runs") -> None:
        self.root = os.fspath(root)
        self._fs, self._path = fsspec.core.url_to_fs(self.root)
        if not self._fs.isdir(self._path):
            message = (
                f"no runs are recorded in {self.root!r}: there is no such folder; train with MetricsCallback, "
                "or point to another folder (in the terminal with --root)"
            )
            raise StoreError(message)

    def runs(self) -> list[Run]:
        """All runs, newest first. A run whose run.json can't be read is left out with a warning that names it."""
        found = []
        for _, result in in_parallel(self._fs, self._read, listed(self._fs, self._path)):
            if isinstance(result, StoreError):
                warnings.warn(str(result), stacklevel=2)
            elif isinstance(result, Exception):
                raise result
            elif result is not None:
                found.append(result)
        return sorted(found, key=lambda run: (run.created, run.id), reverse=True)

    def run(self, run: str) -> Run:
        """A run by its id, its name (the newest of that name), `latest`, or a unique beginning or end of an id.

        An end starts at a word: `quiet-otter`, and `otter`, are ends of `wide-20261123-084001-quiet-otter`.

        Raises:
            TypeError: it is no text.
            RunNotFoundError: none goes by that, or several do.
            StoreError: the run of that id has a run.json that can't be read.
        """
        if not isinstance(run, str):
            message = f"a run is asked for by a text, such as 'latest', its id or its name, got {type(run).__name__}: {run!r}"
            raise TypeError(message)
        own = self._read(f"{self._path}/{run}") if run and "/" not in run else None  # the others need not be read for it
        if own is not None and own.id == run:
            return own
        runs = self.runs()
        if run == "latest" and runs:
            return runs[0]
        exact = [r for r in runs if r.id == run] or [r for r in runs if r.name == run]
        if exact:
            return exact[0]
        meant, what = [r for r in runs if run and r.id.startswith(run)], "begin with"
        if not meant:
            meant, what = [r for r in runs if run and r.id.endswith(f"-{run}")], "end in"
        if len(meant) == 1:
            return meant[0]
        several = f"several runs that {what} {run!r}: {', '.join(r.id for r in meant)}"
        message = f"{self.root!r} has {several if meant else _what_instead(run, runs)}"
        raise RunNotFoundError(message)

    def latest(self) -> Run:
        """The newest run.

        Raises:
            RunNotFoundError: there is none.
        """
        return self.run("latest")

    def _read(self, folder: str) -> Run | None:
        """The run in a folder; None where there is none."""
        path = f"{folder}/{RUN_FILE}"
        try:
            data = self._fs.cat_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            message = f"{path} can't be read: {error}"
            raise StoreError(message) from error
        return Run(self._fs, folder, read_run_info(data, path))


def _what_instead(run: str, runs: Sequence[Run]) -> str:
    if not runs:
        return f"no runs yet, so none is {run!r}"
    return f"no run {run!r}; the newest are {', '.join(r.id for r in runs[:3])}"
