"""`fitgate promote`: make a version the live one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from fitgate.cli._command import command
from fitgate.cli._common import Json, print_json
from fitgate.cli._verify import ModelDir
from fitgate.errors import RegistryError
from fitgate.registry import Current, no_version, read_current
from fitgate.registry import promote as promote_version

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For history.jsonl.")]


@command('fitgate promote deploy/digits 3\nfitgate promote deploy/digits 3 --why "the fix for wet roads"')
def promote(
    model_dir: ModelDir,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The number of one of the model's versions, such as 3.")],
    *,
    why: Why = "promoted by hand",
    json: Json = False,
) -> None:
    """Make a version the live one, once every file of it is verified. Of the one that is live already nothing changes.

    Exit codes: 0; 2 when there is no such version, or a file of it is off: nothing is changed then.
    """
    try:
        number = int(version)
    except ValueError:
        raise RegistryError(no_version(Path(model_dir), version)) from None
    before = None
    with suppress(RegistryError):  # a damaged CURRENT is written anew
        before = read_current(Path(model_dir))
    current = promote_version(model_dir, number, why=why)
    print_move(model_dir, current, json=json, moved=current != before)


def print_move(model_dir: str, current: Current, *, json: bool, moved: bool = True) -> None:
    """What is live now."""
    if json:
        print_json(current)
        return
    was = f"; before it was {current.previous}" if current.previous is not None else ""
    told = f"is live{was}." if moved else "was live already: its files are whole, and nothing has changed."
    typer.echo(f"{model_dir}: version {current.version} {told}")
