"""The improve report: one page that says what failed, by how much, why, and what to try.

HTML, Markdown and JSON from the same `Report`. It is built from a run's files alone; neither torch nor
Lightning is loaded, and the plotting library only when the HTML is made.
"""

from fitgate.report._build import build_report
from fitgate.report._charts import charts_of
from fitgate.report._files import previous_run, read_gate
from fitgate.report._json import report_as_dict
from fitgate.report._model import Change, Changes, Chart, CheckRow, Line, Mark, Report, Reproduce, RunFacts
from fitgate.report._render import render_html, render_markdown
from fitgate.report._write import write_report

__all__ = [
    "Change",
    "Changes",
    "Chart",
    "CheckRow",
    "Line",
    "Mark",
    "Report",
    "Reproduce",
    "RunFacts",
    "build_report",
    "charts_of",
    "previous_run",
    "read_gate",
    "render_html",
    "render_markdown",
    "report_as_dict",
    "write_report",
]
