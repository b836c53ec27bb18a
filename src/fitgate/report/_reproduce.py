"""How to come to the same numbers, and where to look closer."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from fitgate.report._changes import flat
from fitgate.report._files import root_of
from fitgate.report._model import CheckRow, Reproduce
from fitgate.store import Run

__all__ = ["reproduce_of"]


def reproduce_of(run: Run, rows: tuple[CheckRow, ...], *, checkpoint: str | None, git: Mapping[str, Any] | None) -> Reproduce:
    """Command lines for this run, and what it was made of."""
    root = root_of(run)
    where = f"{shlex.quote(run.id)} --root {shlex.quote(root)}"
    thresholds = " ".join(f"-t {shlex.quote(row.threshold)}" for row in rows) or "-t 'val_acc >= 0.8'"
    trained = getattr(run.info, "command", None)
    commands = [
        *([(str(trained), "train again, from the commit and with the hyperparameters below")] if trained else []),
        (f"fitgate gate {where} {thresholds}", "judge again"),
        (f"fitgate show {where}", "metrics and curves in the terminal"),
        (f"fitgate report {where} --html report.html", "this report"),
        (f"fitgate tensorboard {shlex.quote(root)}", "every run's curves, side by side"),
    ]
    return Reproduce(
        commands=tuple(commands),
        checkpoint=checkpoint,
        hparams=dict(flat(run.hparams)),
        versions=dict(run.info.versions),
        git=dict(git) if git else None,
    )
