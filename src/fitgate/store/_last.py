"""The last value of each metric, out of the row groups that can hold it: a list of runs reads no curve."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fitgate.store._arrow import numpy_of
from fitgate.store._segment_file import Groups, Piece, SegmentFile, Wanted

__all__ = ["LastValues"]

_COLUMNS = ("step", "value")


class LastValues:
    """Gathers the last values of a run whose points all count, file by file, the newest first."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._found: dict[tuple[str, str], tuple[tuple[int, int], float]] = {}

    def add(self, file: SegmentFile) -> None:
        """Look at one file: its footer, and what of it may be newer than all that was seen before."""
        alike, mixed = file.groups(self._wanted)
        newer = [(number, key) for number, key in alike if self._may_be_newer(file, number, {(key["stage"], key["name"])})]
        mixed = [number for number in mixed if self._may_be_newer(file, number, None)]
        for piece in file.read(self._wanted, _COLUMNS, Groups(newer, mixed)):
            self._take(piece)

    def _may_be_newer(self, file: SegmentFile, group: int, series: set[tuple[str, str]] | None) -> bool:
        """Whether a row group can hold a last value: what ends before the step that was found for each of its series does not."""
        steps = file.ranges(group, ("step",)).get("step")
        if steps is None or not self._found:
            return True
        found = (self._found.get(each) for each in (series if series is not None else file.series_in(group)))
        return any(each is None or steps[1] >= each[0][0] for each in found)

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
