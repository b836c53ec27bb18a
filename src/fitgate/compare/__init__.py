"""Comparison: any set of runs by one metric, and whether they differ by more than their seeds do.

`compare` reads and ranks; everything behind the reading is a pure function over frozen dataclasses.
"""

from fitgate.compare._compare import Progress, compare
from fitgate.compare._errors import ComparisonError
from fitgate.compare._model import Comparison, Difference, Group, MetricChoice, Row
from fitgate.compare._record import Curve, Mode, Point, RunFacts, RunPoints, Series

__all__ = [
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
    "compare",
]
