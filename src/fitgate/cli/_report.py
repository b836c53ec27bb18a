"""`fitgate report`: what a run's curves show, and what to try."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fitgate._files import replace_file
from fitgate.cli._command import command
from fitgate.cli._common import Json, Root, RunArgument, find_run, print_json, terminal
from fitgate.summary import shown_path


@command("fitgate report latest\nfitgate report latest --html report.html\nfitgate report latest > report.md")
def report(
    run: RunArgument,
    root: Root = "runs",
    *,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the page, self-contained, and print its path.")
    ] = None,
    json: Json = False,
) -> None:
    """Explain a run: what failed, why, what to try.

    Of any run, judged or not. Prints Markdown, dressed up where a terminal reads it.

    Exit codes: 0; 2 when there is no such run.
    """
    from fitgate.report import build_report, render_html, render_markdown, report_as_dict  # noqa: PLC0415 - the templates are for this command

    built = build_report(find_run(root, run))
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        page = render_html(built).encode()
        replace_file(html, lambda file: file.write(page))
    if json:
        print_json(report_as_dict(built))
    elif html is not None:
        typer.echo(shown_path(html))
    else:
        _print_markdown(render_markdown(built))


def _print_markdown(text: str) -> None:
    console = terminal()
    if not console.is_terminal:
        typer.echo(text, nl=not text.endswith("\n"))
        return
    from fitgate.cli._markdown import DressedUp  # noqa: PLC0415 - only a terminal dresses it up

    # Not cropped: a command that is longer than the line stays in one piece, and the terminal wraps it.
    console.print(DressedUp(text), crop=False)
