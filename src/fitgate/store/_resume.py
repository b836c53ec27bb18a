"""What a run holds when a fit goes on with it: the points that stay, and what TensorBoard must be told again."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.implementations.local import LocalFileSystem

from fitgate.errors import StoreError
from fitgate.store._arrow import empty_table
from fitgate.store._remote import segment_paths
from fitgate.store._run_file import RUN_FILE, read_run_info
from fitgate.store._schema import SCHEMA, Record
from fitgate.store._segment_file import UNREADABLE, rows_of

__all__ = ["Standing"]


class Standing:
    """The points of earlier attempts that count where a fit goes on, as far as it may meet them again.

    Args:
        run_dir: the run's folder.
        rank: whose points.
        resumed_step: the `global_step` that the fit goes on from.
        first_step: the first step that it will give its loggers.

    Raises:
        StoreError: run.json or a file of points is damaged.
        OSError: run.json can't be read.
    """

    def __init__(self, run_dir: Path, *, rank: int, resumed_step: int, first_step: int) -> None:
        self._resumed_step = resumed_step
        self._first_step = first_step
        self._points: dict[tuple[str, str, int], Record] = {}
        if not (run_dir / RUN_FILE).exists():
            return
        attempts = read_run_info((run_dir / RUN_FILE).read_bytes(), str(run_dir / RUN_FILE)).attempts
        counts = (pc.field("rank") == rank) & (pc.field("global_step") <= resumed_step)
        for attempt in attempts:
            if attempt.resumed_step is not None:
                counts &= (pc.field("attempt") >= attempt.number) | (pc.field("global_step") <= attempt.resumed_step)
        wanted = counts & ((pc.field("step") >= first_step) | (pc.field("global_step") == resumed_step))
        for row in _rows(run_dir, wanted).sort_by("attempt").to_pylist():  # the latest attempt's stands
            time = int(row["wall_time"].timestamp() * 1e6)
            record = Record(row["stage"], row["step"], row["global_step"], row["epoch"], time, (row["name"],), (row["value"],))
            self._points[row["stage"], row["name"], row["step"]] = record

    @property
    def ahead(self) -> list[Record]:
        """Points that count though their step is not behind, such as those on the evaluation counter.

        TensorBoard forgets by step alone, so it must be told them again.
        """
        return [record for record in self._points.values() if record.step >= self._first_step]

    def has(self, stage: str, name: str, step: int, value: object) -> bool:
        """Whether this point is there as of the step that the fit goes on from.

        What Lightning does again after a resume, such as ending an epoch, would stand twice in TensorBoard. Of training the first value
        stands: the second may lack what a module has logged after the checkpoint was made. A validation that is run again is another.
        """
        record = self._points.get((stage, name, step))
        if record is None or record.global_step != self._resumed_step or not isinstance(value, float | int):
            return False
        (before,) = record.values
        return bool(stage == "train" or before == value or (math.isnan(before) and math.isnan(value)))


def _rows(run_dir: Path, wanted: pc.Expression) -> pa.Table:
    fs, tables = LocalFileSystem(), [empty_table(SCHEMA)]
    for path in segment_paths(fs, str(run_dir)):
        try:
            tables.append(rows_of(fs, path, wanted))
        except UNREADABLE as error:
            message = f"{path} can't be read: {error}"
            raise StoreError(message) from error
    return pa.concat_tables(tables)
