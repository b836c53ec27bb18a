"""What the comparison's pictures show: read back from the SVG within the page, and from the terminal's line of blocks."""

import io
import re
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

import fitgate
from fitgate.compare import Comparison, compare, print_comparison, render_html

MakeRun = Callable[..., fitgate.Run]
STEPS = 10 * np.arange(1, 9)
CURVES = {
    "wide-0": (0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.82),
    "wide-1": (0.2, 0.25, 0.55, 0.65, 0.72, 0.79, 0.81, 0.9),
    "narrow-0": (0.1, 0.15, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5),
    "narrow-1": (0.05, 0.2, 0.25, 0.28, 0.38, 0.39, 0.5, 0.6),
}
"""The best run first in each group, by its last value: wide-1, wide-0, narrow-1, narrow-0."""
Points = list[tuple[float, float]]


@pytest.fixture
def comparison(make_run: MakeRun) -> Comparison:
    """Two groups of two seeds."""
    runs = [
        make_run(name, {"val_acc": values}, hparams={"width": len(name.split("-")[0]), "seed": int(name[-1])})
        for name, values in CURVES.items()
    ]
    return compare(runs, "val_acc")


def _pictures(comparison: Comparison, title: str) -> list[ET.Element]:
    """In the order of the page: the runs' curves, then the groups'."""
    figures = re.findall(r"<figure.*?</figure>", render_html(comparison), re.DOTALL)
    found = [re.search(r"<svg.*</svg>", figure, re.DOTALL) for figure in figures if f">{title}</span>" in figure]
    return [ET.fromstring(svg[0]) for svg in found if svg]  # noqa: S314 - our own page


def _points(path: ET.Element) -> Points:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path.get("d", ""))]


def _lines(picture: ET.Element, colour: str) -> list[Points]:
    paths = (p for p in picture.iter("path") if f"stroke: var(--{colour})" in p.get("style", "") and "fill: none" in p.get("style", ""))
    return [points for points in map(_points, paths) if len(points) == len(STEPS)]


def _scale(drawn: Sequence[Points], values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """How a value becomes a height, as slope and offset; every point of every curve must lie there, at its step."""
    assert len(drawn) == len(values)
    across, up = np.array(drawn).transpose(2, 0, 1)
    for pixels, numbers in ((across, np.tile(STEPS, (len(values), 1))), (up, np.array(values))):
        slope, offset = np.polyfit(numbers.ravel(), pixels.ravel(), 1)
        np.testing.assert_allclose(offset + slope * numbers, pixels, atol=0.01)
    assert slope < 0, "more is higher"
    return float(slope), float(offset)


def _area(picture: ET.Element, colour: str) -> list[tuple[float, float]]:
    """The lowest and the highest of a filled area at each of its steps, as heights in the picture."""
    (use,) = (u for u in picture.iter("use") if f"fill: var(--{colour}); fill-opacity" in u.get("style", ""))
    (path,) = (p for p in picture.iter("path") if f"#{p.get('id')}" == use.get("href"))
    at: dict[float, list[float]] = {}
    for x, y in _points(path):
        at.setdefault(x, []).append(y + float(use.get("y", "nan")))
    return [(max(ys), min(ys)) for _, ys in sorted(at.items())]


def test_every_run_is_a_curve_and_the_best_has_a_ring(comparison: Comparison) -> None:
    """In its group's colour, each value at its step; the ring is at the best value of the best run."""
    runs, _ = _pictures(comparison, "all steps")
    wide, narrow = _lines(runs, "s0"), _lines(runs, "s1")
    slope, offset = _scale([*wide, *narrow], [CURVES[name] for name in ("wide-0", "wide-1", "narrow-0", "narrow-1")])
    (ring,) = (use for use in runs.iter("use") if "fill: var(--card)" in use.get("style", ""))
    assert float(ring.get("y", "nan")) == pytest.approx(offset + slope * 0.9, abs=0.01)
    assert float(ring.get("x", "nan")) == pytest.approx(wide[-1][-1][0], abs=0.01)


def test_every_group_is_a_mean_with_its_band(comparison: Comparison) -> None:
    """The mean of its seeds, and around it the area from the lowest to the highest of them."""
    _, groups = _pictures(comparison, "all steps")
    seeds = [np.array([CURVES[f"{name}-{seed}"] for seed in (0, 1)]) for name in ("wide", "narrow")]
    lines = [line for colour in ("s0", "s1") for line in _lines(groups, colour)]
    slope, offset = _scale(lines, [both.mean(axis=0).tolist() for both in seeds])
    for colour, both in zip(("s0", "s1"), seeds, strict=True):
        wanted = offset + slope * np.column_stack([both.min(axis=0), both.max(axis=0)])
        np.testing.assert_allclose(_area(groups, colour), wanted, atol=0.01)


def test_the_terminal_draws_each_runs_curve(make_run: MakeRun) -> None:
    """Eight values from the lowest block to the highest, in the order of the steps; each run between its own extremes."""
    rising = [float(i) for i in range(8)]
    runs = [make_run("rises", {"val_acc": rising}), make_run("falls", {"val_acc": [0.1 * i for i in reversed(range(8))]})]
    stream = io.StringIO()
    print_comparison(compare(runs, "val_acc"), Console(file=stream, width=160, color_system=None))
    drawn = {name: line for line in stream.getvalue().splitlines() for name in ("rises", "falls") if f" {name} " in line}
    assert " ▁▂▃▄▅▆▇█ " in drawn["rises"]
    assert " █▇▆▅▄▃▂▁ " in drawn["falls"]
