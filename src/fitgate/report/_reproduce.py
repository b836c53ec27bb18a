"""How to come to the same numbers, and where to look closer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from fitgate._command_line import command_line
from fitgate.gate import Judged, Threshold
from fitgate.report._changes import flat
from fitgate.report._files import root_of
from fitgate.report._model import Chart, Reproduce
from fitgate.report._text import exact
from fitgate.store import Run

__all__ = ["reproduce_of"]

_DEFAULT_ROOT = "runs"
_OWN_PROGRAM = "fitgate"
_JUDGE_FIRST = "judge it, by a threshold such as its best value"


def reproduce_of(run: Run, charts: Sequence[Chart], *, judged: Judged | None, git: Mapping[str, Any] | None = None) -> Reproduce:
    """Command lines for this run, and what it was made of.

    Args:
        run: from any store.
        charts: its curves: of a run that nobody has judged, the first gives an example of a threshold.
        judged: which weights were judged; None where nobody has.
        git: `commit` and `dirty` of the code that trained; None takes what the run recorded.
    """
    cwd = next((attempt.cwd for attempt in run.info.attempts if attempt.cwd), None)
    root = root_of(run, within=cwd)
    is_default = root == _DEFAULT_ROOT
    fitgate = partial(command_line, _OWN_PROGRAM, within=cwd)
    where = [run.id] if is_default else [run.id, "--root", root]
    judge_first = _threshold_for(charts)
    git = git or run.info.git
    return Reproduce(
        commands=(
            *_trained_by(run, cwd),
            *([(fitgate("gate", *where), "judge again, as in the fit")] if judged else []),
            *([] if judged or not judge_first else [(fitgate("gate", *where, "-t", judge_first), _JUDGE_FIRST)]),
            (fitgate("show", *where), "metrics and curves in the terminal"),
            (fitgate("report", *where, "--html", "report.html"), "this report"),
            (fitgate("tensorboard", *([] if is_default else [root])), "every run's curves, side by side"),
        ),
        cwd=cwd,
        checkpoint=judged.checkpoint if judged else None,
        hparams=dict(flat(run.hparams)),
        versions=dict(run.info.versions),
        git=dict(git) if git else None,
    )


def _trained_by(run: Run, cwd: str | None) -> Iterator[tuple[str, str]]:
    """What started the run, and what went on with it: an attempt that was started alike says nothing new."""
    before = None
    for attempt in run.info.attempts:
        if attempt.command and attempt.command != before:
            yield _typed(attempt.command, cwd), "train again" if before is None else f"went on, attempt {attempt.number}"
            before = attempt.command


def _typed(command: str, cwd: str | None) -> str:
    """A recorded command, whose program has no folder: fitgate's own may need one. Which Python is meant, the user knows."""
    program, space, arguments = command.partition(" ")
    return f"{command_line(program, within=cwd)}{space}{arguments}" if program == _OWN_PROGRAM else command


def _threshold_for(charts: Sequence[Chart]) -> str | None:
    chart = next((chart for chart in charts if chart.best_value is not None), None)
    if chart is None:
        return None
    return str(Threshold(chart.title, ">=" if chart.better_high else "<=", float(exact(chart.best_value))))
