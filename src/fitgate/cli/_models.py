"""`fitgate models`: what is deployed."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from fitgate.cli._command import command
from fitgate.cli._common import Json, age_text, print_json, terminal
from fitgate.registry import Model, ModelVersion
from fitgate.registry import models as deployed

MOST_METRICS = 3


@command("fitgate models\nfitgate models deploy --json")
def models(
    deploy_root: Annotated[str, typer.Argument(metavar="[DEPLOY_ROOT]", help="The folder that the models' folders are in.")] = "deploy",
    *,
    json: Json = False,
) -> None:
    """List every model and version, with metrics, and which version is live.

    Nothing is verified here: that is `fitgate verify`.

    Exit codes: 0; 2 when there is no such folder.
    """
    found = deployed(deploy_root)
    if json:
        print_json([_as_dict(model) for model in found])
        return
    console = terminal()
    if not found:
        console.print(f"No models in {deploy_root} yet.")
        return
    console.print(Group(*(part for model in found for part in _part(model))), crop=False)


def _part(model: Model) -> list[RenderableType]:
    live = f"version {model.live} is live" if model.live else "no version is live"
    heading = Text.assemble((model.name, "bold"), f"  {live}  ", (model.path, "dim"))
    parts: list[RenderableType] = [heading]
    if model.problem:
        parts.append(Text(f"  {model.problem}", "red"))
    table = Table(box=None, pad_edge=True, header_style="dim")
    for name in ("", "version", "age", "size", "run", "metrics"):
        table.add_column(name, overflow="fold")
    for version in reversed(model.versions):
        table.add_row(*_row(version))
    return [*parts, table, Text()]


def _row(version: ModelVersion) -> tuple[Text | str, ...]:
    mark = Text("live", "green") if version.live else ""
    if version.problem:
        return mark, str(version.number), "", "", "", Text(version.problem, "red")
    age = age_text(version.created) if version.created else ""
    return mark, str(version.number), age, decimal(version.size), version.run_id or "", _metrics(version)


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
