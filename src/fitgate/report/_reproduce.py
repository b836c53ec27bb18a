"""How to come to the same numbers, and where to look closer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fitgate.gate import Judged, Threshold
from fitgate.report._changes import flat
from fitgate.report._files import root_of
from fitgate.report._model import Chart, Reproduce
from fitgate.report._text import exact
from fitgate.store import Run

__all__ = ["reproduce_of"]

_DEFAULT_ROOT = "runs"


def reproduce_of(run: Run, charts: Sequence[Chart], *, judged: Judged | None, git: Mapping[str, Any] | None = None) -> Reproduce:
    """Command lines for this run, and what it was made of.

    Args:
        run: from any store.
        charts: its curves: of a run that nobody has judged, the first gives an example of a threshold.
        judged: which weights were judged; None where nobody has.
        git: `commit` and `dirty` of the code that trained; None takes what the run recorded.
    """
    root = root_of(run)
    where = shlex.quote(run.id) if root == _DEFAULT_ROOT else f"{shlex.quote(run.id)} --root {shlex.quote(root)}"
    tensorboard = "fitgate tensorboard" if root == _DEFAULT_ROOT else f"fitgate tensorboard {shlex.quote(root)}"
    judge = [(f"fitgate gate {where}", "judge again, as in the fit")] if judged else list(_judge_first(where, charts))
    git = git or run.info.git
    return Reproduce(
        commands=(
            *_trained_by(run),
            *judge,
            (f"fitgate show {where}", "metrics and curves in the terminal"),
            (f"fitgate report {where} --html report.html", "this report"),
            (tensorboard, "every run's curves, side by side"),
        ),
        cwd=next((attempt.cwd for attempt in run.info.attempts if attempt.cwd), None),
        checkpoint=judged.checkpoint if judged else None,
        hparams=dict(flat(run.hparams)),
        versions=dict(run.info.versions),
        git=dict(git) if git else None,
    )


def _trained_by(run: Run) -> Iterator[tuple[str, str]]:
    """What started the run, and what went on with it: an attempt that was started alike says nothing new."""
    before = None
    for attempt in run.info.attempts:
        if attempt.command and attempt.command != before:
            yield attempt.command, "train again" if before is None else f"went on, attempt {attempt.number}"
            before = attempt.command


def _judge_first(where: str, charts: Sequence[Chart]) -> Iterator[tuple[str, str]]:
    chart = next((chart for chart in charts if chart.best_value is not None), None)
    if chart is not None:
        threshold = Threshold(chart.title, ">=" if chart.better_high else "<=", float(exact(chart.best_value)))
        yield f"fitgate gate {where} -t {shlex.quote(str(threshold))}", "judge it, by a threshold such as its best value"
