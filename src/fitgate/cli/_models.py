"""`fitgate models`: what is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from fitgate._layout import indented, least_width
from fitgate.cli._command import command
from fitgate.cli._common import Json, age_text, one_root, print_json, terminal
from fitgate.errors import RegistryError
from fitgate.registry import Model, ModelVersion, what_it_is
from fitgate.registry import models as deployed

DEFAULT_ROOT = "deploy"
MOST_METRICS = 3
_FACTS_INDENT = 9
_LEAST_METRICS = 24


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
    console.print(Group(*(part for model in found for part in _part(model, console))), crop=False)


def _part(model: Model, console: Console) -> list[RenderableType]:
    """A row a version; where the terminal is too narrow for that, two lines each, so that run ids stay in one piece."""
    table = _table(model)
    narrow = least_width(console, table) > console.width
    live = f"version {model.live} is live" if model.live else "no version is live"
    heading = Text.assemble(
        (model.name, "bold"), f"  {live}", "\n  " if narrow else "  ", (model.path, "dim"), no_wrap=True, overflow="ignore"
    )
    parts: list[RenderableType] = [heading]
    if model.problem:
        parts.append(indented(Text(model.problem, "red")))
    if narrow:
        return [*parts, *(line for version in reversed(model.versions) for line in _lines(version)), Text()]
    return [*parts, table, Text()]


def _table(model: Model) -> Table:
    table = Table(box=None, pad_edge=True, header_style="dim")
    for name in ("", "version", "age", "size", "run"):
        table.add_column(name, no_wrap=True)
    table.add_column("metrics", overflow="fold", min_width=_LEAST_METRICS)
    for version in reversed(model.versions):
        table.add_row(*_row(version))
    return table


def _row(version: ModelVersion) -> tuple[Text, ...]:
    mark = Text("live", "green") if version.live else Text()
    if version.problem:
        return mark, Text(str(version.number)), Text(), Text(), Text(), Text(version.problem, "red")
    age = Text(age_text(version.created)) if version.created else Text()
    return mark, Text(str(version.number)), age, Text(decimal(version.size)), Text(version.run_id or ""), Text(_metrics(version))


def _lines(version: ModelVersion) -> tuple[RenderableType, RenderableType]:
    mark, _, age, size, run, metrics = _row(version)
    head = Text.assemble("  ", Text(f"{version.number:>5}", "bold"), "  ", run, no_wrap=True, overflow="ignore")
    return Group(head), indented(Text(", ").join(part for part in (mark, age, size, metrics) if part), _FACTS_INDENT)


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
