"""`fitgate runs`: what is in a store."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fitgate.cli._command import command
from fitgate.cli._common import Json, RootArgument, RootOption, age_text, check_is_store, one_root, print_json, state_text, terminal
from fitgate.errors import StoreError
from fitgate.store import Run, Store

_STAGES = ("train", "test", "validate")
_UNREADABLE = "can't be read"
MOST_METRICS = 3
WIDE = 110
"""Columns from which the metrics stand beside the run instead of under it."""
NARROW = 80
"""Columns under which a run is a few lines instead of a row."""


@dataclass(frozen=True)
class Row:
    """One run of the list.

    Attributes:
        verdict: of its gate.json; None where nobody has judged it.
        last: the latest value of each metric: those of the gate first; of a validation where there is one.
        problem: which of its files can't be read, and what to do; None when all can.
    """

    run: Run
    verdict: str | None = None
    last: dict[str, float] = field(default_factory=dict)
    problem: str | None = None


@command("fitgate runs\nfitgate runs s3://bucket/runs --json")
def runs(
    root: RootArgument = None,
    *,
    root_option: RootOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=0, help="How many, newest first; 0 for all. Default: 20, with --json all.")
    ] = None,
    json: Json = False,
) -> None:
    """List runs, newest first, with state, verdict and last metrics.

    A run that was killed is lost: its run.json says running, and nobody has written it for five minutes.
    A damaged file is named in a warning, and all other runs are listed as ever.

    Exit codes: 0; 2 when there is no such store, it is a deploy root, or ROOT and --root differ.
    """
    root = one_root(root, root_option)
    found = Store(root).runs()
    if not found:
        check_is_store(root)
    limit = (0 if json else 20) if limit is None else limit
    rows = [_row(run) for run in (found[:limit] if limit else found)]
    for row in rows:
        if row.problem:
            warnings.warn(row.problem, stacklevel=1)
    if json:
        print_json([_as_dict(row) for row in rows])
        return
    console = terminal()
    if not rows:
        console.print(f"No runs in {root} yet.", markup=False)
        return
    console.print(_table(rows, width=console.width), crop=False)
    if len(found) > len(rows):
        console.print(f"… and {len(found) - len(rows)} older; --limit 0 lists all.", style="dim")


def _row(run: Run) -> Row:
    """One run of the list. A damaged file of it must not hide the others, nor what its whole files say."""
    from fitgate.report import read_gate  # noqa: PLC0415 - only reading commands need it

    gate: dict[str, Any] = {}
    last: dict[str, float] = {}
    problems = []
    try:
        gate = read_gate(run) or {}
    except (OSError, StoreError) as error:
        problems.append(str(error))
    try:
        last = _last(run, gate)
    except (OSError, StoreError) as error:
        problems.append(str(error))
    return Row(run=run, verdict=gate.get("verdict"), last=last, problem=" ".join(problems) or None)


def _last(run: Run, gate: Mapping[str, Any]) -> dict[str, float]:
    asked = [check["metric"] for check in gate.get("checks", ())]
    ends = (run.last_values(asked) if asked else run.last_values(stage="validate")) or run.last_values()
    # Of one name in several stages, the validation's stands, as in the gate.
    last = {name: ends[stage, name] for stage, name in sorted(ends, key=lambda series: _STAGES.index(series[0]))}
    first = [name for name in asked if name in last]
    return {name: last[name] for name in [*first, *(n for n in last if n not in first)]}


def _as_dict(row: Row) -> dict[str, Any]:
    run = row.run
    return {
        "id": run.id,
        "name": run.name,
        "state": run.state,
        "verdict": row.verdict,
        "created": run.created,
        "updated": run.info.updated,
        "path": run.path,
        "metrics": row.last,
        "problem": row.problem,
    }


def _table(rows: list[Row], *, width: int) -> RenderableType:
    if width < NARROW:
        return Group(*(_lines(row) for row in rows))
    wide = width >= WIDE
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("run", overflow="fold")
    for column in ("state", "verdict", *(["last metrics"] if wide else [])):
        table.add_column(column, no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    for row in rows:
        name = Text(row.run.id) if wide else Text.assemble(row.run.id, "\n  ", (_metrics(row), "dim"))
        last = [Text(_metrics(row))] if wide else []
        table.add_row(name, state_text(row.run.state), Text(row.verdict or "–"), *last, Text(age_text(row.run.created)))
    return table


def _lines(row: Row) -> Text:
    facts = [state_text(row.run.state), *([Text(row.verdict)] if row.verdict else []), Text(age_text(row.run.created))]
    # Ids stay in one piece, to be copied.
    return Text.assemble(
        (row.run.id, "bold"), "\n  ", Text(", ").join(facts), "\n  ", (_metrics(row), "dim"), no_wrap=True, overflow="ignore"
    )


def _metrics(row: Row) -> str:
    if row.problem and not row.last:
        return _UNREADABLE
    return "  ".join(f"{name} {value:.4g}" for name, value in list(row.last.items())[:MOST_METRICS])
