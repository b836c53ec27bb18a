"""A chart as a static SVG that takes its colours and its font from the page."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fitgate.report._model import Chart, Line, Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "LOG_FROM", "SIZE", "dress", "svg_for_a_page", "svg_of"]

# Colours that nobody draws with: each becomes a variable of the page, so that a dark page has light curves.
COLOURS = {
    "ink": "#010203",
    "muted": "#020304",
    "rule": "#030405",
    "validation": "#040506",
    "train": "#050607",
    "goal": "#060708",
    "judged": "#070809",
    "problem": "#08090a",
    "hint": "#090a0b",
    "card": "#0a0b0c",
}
SIZE = (4.7, 2.75)
_DOTS_UP_TO = 40
LOG_FROM = 100.0
_TEXT_HEIGHT = 0.085
"""Of a line of text, as a share of the picture's height."""
_NO_METADATA: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def svg_of(chart: Chart) -> str:
    """Draw a chart; the same chart gives the same text. Returns as `svg_for_a_page`."""
    # The identifiers of one picture must not meet those of another in the same page.
    salt = hashlib.sha256(repr(chart).encode()).hexdigest()[:8]
    return svg_for_a_page(lambda axes: _draw(axes, chart), SIZE, salt)


def svg_for_a_page(draw: Callable[[Axes], None], size: tuple[float, float], salt: str) -> str:
    """What is drawn on one pair of axes.

    Args:
        draw: draws it; colours of `COLOURS` become the page's.
        size: inches.
        salt: what its identifiers are made from.

    Returns:
        One `<svg>` element to put into a page: no prolog, no metadata, no address of anything outside.
    """
    # A plotting library takes a second to load; only who draws waits for it.
    import matplotlib as mpl  # noqa: PLC0415 - see above
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415 - see above
    from matplotlib.figure import Figure  # noqa: PLC0415 - see above

    settings = {**mpl.rcParamsDefault, "svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9.5, "path.simplify": False}
    with mpl.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    return _for_a_page(buffer.getvalue())


def _draw(axes: Axes, chart: Chart) -> None:
    for line in chart.lines:
        _draw_line(axes, line)
    if _spans_decades(chart):
        axes.set_yscale("log")
    for required, _ in chart.required:
        axes.axhline(required, color=COLOURS["goal"], linewidth=1.2, linestyle=(0, (4, 2.5)), zorder=3)
    if chart.judged_step is not None:
        axes.axvline(chart.judged_step, color=COLOURS["judged"], linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
    if chart.judged_step is not None and chart.judged_value is not None:
        ring: dict[str, Any] = {
            "markersize": 8,
            "markerfacecolor": COLOURS["card"],
            "markeredgecolor": COLOURS["judged"],
            "markeredgewidth": 1.8,
        }
        axes.plot([chart.judged_step], [chart.judged_value], marker="o", linestyle="none", zorder=5, **ring)
    if chart.non_finite_step is not None:
        axes.axvline(chart.non_finite_step, color=COLOURS["problem"], linewidth=1.2, zorder=2)
        at: dict[str, Any] = {
            "xy": (chart.non_finite_step, 1),
            "xycoords": axes.get_xaxis_transform(),
            "xytext": (3, -3),
            "textcoords": "offset points",
        }
        axes.annotate("not finite", **at, ha="left", va="top", color=COLOURS["problem"], fontsize=8.5)
    dress(axes)
    _place_marks(axes, chart.marks)
    _place_bounds(axes, chart)


def _draw_line(axes: Axes, line: Line) -> None:
    colour = COLOURS[line.role]
    front = line.role == "validation"
    if line.low:
        axes.fill_between(line.steps, line.low, line.high, color=colour, alpha=0.16, linewidth=0, zorder=1)
    dots = len(line.values) <= (_DOTS_UP_TO if front else 1)
    width = 1.8 if front else 1.3
    axes.plot(line.steps, line.values, color=colour, linewidth=width, marker="o" if dots else "", markersize=2.6, zorder=4 if front else 2)


def _spans_decades(chart: Chart) -> bool:
    values = [v for line in chart.lines for v in line.values] + [v for v, _ in chart.required]
    return bool(values) and min(values) > 0 and max(values) / min(values) >= LOG_FROM


def dress(axes: Axes) -> None:
    """Axes as every chart of ours has them."""
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLOURS["rule"])
    axes.tick_params(colors=COLOURS["muted"], labelcolor=COLOURS["muted"], length=3, width=0.8, labelsize=8.5)
    axes.tick_params(axis="y", which="both", length=0)
    axes.grid(visible=True, axis="y", color=COLOURS["rule"], linewidth=0.7, alpha=0.7)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.set_xlabel("optimizer step", color=COLOURS["muted"], fontsize=8.5, labelpad=2)


def _place_marks(axes: Axes, marks: tuple[Mark, ...]) -> None:
    """Above the curves, a bar over the steps of each finding, with its number in the list."""
    low, high = axes.get_xlim()
    for row, mark in enumerate(marks):
        colour, height = COLOURS["problem" if mark.severity == "problem" else "hint"], 1.05 + 0.075 * row
        first, last = max(mark.first, low), min(max(mark.last, mark.first + 0.01 * (high - low)), high)
        where: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "color": colour}
        axes.plot([first, last], [height, height], linewidth=2.4, solid_capstyle="round", **where)
        box = {"boxstyle": "circle,pad=0.22", "facecolor": colour, "edgecolor": "none"}
        axes.text(
            (first + last) / 2, height, str(mark.number), fontsize=7.5, ha="center", va="center",
            transform=axes.get_xaxis_transform(), color=COLOURS["card"], bbox=box, zorder=6,
        )  # fmt: skip
    axes.set_xlim(low, high)


def _place_bounds(axes: Axes, chart: Chart) -> None:
    """Each threshold's text beside the picture, at the height of its line, where it covers neither curve, ring nor bar."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # what stands beside it must not move it
    to_share = axes.transData + axes.transAxes.inverted()
    wanted = sorted((float(to_share.transform((0.0, required))[1]), text) for required, text in chart.required)
    free = -1.0
    for height, text in wanted:
        # `≥ 0.9 (95 % confidence)` goes over two lines; texts of thresholds that lie close to each other stand one over the other.
        bound = text.removeprefix(chart.title).strip().replace(">=", "≥").replace("<=", "≤").replace(" (", "\n(", 1)
        half = _TEXT_HEIGHT * (1 + bound.count("\n")) / 2
        at = max(height, free + half)
        free = at + half
        beside: dict[str, Any] = {"xy": (1, at), "xycoords": "axes fraction", "xytext": (4, 0), "textcoords": "offset points"}
        axes.annotate(bound, **beside, ha="left", va="center", color=COLOURS["goal"], fontsize=8.5, parse_math=False)


def _for_a_page(svg: str) -> str:
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = _root_attributes(svg)
    svg = svg.replace("xlink:href", "href")
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--font)", svg)


def _root_attributes(svg: str) -> str:
    """The root element with its viewBox alone: within a page the rest is either implied or the page's to say."""
    box = re.search(r'viewBox="[^"]*"', svg)
    return f'<svg {box[0] if box else ""} aria-hidden="true" focusable="false">{svg[svg.index(">") + 1 :]}'
