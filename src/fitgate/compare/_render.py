"""A comparison as a page and as Markdown, from templates in this package; style and filters are the report's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from fitgate._markdown import markdown
from fitgate.compare._baseline import BaselineCheck
from fitgate.compare._chart import COLOURED, DRAWN, Limits, colours_of, curves_svg, finish_of, groups_svg, seeds_svg
from fitgate.compare._columns import standing
from fitgate.compare._hparams import is_seed
from fitgate.compare._model import Comparison
from fitgate.compare._record import Curve, Point
from fitgate.compare._text import differences_text, groups_cells, headline, metric_text, unranked_text
from fitgate.compare._thin import MOST_POINTS
from fitgate.compare._words import counted, duration, number, undated
from fitgate.report._text import margin_text, value_text

if TYPE_CHECKING:
    import jinja2

__all__ = ["render_html", "render_markdown"]

MOST_MARKDOWN_ROWS = 20
MOST_MARKDOWN_GROUPS = 10
MOST_MARKDOWN_HPARAMS = 6


def render_html(comparison: Comparison, check: BaselineCheck | None = None) -> str:
    """One self-contained page: no script, nothing from outside, readable on a phone, in print, light and dark."""
    facts = _facts(comparison, check)
    groups = comparison.groups
    colours = colours_of(comparison)
    drawn = facts["ranked"][:DRAWN]
    page = {
        "headline": headline(comparison, check),
        "curves": _whole_and_finish(
            [row.series.curve for row in drawn], lambda limits: curves_svg(comparison, limits), drawn[0].best if drawn else None
        ),
        "bands": _whole_and_finish([g.curve for g in groups[:COLOURED] if g.curve], lambda limits: groups_svg(groups, limits)),
        "seeds": seeds_svg(groups, comparison.metric.name) if any(len(group.values) > 1 for group in groups) else "",
        "letters": {run_id: group.letter for group in groups for run_id in group.run_ids},
        "colours": colours,
        "grey": sum(row.facts.id not in colours for row in drawn),
        "epochs": any((row.points.epochs or 0) > 1 for row in comparison.rows),
        "coloured": COLOURED,
        "drawn": DRAWN,
        "most_points": MOST_POINTS,
        "thinned": any(row.series.count > MOST_POINTS for row in drawn),
    }
    return _environment().get_template("compare.html.j2").render(**facts, **page)


def render_markdown(comparison: Comparison, check: BaselineCheck | None = None) -> str:
    """The same without the pictures, short enough for a comment in a pull request."""
    names = [name for name in comparison.differing if not is_seed(name)][:MOST_MARKDOWN_HPARAMS]
    facts = _facts(comparison, check)
    return (
        _environment()
        .get_template("compare.md.j2")
        .render(**facts, names=names, most_rows=MOST_MARKDOWN_ROWS, most_groups=MOST_MARKDOWN_GROUPS)
        .strip()
        + "\n"
    )


def _whole_and_finish(curves: Sequence[Curve], draw: Callable[[Limits | None], str], ringed: Point | None = None) -> list[tuple[str, str]]:
    """The whole curves, and a closer look at their second half where that shows more."""
    if not curves:
        return []
    finish = finish_of(curves, ringed)
    return [("all steps", draw(None)), *([("the second half, closer", draw(finish))] if finish else [])]


def _facts(comparison: Comparison, check: BaselineCheck | None) -> dict[str, Any]:
    return {
        "comparison": comparison,
        "check": check,
        "metric": metric_text(comparison.metric),
        "ranked": [row for row in comparison.rows if row.rank is not None],
        "unranked": unranked_text(comparison.rows),
        "groups": comparison.groups,
        "group_rows": list(zip(comparison.groups, groups_cells(comparison)[1:], strict=True)),
        "told": differences_text(comparison),
    }


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415 - the terminal's leaderboard needs no templates

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("fitgate.compare"), jinja2.PackageLoader("fitgate.report")]),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters: dict[str, Any] = {
        "capitalise": lambda text: text[:1].upper() + text[1:],
        "counted": counted,
        "duration": duration,
        "margin": margin_text,
        "md": markdown,
        "number": number,
        "standing": standing,
        "undated": undated,
        "value": value_text,
    }
    environment.filters.update(filters)
    return environment
