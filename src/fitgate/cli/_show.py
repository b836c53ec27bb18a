"""`fitgate show`: one run on one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fitgate._words import plural
from fitgate.cli._command import command
from fitgate.cli._common import Json, Root, RunArgument, age_text, find_run, print_json, state_text, terminal
from fitgate.cli._series import Series, series_of
from fitgate.errors import StoreError
from fitgate.store import Run
from fitgate.summary import decision_part, labelled

MOST_HPARAMS = 6
NARROW = 80
VERY_NARROW = 56
"""Columns under which a metric is two lines instead of a row."""


@command("fitgate show latest\nfitgate show latest --metric train_loss")
def show(
    run: RunArgument,
    root: Root = "runs",
    *,
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", metavar="NAME", help="Draw this curve; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Show one run: metrics, curves, decision.

    Whether best is high or low comes from the run's thresholds, else its checkpoint's monitor, else the name: loss and error are better low.

    Exit codes: 0; 2 when there is no such run or no such metric.
    """
    from fitgate.diagnosis import better_high, curves_of, goals_of_checks, read_evidence  # noqa: PLC0415 - only a run that is shown is read whole
    from fitgate.report import read_gate  # noqa: PLC0415

    found = find_run(root, run)
    gate = read_gate(found)
    points = found.metrics()
    evidence = read_evidence(found, goals_of_checks((gate or {}).get("checks", ())), points=points)
    recorded = curves_of(points)
    _check_names(metric or (), {name for _, name in recorded})
    series = [series_of(curve, better_high=better_high(evidence, name)) for (_, name), curve in recorded.items()]
    if json:
        print_json(_as_dict(found, series, gate))
        return
    console = terminal()
    curves = _curves(evidence, metric or (), width=console.width, colour=console.color_system is not None and not console.no_color)
    console.print(_head(found, judged=gate is not None), crop=False)
    console.print(Padding(_table(series, width=console.width), (1, 0, 1, 2), expand=False), crop=False)
    console.print(*curves, crop=False)
    if gate:
        console.print(decision_part(gate, found.id, encoding=console.encoding), crop=False)


def _check_names(metrics: Sequence[str], known: AbstractSet[str]) -> None:
    from fitgate.gate import nearest_names  # noqa: PLC0415 - only where a name is given

    for unknown in [name for name in metrics if name not in known]:
        near = nearest_names(unknown, known) or sorted(known)
        hint = f"did you mean {' or '.join(near)}?" if near else "nothing has been logged yet"
        message = f"nobody has logged {unknown!r}; {hint}"
        raise StoreError(message)


def _curves(evidence: Any, metrics: Sequence[str], *, width: int, colour: bool) -> list[RenderableType]:  # noqa: ANN401 - Evidence
    from fitgate.cli._curves import curve_of  # noqa: PLC0415 - --json draws nothing
    from fitgate.diagnosis import Goal  # noqa: PLC0415
    from fitgate.report import charts_of  # noqa: PLC0415

    # What is asked for is drawn as what a threshold asks for.
    asked = tuple(Goal(metric=name, better_high=False, required=None, text=name) for name in metrics)
    charts = charts_of(replace(evidence, goals=(*evidence.goals, *asked)), ())
    wanted = [c for c in charts if not metrics or {line.name for line in c.lines} & set(metrics)]
    return [curve_of(chart, width=width, colour=colour) for chart in wanted if any(len(line.steps) > 1 for line in chart.lines)]


def _head(run: Run, *, judged: bool) -> RenderableType:
    fit, attempts = run.info.fit, len(run.info.attempts)
    far = [f"{count} {plural(noun, count)}" for noun, count in (("step", fit.global_step), ("epoch", fit.epoch))] if fit else []
    again = [f"{attempts} attempts"] if attempts > 1 else []
    title = Text.assemble("  ", (run.id, "bold"), "  ", state_text(run.state), no_wrap=True, overflow="ignore")
    lines: list[RenderableType] = ["", title, "", labelled("began", ", ".join([f"{age_text(run.created)} ago", *far, *again]))]
    if run.hparams:
        shown = [f"{name} {value}" for name, value in list(run.hparams.items())[:MOST_HPARAMS]]
        more = [f"and {len(run.hparams) - MOST_HPARAMS} more"] if len(run.hparams) > MOST_HPARAMS else []
        lines.append(labelled("hparams", ", ".join([*shown, *more])))
    if fit is not None and fit.failed and not judged:  # a decision's reasons say it too
        lines.append(labelled("failed", fit.failed))
    return Group(*lines)


def _table(series: Sequence[Series], *, width: int) -> RenderableType:
    if not series:
        return Text("Nothing has been logged yet.", "dim")
    ordered = sorted(series, key=lambda s: (("validate", "test", "train").index(s.stage), s.name))
    if width < VERY_NARROW:
        return Group(*map(_lines, ordered))
    table = Table(box=None, padding=(0, 1 if width < NARROW else 3, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("metric", overflow="fold")
    table.add_column("stage", no_wrap=True)
    for column in ("points", "last", "best", "at step"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in ordered:
        table.add_row(Text(one.name), one.stage, str(one.count), f"{one.last:.4g}", *_best(one))
    return table


def _lines(one: Series) -> RenderableType:
    best, at = _best(one)
    name = Text.assemble(one.name, ("  " + one.stage, "dim"), overflow="fold")
    return Group(
        name, Padding(Text(f"{one.count} {plural('point', one.count)}, last {one.last:.4g}, best {best} at step {at}"), (0, 0, 0, 2))
    )


def _best(one: Series) -> tuple[str, str]:
    """The best value, and the step that checkpoints and the decision below count, not the loggers'."""
    best = "–" if one.best is None else f"{one.best:.4g} {'↑' if one.better == 'high' else '↓'}"
    return best, "–" if one.best_global_step is None else str(one.best_global_step)


def _as_dict(run: Run, series: Sequence[Series], gate: Mapping[str, Any] | None) -> dict[str, Any]:
    info = run.info
    return {
        "id": run.id,
        "name": run.name,
        "state": run.state,
        "created": run.created,
        "updated": info.updated,
        "path": run.path,
        "hparams": run.hparams,
        "versions": info.versions,
        "attempts": info.attempts,
        "fit": info.fit,
        "lost_points": info.lost_points,
        "metrics": [asdict(one) for one in series],
        "gate": gate,
    }
