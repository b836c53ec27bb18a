"""A report as HTML and as Markdown, from templates in this package."""

from __future__ import annotations

import shlex
from functools import cache
from typing import TYPE_CHECKING, Any

from fitgate._markdown import markdown
from fitgate._words import plural
from fitgate.report._model import Report
from fitgate.report._plot import svg_of
from fitgate.report._text import apart_text, bound_text, change_text, exact, margin_text, number_text, rule_title, sparkline, value_text

if TYPE_CHECKING:
    import jinja2

__all__ = ["render_html", "render_markdown"]


def render_html(report: Report) -> str:
    """One self-contained page: no script, nothing from outside, readable on a phone, in print, light and dark."""
    pictures = [svg_of(chart) for chart in report.charts]
    return _environment().get_template("report.html.j2").render(report=report, pictures=pictures)


def render_markdown(report: Report) -> str:
    """The same for a terminal, a pull request or TensorBoard's Text tab."""
    return _environment().get_template("report.md.j2").render(report=report)


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415 - reading commands don't render

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fitgate.report"),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters: dict[str, Any] = {
        "apart": apart_text,
        "bound": bound_text,
        "change": change_text,
        "exact": exact,
        "margin": margin_text,
        "md": markdown,
        "number": number_text,
        "plural": plural,
        "quoted": shlex.quote,
        "spark": sparkline,
        "title_of": rule_title,
        "value": value_text,
    }
    environment.filters.update(filters)
    return environment
