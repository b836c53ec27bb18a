"""`fitgate models`: what is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from fitgate.cli._command import command
from fitgate.cli._common import Json, age_text, one_root, print_json, terminal
from fitgate.errors import RegistryError
from fitgate.registry import Model, ModelVersion, what_it_is
from fitgate.registry import models as deployed

DEFAULT_ROOT = "deploy"
MOST_METRICS = 3
NARROW = 80
"""Columns under which a version is two lines instead of a row, so that run ids stay in one piece."""


@command("fitgate models\nfitgate models deploy --json")
def models(
    deploy_root: Annotated[
        str | None, typer.Argument(metavar="[DEPLOY_ROOT]", help=f"The folder that the models' folders are in. Default: {DEFAULT_ROOT}.")
    ] = None,
    *,
    root_option: Annotated[str | None, typer.Option("--root", metavar="DEPLOY_ROOT", help="The same, as an option.")] = None,
    json: Json = False,
) -> None:
    """List every model and version, with metrics, and which version is live.

    Nothing is verified here: that is `fitgate verify`.

    Exit codes: 0; 2 when there is no such folder, it is a store of runs, or DEPLOY_ROOT and --root differ.
    """
    deploy_root = one_root(deploy_root, root_option, DEFAULT_ROOT)
    found = deployed(deploy_root)
    if not found and (what := what_it_is(Path(deploy_root))):
        message = f"there are no models in {deploy_root}: {what.told}"
        raise RegistryError(message)
    if json:
        print_json([_as_dict(model) for model in found])
        return
    console = terminal()
    if not found:
        console.print(f"No models in {deploy_root} yet.", markup=False)
        return
    console.print(Group(*(part for model in found for part in _part(model, narrow=console.width < NARROW))), crop=False)


def _part(model: Model, *, narrow: bool) -> list[RenderableType]:
    live = f"version {model.live} is live" if model.live else "no version is live"
    heading = Text.assemble(
        (model.name, "bold"), f"  {live}", "\n  " if narrow else "  ", (model.path, "dim"), no_wrap=True, overflow="ignore"
    )
    parts: list[RenderableType] = [heading]
    if model.problem:
        parts.append(Text(f"  {model.problem}", "red"))
    if narrow:
        return [*parts, *(_lines(version) for version in reversed(model.versions)), Text()]
    table = Table(box=None, pad_edge=True, header_style="dim")
    for name in ("", "version", "age", "size", "run", "metrics"):
        table.add_column(name, overflow="fold")
    for version in reversed(model.versions):
        table.add_row(*_row(version))
    return [*parts, table, Text()]


def _row(version: ModelVersion) -> tuple[Text, ...]:
    mark = Text("live", "green") if version.live else Text()
    if version.problem:
        return mark, Text(str(version.number)), Text(), Text(), Text(), Text(version.problem, "red")
    age = Text(age_text(version.created)) if version.created else Text()
    return mark, Text(str(version.number)), age, Text(decimal(version.size)), Text(version.run_id or ""), Text(_metrics(version))


def _lines(version: ModelVersion) -> Text:
    mark, _, age, size, run, metrics = _row(version)
    head = Text.assemble("  ", Text(f"{version.number:>5}", "bold"), "  ", run, "  ", mark)
    facts = Text(", ").join(part for part in (age, size, metrics) if part)
    return Text.assemble(head, "\n         ", facts, no_wrap=True, overflow="ignore")


def _metrics(version: ModelVersion) -> str:
    shown = [f"{name} {value:.4g}" for name, value in version.gated.items() if value is not None]
    return ", ".join(shown[:MOST_METRICS]) + (" …" if len(shown) > MOST_METRICS else "")


def _as_dict(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "path": model.path,
        "live": model.live,
        "problem": model.problem,
        "versions": [
            {
                "version": version.number,
                "live": version.live,
                "created": version.created,
                "run_id": version.run_id,
                "metrics": version.metrics,
                "files": version.files,
                "size": version.size,
                "problem": version.problem,
            }
            for version in model.versions
        ],
    }
