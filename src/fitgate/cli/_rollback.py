"""`fitgate rollback`: back to the version that was live before."""

from __future__ import annotations

from fitgate.cli._command import command
from fitgate.cli._common import Json
from fitgate.cli._promote import Why, print_move
from fitgate.cli._verify import ModelDir
from fitgate.registry import rollback as rollback_model


@command("fitgate rollback deploy/digits")
def rollback(model_dir: ModelDir, *, why: Why = "rolled back by hand", json: Json = False) -> None:
    """Make the version live that was so before the live one, once every file of it is verified.

    Called again it goes back one further: each undoes the latest promote that still counts. Nothing is deleted, and history.jsonl has a line more.

    Exit codes: 0; 2 when no promote but the first is left to undo, or a file of that version is off: nothing is changed then.
    """
    print_move(model_dir, rollback_model(model_dir, why=why), json=json)
