"""What several commands share: their arguments, and how they print."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from fitgate._files import encode_json
from fitgate.errors import RunNotFoundError, StoreError
from fitgate.store import Run, Store

__all__ = [
    "Json",
    "Root",
    "RootArgument",
    "RootOption",
    "RunArgument",
    "age_text",
    "check_is_store",
    "find_run",
    "one_root",
    "print_json",
    "state_text",
    "terminal",
]

_STATE_STYLES = {"deployed": "green", "improve": "yellow", "running": "cyan", "failed": "red", "interrupted": "red", "lost": "red"}
DEFAULT_ROOT = "runs"
PIPED_WIDTH = 160
"""Columns of what is piped, where no terminal says how many there are: enough that ids stay whole."""

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="An id, a unique beginning of one or end of one ('quiet-otter'), a name (the newest run of that name), or 'latest'.",
    ),
]
RootArgument = Annotated[
    str | None, typer.Argument(metavar="[ROOT]", help=f"The store: a folder or any fsspec URL. Default: {DEFAULT_ROOT}.")
]
RootOption = Annotated[str | None, typer.Option("--root", metavar="ROOT", help="The same, as other commands take it.")]
"""Beside a positional root, for hands that are used to the other commands; `one_root` says which is meant."""
Root = Annotated[str, typer.Option("--root", metavar="ROOT", help="The store: a folder or any fsspec URL.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def one_root(argument: str | None, option: str | None, default: str = DEFAULT_ROOT) -> str:
    """The root that is meant, of a command that takes it in its place and as `--root`.

    Raises:
        typer.BadParameter: both are given, and differ.

    Example:
        >>> one_root(None, None), one_root("a", None), one_root(None, "b"), one_root("c", "c")
        ('runs', 'a', 'b', 'c')
    """
    if argument is not None and option is not None and argument != option:
        message = f"{argument!r} is given too, and only one can be meant"
        raise typer.BadParameter(message, param_hint=f"--root {option}")
    return next((root for root in (argument, option) if root is not None), default)


def find_run(root: str, run: str) -> Run:
    """The run that is meant.

    Raises:
        StoreError: there is no such store, or it is a folder of another kind.
        RunNotFoundError: there is no such run.
    """
    store = Store(root)
    try:
        return store.run(run)
    except RunNotFoundError:
        check_is_store(root)
        raise


def check_is_store(root: str) -> None:
    """Is it another kind of folder?

    Raises:
        StoreError: it is; the message says which, and the command for it.
    """
    from fitgate.registry import what_it_is  # noqa: PLC0415 - only where something is wrong

    found = what_it_is(Path(root))
    if found is not None and found.kind != "store":
        message = f"there are no runs in {root}: {found.told}"
        raise StoreError(message)


def terminal() -> Console:
    """Standard output. Piped: without colours, and wide enough for a line to be a line."""
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPED_WIDTH)
    return console


def print_json(content: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """One JSON document on standard output; NaN and infinities are null."""
    sys.stdout.write(encode_json(content).decode())


def age_text(since: datetime, now: datetime | None = None) -> str:
    """How long ago, roughly.

    Example:
        >>> age_text(datetime(2026, 11, 23, 8, tzinfo=UTC), datetime(2026, 11, 23, 11, 5, tzinfo=UTC))
        '3 h'
    """
    seconds = max(0.0, ((now or datetime.now(UTC)) - since).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def state_text(state: str) -> Text:
    """A run's state, coloured."""
    return Text(state, _STATE_STYLES.get(state, ""))
