"""`fitgate compare`: runs side by side, and a gate for pull requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fitgate._files import replace_file
from fitgate.cli._command import command
from fitgate.cli._common import Json, Root, check_is_store, print_json, terminal
from fitgate.store import Run, Store
from fitgate.summary import shown_path

if TYPE_CHECKING:
    from fitgate.compare import Progress

_WORSE = 1
_BAR_FROM = 20
"""Runs from which reading takes long enough to show how far it is."""
_STEPS = {"facts": "looking at runs", "names": "looking for metrics", "points": "reading points"}


@command(
    "fitgate compare\n"
    "fitgate compare wide narrow --metric val_acc --html compare.html\n"
    "fitgate compare latest --baseline main --metric val_acc --fail-if-worse 0.01"
)
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Ids, unique beginnings or ends of ids, names or 'latest'; without any, all runs of the store."),
    ] = None,
    root: Root = "runs",
    *,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to compare by; by default what most runs are gated on, else monitor, else an accuracy."),
    ] = None,
    mode: Annotated[
        str, typer.Option(metavar="min|max|auto", help="Which way is better; auto: by a run's own threshold or monitor, else by the name.")
    ] = "auto",
    stage: Annotated[str | None, typer.Option(metavar="STAGE", help="train, validate or test, where the metric is in several.")] = None,
    baseline: Annotated[str | None, typer.Option(metavar="RUN", help="Count changes from this run's best value.")] = None,
    fail_if_worse: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="Exit 1 when the run is worse than the baseline by more than this, in the metric's unit."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="How many runs to show in the terminal.")] = 30,
    html: Annotated[Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Also write a page, self-contained.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a comment in a pull request.")] = False,
    json: Json = False,
) -> None:
    """Compare runs by one metric: a leaderboard, groups of seeds, and whether groups differ by more than their seeds.

    Ranked is each run's best value; NaN and infinities never win.

    Exit codes: 0; 1 worse than the baseline by more than --fail-if-worse; 2 wrong use: no such run or metric.
    """
    from fitgate.compare import (  # noqa: PLC0415 - only this command compares
        check_baseline,
        comparison_as_dict,
        print_comparison,
        render_html,
        render_markdown,
    )
    from fitgate.compare import compare as compare_runs  # noqa: PLC0415 - see above

    _check_use(baseline=baseline, metric=metric, fail_if_worse=fail_if_worse, json=json, markdown=markdown)
    chosen, base = _choose(Store(root), runs or [], baseline)
    with _progress(len(chosen)) as progress:
        comparison = compare_runs(chosen, metric, mode, stage=stage, baseline=base, progress=progress)
    check = None if fail_if_worse is None else check_baseline(comparison, fail_if_worse)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        page = render_html(comparison, check).encode()
        replace_file(html, lambda file: file.write(page))
    if json:
        print_json(comparison_as_dict(comparison, check))
    elif markdown:
        typer.echo(render_markdown(comparison, check), nl=False)
    else:
        print_comparison(comparison, terminal(), check, most_rows=top)
        if html is not None:
            typer.echo(f"\npage: {shown_path(html)}")
    raise typer.Exit(_WORSE if check is not None and check.worse else 0)


def _check_use(*, baseline: str | None, metric: str | None, fail_if_worse: float | None, json: bool, markdown: bool) -> None:
    if fail_if_worse is not None and baseline is None:
        message = "it is counted from a baseline; give --baseline RUN"
        raise typer.BadParameter(message, param_hint="--fail-if-worse")
    if fail_if_worse is not None and metric is None:
        message = "what decides must be named; give --metric NAME"
        raise typer.BadParameter(message, param_hint="--fail-if-worse")
    if json and markdown:
        message = "one document at a time: --json or --markdown"
        raise typer.BadParameter(message, param_hint="--markdown")


def _choose(store: Store, names: Sequence[str], baseline: str | None) -> tuple[list[Run], Run | None]:
    """The runs that are meant; the store is listed once, however many there are."""
    everything = store.runs()
    if not everything:
        check_is_store(store.root)
    by_id = {run.id: run for run in everything}

    def find(name: str) -> Run:
        return by_id.get(name) or store.run(name)

    return [find(name) for name in names] if names else everything, find(baseline) if baseline is not None else None


@contextmanager
def _progress(runs: int) -> Iterator[Progress | None]:
    """A bar on standard error, for those who watch; nothing where it is piped, or done in a blink."""
    console = Console(stderr=True)
    if runs < _BAR_FROM or not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - only a bar needs it

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks = {what: bar.add_task(text, total=runs, visible=False) for what, text in _STEPS.items()}

        def tell(what: str, done: int, total: int) -> None:
            bar.update(tasks[what], completed=done, total=total, visible=True)

        yield tell
