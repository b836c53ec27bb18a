"""The command line, `fitgate`. Reading commands load neither torch, nor Lightning, nor a plotting library.

A command is one module with one `Command`; add it to `COMMANDS`.

Example:
    >>> from fitgate.cli import COMMANDS
    >>> [command.name for command in COMMANDS][:2]
    ['demo', 'runs']
"""

from fitgate.cli._app import build_app
from fitgate.cli._command import Command
from fitgate.cli._compare import compare
from fitgate.cli._demo import demo
from fitgate.cli._gate import gate
from fitgate.cli._models import models
from fitgate.cli._promote import promote
from fitgate.cli._report import report
from fitgate.cli._rollback import rollback
from fitgate.cli._runs import runs
from fitgate.cli._show import show
from fitgate.cli._tensorboard import tensorboard
from fitgate.cli._verify import verify

__all__ = ["COMMANDS", "main"]

COMMANDS: tuple[Command, ...] = (
    demo,
    runs,
    show,
    compare,
    gate,
    report,
    tensorboard,
    models,
    verify,
    promote,
    rollback,
)

app = build_app(COMMANDS)


def main() -> None:
    """The entry point."""
    app()
