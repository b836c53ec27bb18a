"""One run, read from its files."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

import fsspec
import pyarrow as pa

from fitgate.errors import StoreError
from fitgate.store._effective import Resumes, effective
from fitgate.store._last import LastValues
from fitgate.store._remote import in_parallel, is_local, segment_paths
from fitgate.store._run_file import RunInfo
from fitgate.store._schema import SCHEMA
from fitgate.store._segment_file import NUMBERS, UNREADABLE, Piece, Wanted, opened
from fitgate.store._values import check_stage

__all__ = ["Run"]


class Run:
    """One training history, read from its files. Made by `Store`."""

    def __init__(self, fs: fsspec.AbstractFileSystem, path: str, info: RunInfo) -> None:
        self._fs = fs
        self.path = path
        self.info = info

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system that `path` is on, with the credentials that opened it."""
        return self._fs

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

    def metrics(
        self, names: Iterable[str] | None = None, stage: str | None = None, *, rank: int = 0, columns: Iterable[str] | None = None
    ) -> pa.Table:
        """The points that count: later attempts win, and what a resume went back behind is masked.

        Args:
            names: only these metrics; None for all.
            stage: only `"train"`, `"validate"` or `"test"`; None for all.
            rank: whose points.
            columns: only these columns, in this order; None for all of the schema. Fewer are read quicker.

        Returns:
            A table sorted by name, stage, step.

        Raises:
            TypeError: `names` or `columns` is a text and no list of them, or `rank` no whole number.
            ValueError: a column is none of the schema's, or there is no such stage.
            StoreError: files are damaged; the message names each.

        Example:
            >>> import tempfile, fitgate
            >>> root = tempfile.mkdtemp()
            >>> with fitgate.start_run(root) as run:
            ...     run.log_metric("loss", 0.5)
            >>> fitgate.Store(root).latest().metrics(["loss"], columns=["step", "value"]).to_pylist()
            [{'step': 0, 'value': 0.5}]
        """
        chosen = _checked_columns(columns)
        wanted = _wanted(names, stage, rank)
        resumes = Resumes(self.info.attempts)
        needed = {*chosen, "step", *(["global_step"] if resumes else [])}
        read = partial(self._read, wanted=wanted, columns=[name for name in NUMBERS if name in needed])
        pieces: list[Piece] = []
        damaged: list[str] = []
        for path, result in in_parallel(self._fs, read, segment_paths(self._fs, self.path)):
            if isinstance(result, list):
                pieces += result
            elif not isinstance(result, FileNotFoundError):
                damaged.append(_damage(path, result))
        _raise_for(damaged)
        return effective(pieces, resumes, chosen)

    def last_values(self, names: Iterable[str] | None = None, stage: str | None = None) -> dict[tuple[str, str], float]:
        """The last value of each metric, without reading its curve where that can be helped.

        Args:
            names: only these metrics; None for all.
            stage: only `"train"`, `"validate"` or `"test"`; None for all.

        Returns:
            By (stage, name), sorted by name.

        Raises:
            TypeError: `names` is a text and no list of them.
            ValueError: there is no such stage.
            StoreError: files are damaged; the message names each.

        Example:
            >>> import tempfile, fitgate
            >>> root = tempfile.mkdtemp()
            >>> with fitgate.start_run(root) as run:
            ...     run.log_metric("loss", 0.5)
            ...     run.log_metric("loss", 0.25)
            >>> fitgate.Store(root).latest().last_values()
            {('train', 'loss'): 0.25}
        """
        wanted = _wanted(names, stage)
        if Resumes(self.info.attempts) or not is_local(self._fs):
            # Which point is the last that counts, the points say; from far away whole files come anyway.
            table = self.metrics(wanted.names, stage, columns=["name", "stage", "value"])
            ends = table.group_by(["name", "stage"], use_threads=False).aggregate([("value", "last")])
            return {(row["stage"], row["name"]): row["value_last"] for row in ends.to_pylist()}
        last = LastValues(wanted)
        damaged = []
        for path in reversed(segment_paths(self._fs, self.path)):
            try:
                with opened(self._fs, path) as file:
                    last.add(file)
            except FileNotFoundError:
                continue
            except UNREADABLE as error:
                damaged.append(_damage(path, error))
        _raise_for(damaged)
        return last.values

    def _read(self, path: str, *, wanted: Wanted, columns: list[str]) -> list[Piece]:
        with opened(self._fs, path) as file:
            return file.read(wanted, columns)

    def __repr__(self) -> str:
        return f"Run({self.id!r}, state={self.state!r})"


_WHAT_TO_DO = (
    "Other files of this run and other runs stay readable. To read the rest of this run, move what is damaged out of its metrics folder; "
    "the points it held are then missing here; where the run was mirrored to TensorBoard, its events have them as float32."
)


def _damage(path: str, error: Exception) -> str:
    return f"{path} can't be read: {error}".rstrip(".") + "."


def _raise_for(damaged: list[str]) -> None:
    if damaged:
        raise StoreError(" ".join([*damaged, _WHAT_TO_DO]))


def _wanted(names: Iterable[str] | None, stage: str | None, rank: int = 0) -> Wanted:
    if isinstance(rank, bool) or not isinstance(rank, int):
        message = f"rank must be a whole number, got {type(rank).__name__}: {rank!r}; each rank is read for itself"
        raise TypeError(message)
    return Wanted(
        names=None if names is None else frozenset(_list_of(names, "names")), stage=None if stage is None else check_stage(stage), rank=rank
    )


def _list_of(texts: Iterable[str], what: str) -> list[str]:
    if isinstance(texts, str):
        message = f"{what} must be a list such as [{texts!r}], got the text {texts!r}"
        raise TypeError(message)
    return list(texts)


def _checked_columns(columns: Iterable[str] | None) -> list[str]:
    chosen = SCHEMA.names if columns is None else _list_of(columns, "columns")
    for name in chosen:
        if name not in SCHEMA.names:
            message = f"columns: there is no column {name!r}; expected any of {', '.join(SCHEMA.names)}"
            raise ValueError(message)
    return chosen
