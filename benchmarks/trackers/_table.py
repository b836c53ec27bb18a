"""How the figures look: a table in the terminal, or the same in Markdown."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from rich import box
from rich.table import Table

from benchmarks.trackers._figures import TARGET_RATIO, Estimate, Row

__all__ = ["machine", "table"]


def table(
    rows: Sequence[Row],
    *,
    versions: Mapping[str, str],
    judged: str,
    instructions: Mapping[tuple[str, int], float] | None = None,
    markdown: bool = False,
) -> Table:
    """Lay the rows out, one section for each number of metrics.

    Args:
        rows: in the order to show within a section; the bare fit and the reference come first.
        versions: of the trackers, by name.
        judged: the tracker that the target is set for.
        instructions: of a step on the training thread, by tracker and number of metrics, where they were counted.
        markdown: with Markdown's lines.
    """
    counted = instructions or {}
    title = None if markdown else "Cost of a step above a bare fit, medians with 95 % intervals"
    shown = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD, title=title)
    shown.add_column("metrics", justify="right")
    shown.add_column("tracker", no_wrap=True)
    for unit in ("CPU µs", "wall µs", *(["instructions"] if counted else [])):
        shown.add_column(unit, justify="right")
        shown.add_column("x CSVLogger", justify="right")
    shown.add_column("ms a fit", justify="right")
    shown.add_column(f"target {TARGET_RATIO} x", justify="right")
    for metrics, group in groupby(sorted(rows, key=lambda row: row.metrics), key=lambda row: row.metrics):
        section = list(group)
        bare, reference = (counted.get((row.tracker, metrics)) for row in section[:2])
        for row in section:
            name = f"{row.tracker} {versions.get(row.tracker, '')}".rstrip()
            extra = _counted(counted.get((row.tracker, metrics)), bare, reference) if counted else ()
            shown.add_row(str(metrics), name, *_cells(row), *extra, _once(row), _target(row) if row.tracker == judged else "")
        shown.add_section()
    return shown


def _cells(row: Row) -> tuple[str, str, str, str]:
    if row.error is not None:
        return f"failed: {row.error}", "", "", ""
    return _number(row.cpu, 0), _number(row.cpu_ratio, 2), _number(row.wall, 0), _number(row.wall_ratio, 2)


def _once(row: Row) -> str:
    return "" if math.isnan(row.once_ms) else f"{row.once_ms:.0f}"


def _counted(own: float | None, bare: float | None, reference: float | None) -> tuple[str, str]:
    """Instructions above the bare fit's, and their ratio to the reference's."""
    if own is None or bare is None or reference is None:
        return "", ""
    if own == bare:
        return f"{own:,.0f}", ""
    return f"{own - bare:,.0f}", f"{(own - bare) / (reference - bare):.2f}"


def _number(estimate: Estimate | None, digits: int) -> str:
    if estimate is None or math.isnan(estimate.median):
        return ""
    interval = "" if math.isnan(estimate.low) else f" ({estimate.low:,.{digits}f} to {estimate.high:,.{digits}f})"
    return f"{estimate.median:,.{digits}f}{interval}"


def _target(row: Row) -> str:
    ratios = [r for r in (row.cpu_ratio, row.wall_ratio) if r is not None and not math.isnan(r.median)]
    if not ratios:
        return "not measured"
    worst = max(ratios, key=lambda r: r.median)
    if worst.median > TARGET_RATIO:
        return "missed"
    # An interval that reaches past the target does not show that it is kept.
    return "reached" if max(r.high for r in ratios) <= TARGET_RATIO else "median reaches it"


def machine() -> dict[str, str]:
    """What the figures depend on, besides the code."""
    packages = ("torch", "pytorch-lightning", "torchmetrics", "pyarrow", "protobuf", "numpy")
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "load before": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
