"""Reading a store: runs, and the points that count."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fitgate.errors import RunNotFoundError, StoreError
from fitgate.store._run_file import RUN_FILE, RunInfo, read_run_info
from fitgate.store._schema import SCHEMA

__all__ = ["Run", "Store"]

_KEY = ["rank", "stage", "name", "step"]


class Run:
    """One training history, read from its files. Made by `Store`."""

    def __init__(self, fs: fsspec.AbstractFileSystem, path: str, info: RunInfo) -> None:
        self._fs = fs
        self.path = path
        self.info = info

    @property
    def id(self) -> str:
        """The folder's name; sorts by time."""
        return self.info.id

    @property
    def name(self) -> str:
        """What the user called it, else the id."""
        return self.info.name

    @property
    def state(self) -> str:
        """`running`, `completed`, `deployed`, `improve`, `failed`, `interrupted`, or `lost`."""
        return self.info.shown_state()

    @property
    def created(self) -> datetime:
        """When the run began, UTC."""
        return self.info.created

    @property
    def hparams(self) -> dict[str, Any]:
        """Hyperparameters, as recorded."""
        return self.info.hparams

    def metrics(self, names: Iterable[str] | None = None, stage: str | None = None, *, rank: int = 0) -> pa.Table:
        """The points that count: later attempts win, and what a resume went back behind is masked.

        Args:
            names: only these metrics; None for all.
            stage: only `"train"`, `"validate"` or `"test"`; None for all.
            rank: whose points.

        Returns:
            A table with all columns of the schema, sorted by name, stage, step.

        Raises:
            StoreError: a file is damaged; the message names it.
        """
        wanted = pc.field("rank") == rank
        if names is not None:
            if isinstance(names, str):
                message = f"names must be a list such as [{names!r}], got the text {names!r}"
                raise TypeError(message)
            wanted &= pc.field("name").isin(list(names))
        if stage is not None:
            wanted &= pc.field("stage") == stage
        tables = [self._read(path, wanted) for path in sorted(self._fs.glob(f"{self.path}/metrics/*.parquet"))]
        table = pa.concat_tables([SCHEMA.empty_table(), *tables])
        return self._effective(table).sort_by([("name", "ascending"), ("stage", "ascending"), ("step", "ascending")])

    def _read(self, path: str, wanted: pc.Expression) -> pa.Table:
        try:
            return pq.read_table(path, filesystem=self._fs, filters=wanted, partitioning=None).select(SCHEMA.names).cast(SCHEMA)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            message = f"{path} can't be read: {error}. Its run's other files are whole; move this one away to read the rest."
            raise StoreError(message) from error

    def _effective(self, table: pa.Table) -> pa.Table:
        for attempt in self.info.attempts:
            if attempt.resumed_step is not None:
                earlier = pc.field("attempt") < attempt.number
                table = table.filter(~(earlier & (pc.field("global_step") > attempt.resumed_step)))
        if pc.count_distinct(table["attempt"]).as_py() > 1:
            latest = table.group_by(_KEY).aggregate([("attempt", "max")]).rename_columns([*_KEY, "attempt"])
            table = table.join(latest, keys=[*_KEY, "attempt"], join_type="left semi").select(SCHEMA.names)
        return table

    def __repr__(self) -> str:
        return f"Run({self.id!r}, state={self.state!r})"


class Store:
    """All runs under one root.

    Args:
        root: a folder, or any fsspec URL (`"s3://bucket/runs"`).

    Raises:
        StoreError: there is no such folder.
    """

    def __init__(self, root: str = "runs") -> None:
        self.root = str(root)
        self._fs, self._path = fsspec.core.url_to_fs(self.root)
        if not self._fs.isdir(self._path):
            message = f"there is no store at {self.root!r}: no such folder"
            raise StoreError(message)

    def runs(self) -> list[Run]:
        """All runs, newest first. A run whose run.json can't be read is left out with a warning that names it."""
        found = []
        for path in self._fs.glob(f"{self._path}/*/{RUN_FILE}"):
            try:
                info = read_run_info(self._fs.cat_file(path), path)
            except StoreError as error:
                warnings.warn(str(error), stacklevel=2)
                continue
            found.append(Run(self._fs, path.rsplit("/", 1)[0], info))
        return sorted(found, key=lambda run: (run.created, run.id), reverse=True)

    def run(self, run: str) -> Run:
        """A run by its id, a unique prefix of one, its name (the newest of that name), or `latest`.

        Raises:
            RunNotFoundError: none goes by that, or several do.
        """
        runs = self.runs()
        if run == "latest" and runs:
            return runs[0]
        exact = [r for r in runs if r.id == run] or [r for r in runs if r.name == run]
        if exact:
            return exact[0]
        prefixed = [r for r in runs if run and r.id.startswith(run)]
        if len(prefixed) == 1:
            return prefixed[0]
        message = f"{self.root!r} has {_what_instead(run, runs, prefixed)}"
        raise RunNotFoundError(message)

    def latest(self) -> Run:
        """The newest run.

        Raises:
            RunNotFoundError: there is none.
        """
        return self.run("latest")


def _what_instead(run: str, runs: Sequence[Run], prefixed: Sequence[Run]) -> str:
    if prefixed:
        return f"several runs that begin with {run!r}: {', '.join(r.id for r in prefixed)}"
    if not runs:
        return f"no runs yet, so none is {run!r}"
    return f"no run {run!r}; the newest are {', '.join(r.id for r in runs[:3])}"
