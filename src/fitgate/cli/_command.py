"""What a command is made of, before Typer sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Command", "command"]


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes:
        function: does the work; its signature gives the arguments, its docstring the help.
        example: command lines that `--help` ends with.
        settings: Typer's context settings.
    """

    function: Callable[..., None]
    example: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As one types it."""
        return self.function.__name__


def command(example: str, **settings: Any) -> Callable[[Callable[..., None]], Command]:  # noqa: ANN401 - Typer's own
    """Make a `Command` of a function.

    Example:
        >>> @command("fitgate hello")
        ... def hello() -> None: "Say hello."
        >>> hello.name, hello.example
        ('hello', 'fitgate hello')
    """
    return lambda function: Command(function, example, settings)
