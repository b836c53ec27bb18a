"""The last value of each metric, out of the row groups that can hold it: a list of runs reads no curve."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fitgate.store._arrow import numpy_of
from fitgate.store._pieces import Piece, Wanted, greatest_step, read_groups, series_groups, series_in

__all__ = ["LastValues"]

_COLUMNS = ("step", "value")


class LastValues:
    """Gathers the last values of a run whose points all count, file by file, the newest first."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._found: dict[tuple[str, str], tuple[tuple[int, int], float]] = {}

    def add(self, source: pa.NativeFile) -> None:
        """Look at one file: its footer, and what of it may be newer than all that was seen before.

        Raises:
            ValueError, KeyError, OSError, pa.ArrowException: the file is damaged or no segment.
        """
        file, alike, mixed = series_groups(source, self._wanted)
        newer = [(number, key) for number, key in alike if self._may_be_newer(file, number, {(key["stage"], key["name"])})]
        mixed = [number for number in mixed if self._may_be_newer(file, number, None)]
        for piece in read_groups(file, newer, mixed, _COLUMNS, self._wanted):
            self._take(piece)

    def _may_be_newer(self, file: pq.ParquetFile, group: int, series: set[tuple[str, str]] | None) -> bool:
        """Whether a row group can hold a last value: what ends before the step that was found for each of its series does not."""
        end = greatest_step(file, group)
        if end is None or not self._found:
            return True
        found = (self._found.get(each) for each in (series if series is not None else series_in(file, group)))
        return any(each is None or end >= each[0][0] for each in found)

    @property
    def values(self) -> dict[tuple[str, str], float]:
        """By (stage, name), sorted by name."""
        ordered: Iterable[tuple[str, str]] = sorted(self._found, key=lambda series: (series[1], series[0]))
        return {series: self._found[series][1] for series in ordered}

    def _take(self, piece: Piece) -> None:
        if not piece.numbers.num_rows:
            return
        steps = numpy_of(piece.numbers["step"])
        # Of equal steps in one file, what was written last comes last.
        at = len(steps) - 1 - int(np.argmax(steps[::-1]))
        order = int(steps[at]), int(piece.key["attempt"])
        series = piece.key["stage"], piece.key["name"]
        if series not in self._found or order >= self._found[series][0]:
            self._found[series] = order, float(piece.numbers["value"][at].as_py())
