"""`fitgate tensorboard`: the real TensorBoard on a store."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fitgate.cli._command import command
from fitgate.cli._common import RootOption, check_is_store, one_root
from fitgate.errors import StoreError
from fitgate.store import Store


@command(
    "fitgate tensorboard\nfitgate tensorboard runs --port 6007\nfitgate tensorboard runs -- --reload_interval 5",
    ignore_unknown_options=True,
)
def tensorboard(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROOT] [ARGS]", help="The store, then whatever `tensorboard --help` lists."),
    ] = None,
    *,
    root_option: RootOption = None,
    port: Annotated[int | None, typer.Option(help="Where to listen; TensorBoard's own default is 6006.")] = None,
    host: Annotated[str | None, typer.Option(help="On which address; TensorBoard's own default is localhost.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Remake every run's event files from Parquet, and stop.")] = False,
) -> None:
    """Start TensorBoard on a store.

    It shows each run under its id, also while it trains, and ends with Ctrl-C. Exit codes: TensorBoard's own; 2 when there is no such store, ROOT
    and --root differ, or a run's events can't be remade, which is told after those of all others are.
    """
    given = list(arguments or ())
    root = one_root(given.pop(0) if given and not given[0].startswith("-") else None, root_option)
    store = Store(root)
    check_is_store(root)
    if rebuild:
        _rebuild(store)
        return
    options = [*(["--port", str(port)] if port is not None else []), *(["--host", host] if host else [])]
    sys.stdout.flush()
    # TensorBoard takes this process's place: signals and the exit code are its own.
    os.execv(sys.executable, [sys.executable, "-m", "tensorboard.main", "--logdir", root, *options, *given])  # noqa: S606 - no shell is wanted


def _rebuild(store: Store) -> None:
    from fitgate.tensorboard.rebuild import rebuild_events  # noqa: PLC0415 - protobuf is only loaded by those who write events

    problems = []
    for run in store.runs():
        if not Path(run.path).is_dir():
            message = f"event files can be remade in a local store only, not in {store.root}"
            raise StoreError(message)
        try:
            typer.echo(f"{run.id}: {rebuild_events(run)}")
        except StoreError as error:
            problems.append(f"{run.id} is left as it was: {error}")
    if problems:
        raise StoreError("\n".join(problems))
