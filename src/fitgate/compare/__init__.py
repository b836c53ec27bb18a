"""Comparison: any set of runs by one metric, and whether they differ by more than their seeds do.

`compare` reads and ranks; everything behind the reading is a pure function over frozen dataclasses.
"""

from fitgate.compare._baseline import BaselineCheck, check_baseline
from fitgate.compare._compare import Progress, compare
from fitgate.compare._errors import ComparisonError
from fitgate.compare._json import comparison_as_dict
from fitgate.compare._model import Comparison, Difference, Group, MetricChoice, Row
from fitgate.compare._record import Curve, Mode, Point, RunFacts, RunPoints, Series
from fitgate.compare._render import render_html, render_markdown
from fitgate.compare._terminal import print_comparison

__all__ = [
    "BaselineCheck",
    "Comparison",
    "ComparisonError",
    "Curve",
    "Difference",
    "Group",
    "MetricChoice",
    "Mode",
    "Point",
    "Progress",
    "Row",
    "RunFacts",
    "RunPoints",
    "Series",
    "check_baseline",
    "compare",
    "comparison_as_dict",
    "print_comparison",
    "render_html",
    "render_markdown",
]
