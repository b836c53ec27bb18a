"""`fitgate promote`: make a version the live one."""

from __future__ import annotations

from typing import Annotated

import typer

from fitgate.cli._command import command
from fitgate.cli._common import Json, print_json, terminal
from fitgate.cli._verify import ModelDir
from fitgate.registry import Current
from fitgate.registry import promote as promote_version

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For history.jsonl.")]


@command('fitgate promote deploy/digits 3\nfitgate promote deploy/digits 3 --why "the fix for wet roads"')
def promote(
    model_dir: ModelDir,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="One of the model's versions.")],
    *,
    why: Why = "promoted by hand",
    json: Json = False,
) -> None:
    """Make a version the live one, once every file of it is verified.

    Exit codes: 0; 2 when there is no such version, or a file of it is off: nothing is changed then.
    """
    print_move(model_dir, promote_version(model_dir, version, why=why), json=json)


def print_move(model_dir: str, current: Current, *, json: bool) -> None:
    """What is live now."""
    if json:
        print_json(current)
        return
    before = f"; before it was {current.previous}" if current.previous is not None else ""
    terminal().print(f"{model_dir}: version {current.version} is live{before}.", soft_wrap=True)
