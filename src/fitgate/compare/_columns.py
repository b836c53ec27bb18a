"""The leaderboard's columns as text, and which of them fit a width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len, set_cell_size

from fitgate.compare._model import Comparison, Row
from fitgate.compare._record import RunFacts
from fitgate.compare._words import duration, number, undated
from fitgate.report._text import margin_text, sparkline, value_text

__all__ = ["Column", "columns_for", "short", "standing"]

_GAP = 2
_CURVE = 12
_LEAST_ID = 20
_URGENT = 4.0
"""Columns up to this urgency are worth a shortened id."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        title: its head.
        cells: one a row.
        right: aligned right, as numbers are.
    """

    title: str
    cells: tuple[str, ...]
    right: bool = False

    @property
    def width(self) -> int:
        """In terminal cells."""
        return max(map(cell_len, (self.title, *self.cells)))


def columns_for(comparison: Comparison, rows: Sequence[Row], width: int) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns that fit, in the order to show, and the titles of those that don't.

    What matters most is kept: rank, run and best value always, then the step, the change from the baseline, the curve,
    the state, hyperparameters, and how long it took. Of columns that say nothing (all the same, or empty) there are none.

    Args:
        comparison: where the rows are from.
        rows: those to show, each with a rank.
        width: of the terminal, in cells.
    """
    front = [
        Column(title="", cells=tuple("★" if row.rank == 1 else "" for row in rows)),
        Column(title="#", cells=tuple(str(row.rank) for row in rows), right=True),
    ]
    best = _numbers("best", rows, lambda r: None if r.best is None else r.best.value)
    wanted = _wanted(comparison, rows)
    room = width - sum(column.width + _GAP for column in (*front, best)) - _GAP
    needed = sum(column.width + _GAP for urgency, column in wanted if urgency < _URGENT)
    runs = _runs(rows, room, room - sum(column.width + _GAP for _, column in wanted), room - needed)
    room -= runs.width
    kept: list[int] = []
    for index in sorted(range(len(wanted)), key=lambda i: wanted[i][0]):
        need = wanted[index][1].width + _GAP
        if need <= room:
            room -= need
            kept.append(index)
    shown = (*front, runs, best, *(wanted[i][1] for i in sorted(kept)))
    return shown, tuple(column.title for i, (_, column) in enumerate(wanted) if i not in kept)


def short(text: str, width: int) -> str:
    """A text cut in its middle: of an id, name and slug tell runs apart, and the date between them doesn't.

    Example:
        >>> short("wide-20261123-084001-quiet-otter", 20)
        'wide-2026…uiet-otter'
    """
    if cell_len(text) <= width:
        return text
    tail = width // 2
    return f"{set_cell_size(text, width - tail - 1)}…{text[-tail:]}"


def standing(facts: RunFacts) -> str:
    """State and verdict in a word or two: `deployed` and `improve` say both.

    Example:
        >>> from datetime import UTC, datetime
        >>> standing(RunFacts(id="r", name="r", state="completed", created=datetime.now(UTC), verdict="deploy"))
        'completed, deploy'
    """
    return facts.state if facts.verdict is None or facts.state in ("deployed", "improve") else f"{facts.state}, {facts.verdict}"


def _wanted(comparison: Comparison, rows: Sequence[Row]) -> list[tuple[float, Column]]:
    """Further columns in the order to show, each with its urgency: less is sooner."""
    found = [
        (0.0, _texts("at step", rows, lambda r: "–" if r.best is None else str(r.best.global_step))),
        (4.0, _numbers("last", rows, lambda r: None if r.series is None else r.series.last.value)),
        (2.0, Column(title="curve", cells=tuple(_curve(row) for row in rows))),
        (3.0, Column(title="state", cells=tuple(standing(row.facts) for row in rows))),
    ]
    if comparison.baseline is not None:
        base = comparison.baseline
        found.insert(0, (1.0, _texts("change", rows, lambda r: "baseline" if r.facts.id == base else margin_text(r.change))))
    if comparison.groups:
        letters = {run_id: group.letter for group in comparison.groups for run_id in group.run_ids}
        found.append((4.5, Column(title="group", cells=tuple(letters.get(row.facts.id, "") for row in rows))))
    for place, name in enumerate(comparison.differing):
        cells = tuple(value_text(row.facts.hparams[name]) if name in row.facts.hparams else "–" for row in rows)
        if len(set(cells)) > 1:
            found.append((5.0 + place / 1000, Column(title=name, cells=cells, right=all(_numeric(cell) for cell in cells))))
    if any((row.points.epochs or 0) > 1 for row in rows):
        found.append((7.0, _texts("epochs", rows, lambda r: value_text(r.points.epochs))))
    found += [
        (8.0, _texts("steps", rows, lambda r: value_text(r.points.steps))),
        (6.0, _texts("time", rows, lambda r: duration(r.points.seconds))),
    ]
    return found


def _runs(rows: Sequence[Row], most: int, roomy: int, urgent: int) -> Column:
    """The ids: whole where every column fits beside them, else without the date, else cut."""
    ids = [row.facts.id for row in rows]
    if max(map(cell_len, ids)) > roomy:
        ids = [undated(i) for i in ids]
    width = min(most, max(urgent, _LEAST_ID))
    return Column(title="run", cells=tuple(short(i, width) for i in ids))


def _texts(title: str, rows: Sequence[Row], cell: Callable[[Row], str]) -> Column:
    return Column(title=title, cells=tuple(cell(row) for row in rows), right=True)


def _numbers(title: str, rows: Sequence[Row], cell: Callable[[Row], float | None]) -> Column:
    return _texts(title, rows, lambda row: number(cell(row)))


def _curve(row: Row) -> str:
    if row.series is None:
        return ""
    values = row.series.curve.values
    return sparkline(values[np.isfinite(values)].tolist(), _CURVE)


def _numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell == "–"
    return True
