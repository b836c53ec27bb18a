"""The pictures of a comparison: curves laid over each other, groups with their bands, the values of every seed.

Drawn as the report's charts are: static SVG whose colours and font are the page's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fitgate.compare._model import Comparison, Group
from fitgate.compare._record import Curve, Point
from fitgate.report._plot import COLOURS, LOG_FROM, SIZE, dress, svg_for_a_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURED", "DRAWN", "Limits", "colours_of", "curves_svg", "finish_of", "groups_svg", "seeds_svg"]

COLOURED = 8
"""Runs, or groups of them, that have a colour of their own, the best ones; the others are grey."""
DRAWN = 60
"""Curves that are drawn at all: more make a picture heavy, and nobody tells them apart."""
_SERIES = ("#0b0c0d", "#0c0d0e", "#0d0e0f", "#0e0f10", "#0f1011", "#101112", "#111213", "#121314")
_SEEDS_WIDTH = 9.6
_SEEDS_ROW = 0.32
_FINISH_FROM = 0.5
_FINISH_AT_MOST = 0.5
_MARGIN = 0.08

Limits = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class _Stroke:
    """A curve and how it is drawn; `colour` is a place among `_SERIES`, None for grey."""

    curve: Curve
    colour: int | None
    best: Point | None = None
    front: bool = False


def colours_of(comparison: Comparison) -> dict[str, int]:
    """The place of each run's colour: its group's where there are several, else its own by rank. Grey runs are left out."""
    if len(comparison.groups) > 1:
        return {run_id: index for index, group in enumerate(comparison.groups[:COLOURED]) for run_id in group.run_ids}
    return {row.facts.id: index for index, row in enumerate(comparison.rows[:COLOURED]) if row.best is not None}


def curves_svg(comparison: Comparison, limits: Limits | None = None) -> str:
    """The runs' curves over each other, the best point of the best run ringed; within `limits` of x and y, or whole."""
    return _svg(lambda axes: _draw(axes, _run_strokes(comparison, colours_of(comparison)), limits), SIZE, f"runs{limits}")


def groups_svg(groups: Sequence[Group], limits: Limits | None = None) -> str:
    """The groups' means over each other, with bands from the lowest to the highest of their runs."""
    return _svg(lambda axes: _draw(axes, _group_strokes(groups), limits), SIZE, f"groups{limits}")


def finish_of(curves: Sequence[Curve], ringed: Point | None = None) -> Limits | None:
    """Where the second half of the curves lies, as limits of x and y; None where that is no closer look than the whole.

    All of that half is within: its lowest value may be the very one that won.

    Args:
        curves: those that are drawn.
        ringed: the best point, which a thinned curve may pass by.
    """
    if not curves:
        return None
    stop = max(float(curve.steps[-1]) for curve in curves)
    start = stop * _FINISH_FROM
    late = np.concatenate([part[curve.steps >= start] for curve in curves for part in (curve.values, curve.low, curve.high) if len(part)])
    late = np.append(late, [ringed.value] if ringed is not None and ringed.global_step >= start else [])
    late = late[np.isfinite(late)]
    every = np.concatenate([curve.values for curve in curves])
    every = every[np.isfinite(every)]
    if len(late) < 4 or np.ptp(late) == 0 or np.ptp(late) > _FINISH_AT_MOST * np.ptp(every):  # noqa: PLR2004 - too few to be a curve
        return None
    low, high = float(late.min()), float(late.max())
    margin = _MARGIN * (high - low)
    return (start - 0.02 * (stop - start), stop + 0.03 * (stop - start)), (low - margin, high + margin)


def seeds_svg(groups: Sequence[Group], metric: str) -> str:
    """Each group of several seeds on a line of its own: a dot a seed, a bar at the mean."""
    shown = [(index, group) for index, group in enumerate(groups) if len(group.values) > 1]

    def draw(axes: Axes) -> None:
        for line, (index, group) in enumerate(shown):
            colour = _SERIES[index] if index < COLOURED else COLOURS["muted"]
            axes.plot(
                group.values, [line] * len(group.values), marker="o", linestyle="none", color=colour, alpha=0.6, markersize=6, zorder=3
            )
            axes.plot([group.mean or 0.0] * 2, [line - 0.32, line + 0.32], color=colour, linewidth=2.4, solid_capstyle="round", zorder=4)
        axes.set_yticks(range(len(shown)), [group.letter for _, group in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(visible=True, axis="x", color=COLOURS["rule"], linewidth=0.7, alpha=0.7)
        axes.margins(x=0.04)

    return _svg(draw, (_SEEDS_WIDTH, 0.65 + _SEEDS_ROW * len(shown)), "seeds", x_label=f"best {metric}")


def _run_strokes(comparison: Comparison, colours: Mapping[str, int]) -> list[_Stroke]:
    rows = [row for row in comparison.rows if row.best is not None][:DRAWN]
    return [
        _Stroke(curve=row.series.curve, colour=colours.get(row.facts.id), best=row.best, front=index == 0)
        for index, row in enumerate(rows)
        if row.series is not None
    ]


def _group_strokes(groups: Sequence[Group]) -> list[_Stroke]:
    return [_Stroke(curve=group.curve, colour=index) for index, group in enumerate(groups[:COLOURED]) if group.curve is not None]


def _draw(axes: Axes, strokes: Sequence[_Stroke], limits: Limits | None) -> None:
    for depth, stroke in enumerate(reversed(strokes)):
        curve, colour = stroke.curve, COLOURS["muted"] if stroke.colour is None else _SERIES[stroke.colour]
        if len(curve.low):
            axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.17, linewidth=0, zorder=1)
        width = 2.2 if stroke.front else 1.3 if stroke.best else 1.9
        alone = np.count_nonzero(np.isfinite(curve.values)) == 1
        style: dict[str, Any] = {"marker": "o" if alone else "", "markersize": 3, "alpha": 0.35 if stroke.colour is None else 0.9}
        axes.plot(curve.steps, curve.values, color=colour, linewidth=width, zorder=2 + depth / len(strokes), **style)
        if stroke.front and stroke.best is not None:
            ring: dict[str, Any] = {"markersize": 8, "markerfacecolor": COLOURS["card"], "markeredgecolor": colour, "markeredgewidth": 1.8}
            axes.plot([stroke.best.global_step], [stroke.best.value], marker="o", linestyle="none", zorder=5, **ring)
    if limits is not None:
        axes.set_xlim(*limits[0])
        axes.set_ylim(*limits[1])
    elif _spans_decades([stroke.curve for stroke in strokes]):
        axes.set_yscale("log")


def _spans_decades(curves: Sequence[Curve]) -> bool:
    values = np.concatenate([curve.values for curve in curves]) if curves else np.array([])
    values = values[np.isfinite(values)]
    return bool(len(values) and values.min() > 0 and values.max() / values.min() >= LOG_FROM)


def _svg(draw: Callable[[Axes], None], size: tuple[float, float], salt: str, *, x_label: str = "optimizer step") -> str:
    def dressed(axes: Axes) -> None:
        dress(axes)
        draw(axes)
        axes.set_xlabel(x_label, color=COLOURS["muted"], fontsize=8.5, labelpad=2, parse_math=False)

    svg = svg_for_a_page(dressed, size, salt)
    for index, colour in enumerate(_SERIES):
        svg = svg.replace(colour, f"var(--s{index})")
    return svg
