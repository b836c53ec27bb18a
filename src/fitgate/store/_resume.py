"""What a run holds when a fit goes on with it: the points that stay, and what TensorBoard must be told again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fsspec.implementations.local import LocalFileSystem

from fitgate.errors import StoreError
from fitgate.store._arrow import empty_table, numpy_of
from fitgate.store._batch import AXES, GLOBAL_STEP, STEP, Block
from fitgate.store._effective import Resumes
from fitgate.store._remote import segment_paths
from fitgate.store._run_file import RUN_FILE, read_run_info
from fitgate.store._schema import SCHEMA
from fitgate.store._segment_file import UNREADABLE, rows_of

__all__ = ["Standing"]


class Standing:
    """The points of earlier attempts where a fit goes on, as far as it or TensorBoard may meet them again.

    Args:
        run_dir: the run's folder.
        rank: whose points.
        resumed_step: the `global_step` that the fit goes on from.
        first_step: the first step that it will give its loggers.
        mirrored: TensorBoard shows them.

    Attributes:
        purge_from: the step from which TensorBoard must forget. It does so by step alone, and what is gone back behind may stand at
            lower steps than the first that the fit will give, as what is on the evaluation counter mostly does.
        ahead: points that count and that it then forgets too, to be told again.

    Raises:
        StoreError: run.json or a file of points is damaged.
        OSError: run.json can't be read.
    """

    def __init__(self, run_dir: Path, *, rank: int, resumed_step: int, first_step: int, mirrored: bool = True) -> None:
        self._resumed_step = resumed_step
        self._points: dict[tuple[str, str, int], float] = {}
        self.purge_from = first_step
        self.ahead: list[Block] = []
        path = run_dir / RUN_FILE
        attempts = read_run_info(path.read_bytes(), str(path)).attempts if path.exists() else ()
        until_now = pc.field("rank") == rank
        for attempt, step in Resumes(attempts).steps:
            until_now &= (pc.field("attempt") >= attempt) | (pc.field("global_step") <= step)
        if mirrored:
            left = _rows(run_dir, until_now & (pc.field("global_step") > resumed_step), ["step"])["step"]
            self.purge_from = min(first_step, pc.min(left).as_py()) if len(left) else first_step
        near = pc.field("global_step") == resumed_step
        if mirrored:
            near |= pc.field("step") >= self.purge_from
        for stage, name, points in _series(_rows(run_dir, until_now & (pc.field("global_step") <= resumed_step) & near)):
            again = points.rows(points.axes[STEP] >= self.purge_from)
            if mirrored and again.points:
                self.ahead.append(again)
            here = points.rows(points.axes[GLOBAL_STEP] == resumed_step)
            for step, value in zip(here.axes[STEP].tolist(), here.values[:, 0].tolist(), strict=True):
                self._points[stage, name, step] = value

    def has(self, stage: str, name: str, step: int, value: object) -> bool:
        """Whether this point is there as of the step that the fit goes on from.

        What Lightning does again after a resume, such as ending an epoch, would stand twice in TensorBoard. Of training the first value
        stands: the second may lack what a module has logged after the checkpoint was made. A validation that is run again is another.
        """
        before = self._points.get((stage, name, step))
        if before is None or stage == "train":
            return before is not None
        # To compare it with one that is on a device still would wait.
        return isinstance(value, float | int) and bool(before == value or (math.isnan(before) and math.isnan(value)))

    def add(self, stage: str, step: int, names: Sequence[str], values: Sequence[Any]) -> None:
        """Points of before that are recorded only now."""
        self._points.update(((stage, name, step), float(value)) for name, value in zip(names, values, strict=True))


def _rows(run_dir: Path, wanted: pc.Expression, columns: Sequence[str] = SCHEMA.names) -> pa.Table:
    fs, tables = LocalFileSystem(), [empty_table(pa.schema([SCHEMA.field(name) for name in columns]))]
    for path in segment_paths(fs, str(run_dir)):
        try:
            tables.append(rows_of(fs, path, wanted, columns))
        except UNREADABLE as error:
            message = f"{path} can't be read: {error}"
            raise StoreError(message) from error
    return pa.concat_tables(tables)


def _series(table: pa.Table) -> Iterator[tuple[str, str, Block]]:
    """Each metric's points by step; of several attempts at one step the latest's stands."""
    for keys in table.group_by(["stage", "name"], use_threads=False).aggregate([]).to_pylist():
        stage, name = keys["stage"], keys["name"]
        own = table.filter((pc.field("stage") == stage) & (pc.field("name") == name))
        steps, attempts = numpy_of(own["step"]), numpy_of(own["attempt"])
        order = np.lexsort((attempts, steps))
        order = order[np.append(steps[order][1:] != steps[order][:-1], True)]
        axes = np.array([numpy_of(own[axis])[order] for axis in AXES], dtype=np.int64)
        yield stage, name, Block(stage, (name,), axes, numpy_of(own["value"])[order][:, None])
