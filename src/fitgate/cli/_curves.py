"""Curves in the terminal, from the charts of the report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from fitgate.report import Chart

__all__ = ["curve_of"]

MOST_COLUMNS = 110
_COLOURS = {"train": "blue", "validation": "green"}
_REQUIRED = "red"
_REQUIRED_SIGN = "┈"
# Without colours, the marker tells two lines apart.
_PLAIN_MARKERS = {"train": "·", "validation": "braille"}
_TICKS = 5
_ROOM = 0.04
_FRAME_ROWS = 3
"""The frame above and below, and the numbers under it."""
_FLAT = 1e-9
"""No number on the left could tell such values apart."""
_LEAST_ROWS = 9
_MOST_ROWS = 11
_ROWS_APART = (2, 3, 4)
_JUDGED = "yellow"
_JUDGED_SIGN = "◆"


def curve_of(chart: Chart, *, width: int, colour: bool) -> RenderableType:
    """One chart as text: what each line is, then the lines, with the thresholds drawn in.

    Args:
        chart: as a report has it.
        width: columns of the terminal.
        colour: whether lines may be told apart by colour.
    """
    width = min(width - 2, MOST_COLUMNS)
    return Group(_legend(chart, width=width, colour=colour), Text.from_ansi(_canvas(chart, width=width, colour=colour), no_wrap=True))


def _legend(chart: Chart, *, width: int, colour: bool) -> Text:
    """What each line is, on as many lines as that takes, none of them broken."""
    entries = []
    for line in chart.lines:
        sign = "━━" if colour or line.role == "validation" else "··"
        entries.append(Text.assemble((sign, _COLOURS[line.role]), (f" {line.name}", "bold" if line.role == "validation" else "")))
    entries += [Text.assemble((2 * _REQUIRED_SIGN, _REQUIRED), f" {required}") for _, required in chart.required]
    if chart.judged_value is not None:
        entries.append(Text.assemble((_JUDGED_SIGN, _JUDGED), f" judged: {chart.judged_value:.4g}"))
    lines: list[list[Text]] = [[]]
    for entry in entries:
        if lines[-1] and sum(one.cell_len + 3 for one in lines[-1]) + entry.cell_len > width - 2:
            lines.append([])
        lines[-1].append(entry)
    return Text("\n", no_wrap=True, overflow="ignore").join(Text.assemble("  ", Text("   ").join(line)) for line in lines)


def _canvas(chart: Chart, *, width: int, colour: bool) -> str:
    import plotext  # noqa: PLC0415 - a fifth of a second that only curves need

    def marker(sign: str, name: str) -> Any:  # noqa: ANN401 - plotext has no types
        return plotext.marker(sign, pixel=plotext.pixel(foreground=name) if colour else None)

    figure = plotext.figure
    figure.clear()
    rows = _rows(chart)
    figure.plot_size(width, rows.count + _FRAME_ROWS)
    figure.theme("simple" if colour else "colorless")
    # Not plotext's own line(), which lays a white ground under it whatever its pixel says.
    steps = np.linspace(*_extent(chart), width).tolist()
    # As fine as the curves, or one that has just passed it would lie under it; without colours the sign has to tell.
    sign = "braille" if colour else _REQUIRED_SIGN
    for number, _ in chart.required:
        figure.draw(figure.signal(steps, [number] * width, marker=marker(sign, _REQUIRED)))
    for line in chart.lines:
        sign = "braille" if colour else _PLAIN_MARKERS[line.role]
        figure.draw(figure.signal(list(line.steps), list(line.values), marker=marker(sign, _COLOURS[line.role])).lines())
    if chart.judged_value is not None:
        figure.draw(figure.signal([chart.judged_step], [chart.judged_value], marker=marker(_JUDGED_SIGN, _JUDGED)))
    _set_rulers(figure, chart, rows)
    return str(figure.build().string(not colour))


def _extent(chart: Chart) -> tuple[int, int]:
    """The first and the last step; a curve that stands still gets room on both sides."""
    steps = [step for line in chart.lines for step in line.steps]
    first, last = min(steps), max(steps)
    return (first, last) if first < last else (first - 1, last + 1)


def _set_rulers(figure: Any, chart: Chart, rows: Rows) -> None:  # noqa: ANN401 - plotext has no types
    first, last = _extent(chart)
    steps = round_ticks(first, last, smallest=1)
    for axis, ticks, limits in (("x", steps, (first, last)), ("y", rows.ticks, (rows.low, rows.high))):
        figure.ruler(axis).ticks(list(ticks), [f"{tick:.6g}" for tick in ticks])
        figure.ruler(axis).lim(*limits)


def _rows(chart: Chart) -> Rows:
    values = [value for line in chart.lines for value in line.values] + [number for number, _ in chart.required]
    return rows_for(min(values), max(values))


@dataclass(frozen=True)
class Rows:
    """The rows of a canvas: how many, what the first and the last stand for, and the round numbers that fall on rows."""

    count: int
    low: float
    high: float
    ticks: tuple[float, ...]


def rows_for(low: float, high: float) -> Rows:
    """As few rows as hold the values closely, with ticks that lie on rows, each as many from the next.

    There is room above and below, so that a threshold at the edge is not taken for the frame. What is flat lies in the middle.

    Example:
        >>> rows_for(0.107, 2.165)
        Rows(count=10, low=0.0, high=2.25, ticks=(0.0, 0.5, 1.0, 1.5, 2.0))
        >>> rows_for(0.5, 0.5)
        Rows(count=9, low=-0.5, high=1.5, ticks=(0.5,))
    """
    if high - low <= _FLAT * max(abs(low), abs(high)):
        return Rows(_LEAST_ROWS, low - 1.0, high + 1.0, (low,))
    room = (high - low) * _ROOM
    found = [_rows_of(count, low - room, high + room) for count in range(_LEAST_ROWS, _MOST_ROWS + 1)]
    return min(found, key=lambda rows: (round((rows.high - rows.low) / (high - low), 6), rows.count))


def _rows_of(count: int, low: float, high: float) -> Rows:
    """The finest scale on which so many rows hold the values, where a round number is a few rows from the next."""
    power = math.floor(math.log10(high - low))
    sizes = [digit * 10.0**exponent for exponent in range(power - 1, power + 2) for digit in (1, 2, 5)]
    scales = sorted((size / apart, apart) for size in sizes for apart in _ROWS_APART)
    row, apart, first = next((row, apart, first) for row, apart in scales if (first := math.floor(low / row)) + count - 1 >= high / row)
    first -= math.floor(first + count - 1 - high / row) // 2  # what is left over, on both sides
    last = first + count - 1
    ticks = [at * row for at in range(first, last + 1) if at % apart == 0]
    digits = 12 - power  # as many as tell the rows apart, and none of what floats add
    return Rows(count, round(first * row, digits), round(last * row, digits), tuple(round(tick, digits) for tick in ticks))


def round_ticks(low: float, high: float, *, smallest: float = 0.0) -> tuple[float, ...]:
    """A few round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten, at least `smallest` apart.

    Example:
        >>> round_ticks(3, 345), round_ticks(0.201, 0.999)
        ((100.0, 200.0, 300.0), (0.4, 0.6, 0.8))
        >>> round_ticks(7, 7), round_ticks(1, 3, smallest=1)
        ((7,), (1.0, 2.0, 3.0))
    """
    if high <= low:
        return (low,)
    rough = max((high - low) / _TICKS, smallest)
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return tuple(round(i * size, 12) for i in range(math.ceil(low / size), math.floor(high / size) + 1))
