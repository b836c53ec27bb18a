"""Paths and commands as one would type them."""

from __future__ import annotations

import os
import shlex
import shutil
import sysconfig
from pathlib import Path

__all__ = ["command_line", "is_own_script", "shown_path", "typed"]


def shown_path(path: str | os.PathLike[str], *, within: str | os.PathLike[str] | None = None) -> str:
    """A path as one would type it: relative to the folder where one types, if it lies in it.

    Args:
        path: relative to the working folder, or absolute.
        within: where one types; None for the working folder.

    Example:
        >>> shown_path("/data/runs/a", within="/data"), shown_path("/data/runs/a", within="/home")
        ('runs/a', '/data/runs/a')
    """
    relative = os.path.relpath(path, within)
    return os.path.abspath(path) if relative.startswith(os.pardir) else relative


def command_line(program: str, *arguments: str, within: str | os.PathLike[str] | None = None) -> str:
    """A command that works as it stands, also where the virtual environment of this process is not active.

    Args:
        program: the name of a script that comes with fitgate or one of its dependencies.
        arguments: quoted where a shell asks for it.
        within: the folder where one types; None for the working folder.
    """
    own = Path(sysconfig.get_path("scripts")) / program
    found = shutil.which(program)
    if own.exists() and not (found and own.samefile(found)):
        program = shown_path(own, within=within)
    return shlex.join([program, *arguments])


def typed(command: str, *arguments: object) -> str:
    """A command of ours as messages tell it, quoted where a shell asks for it.

    Example:
        >>> typed("promote", Path("my models/digits"), 2)
        "fitgate promote 'my models/digits' 2"
    """
    return shlex.join(["fitgate", command, *map(str, arguments)])


def is_own_script(path: str) -> bool:
    """Whether a path, absolute or from the working folder, is that of a script of this Python's environment."""
    folder = os.path.dirname(path)
    return bool(folder) and os.path.realpath(folder) == os.path.realpath(sysconfig.get_path("scripts"))
