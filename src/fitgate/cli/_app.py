"""The Typer app: commands, the version, and errors as one line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from fitgate.cli._command import Command
from fitgate.errors import FitgateError

__all__ = ["WRONG_USE", "build_app"]

WRONG_USE = 2
"""The exit code of an error that the user can mend: a wrong argument, no such run, a damaged file."""


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the context is of Typer's own copy of click
        for stream in (sys.stdout, sys.stderr):
            # A character that the terminal can't show must not end the command.
            getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                warnings.filterwarnings("always", category=UserWarning, module="fitgate")
                return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except OSError as error:
            # A file that can't be written is wrong use; exit code 1 would mean a verdict.
            typer.echo(f"fitgate: {error}", err=True)
            raise typer.Exit(WRONG_USE) from error
        except FitgateError as error:
            typer.echo(f"fitgate: {error}", err=True)
            raise typer.Exit(WRONG_USE) from error


def build_app(commands: Iterable[Command]) -> typer.Typer:
    """An app of these commands."""
    app = typer.Typer(cls=_Group, rich_markup_mode="rich", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback(epilog="Start with: [bold]fitgate demo[/]")(_fitgate)
    for command in commands:
        lines = "\n".join(f"  [bold]{escape(line)}[/]" for line in command.example.splitlines())
        app.command(command.name, epilog=f"Example:\n{lines}", context_settings=dict(command.settings))(command.function)
    return app


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer gives the option's value
    if wanted:
        typer.echo(f"fitgate {version('fitgate')}")
        raise typer.Exit


def _fitgate(
    *,
    _: Annotated[bool, typer.Option("--version", callback=_print_version, help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    """Turn a Lightning training run into evidence, and the evidence into a decision: deploy or improve."""


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:  # noqa: ANN401 - the hook's own signature
    """One line, without the place in our code that nobody asked for."""
    typer.echo(f"warning: {message}", err=True)
