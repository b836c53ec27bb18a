"""`fitgate verify`: is what is deployed still what was published?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from fitgate.cli._command import command
from fitgate.cli._common import Json, print_json, terminal
from fitgate.registry import verify as verify_model

_OFF = 1

ModelDir = Annotated[str, typer.Argument(metavar="MODEL_DIR", help="A model's folder, such as deploy/digits.")]


@command("fitgate verify deploy/digits\nfitgate verify deploy/digits --json")
def verify(model_dir: ModelDir, *, json: Json = False) -> None:
    """Read every file of every version and compare it with its manifest.

    Finds a changed byte, an added file and a removed one, a version that is gone, a link in the place of a file, a history that
    is damaged, and a CURRENT or a history that is gone; and says which file is off.

    Exit codes: 0 all is as it was published; 1 something is off; 2 there is no such model.
    """
    found = verify_model(Path(model_dir))
    if json:
        print_json({"model": found.model, "versions": found.versions, "files": found.files, "problems": list(map(asdict, found.problems))})
    else:
        console = terminal()
        for problem in found.problems:
            console.print(Text.assemble((problem.path, "bold red"), f": {problem.what}"), soft_wrap=True)
        count = len(found.versions)
        told = f"{found.files} files in {count} version{'s' if count != 1 else ''} of {found.model}"
        ending = f"{len(found.problems)} off." if found.problems else "all as published."
        console.print(Text(f"{told}: {ending}", "yellow" if found.problems else "green"))
    raise typer.Exit(_OFF if found.problems else 0)
