"""How this process was started, and from which code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fitgate._command_line import is_own_script

__all__ = ["git_state", "started_command"]

_PATIENCE_S = 10.0
"""A training does not wait longer for git: on a slow disk, looking for changes may take minutes."""
_COMMIT = "# branch.oid "
_NONE_YET = "(initial)"
_LONGEST = 4000
"""A program given on the command line itself may be of any length; what is longer is not kept."""
_NOT_A_COMMAND = re.compile(r"ipykernel_launcher|colab_kernel_launcher|from multiprocessing|--multiprocessing-fork")
_SECRET = re.compile(r"(?:^|[-_.])(?:api[-_]?key|token|password|passwd|secret|credentials?)$", re.IGNORECASE)
_HIDDEN = "…"


def git_state(folder: Path | None = None, *, without: Path | None = None) -> dict[str, Any] | None:
    """The commit that a folder is at, and whether it has uncommitted changes; None outside git.

    Args:
        folder: None for that of the script that runs, or the working folder where it is an installed one.
        without: a folder that is no part of the code, such as a store of runs: what is new in it is no change.
    """
    try:
        where = (folder or _code_folder() or Path.cwd()).resolve()
    except OSError:  # somebody has removed the working folder
        return None
    top = next((parent for parent in (where, *where.parents) if (parent / ".git").exists()), None)
    if top is None:
        return None
    apart = without.resolve() if without is not None else None
    within = apart is not None and apart != top and apart.is_relative_to(top)
    try:
        lines = _status(where, [":/", f":(exclude){os.path.relpath(apart, where)}"] if apart is not None and within else [])
    except (OSError, subprocess.SubprocessError):
        return None
    commit = next((line.removeprefix(_COMMIT) for line in lines if line.startswith(_COMMIT)), _NONE_YET)
    return None if commit == _NONE_YET else {"commit": commit, "dirty": any(not line.startswith("#") for line in lines)}


def _status(folder: Path, paths: Sequence[str]) -> list[str]:
    # Without optional locks: a status that refreshes the index would stand in the way of a commit made meanwhile.
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--", *paths]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=_PATIENCE_S)  # noqa: S603 - git, with paths of our own
    return done.stdout.decode(errors="replace").splitlines()  # a file's name may be any bytes


def started_command(arguments: Sequence[str] | None = None) -> str | None:
    """The command line of this process, as one would type it again; values of options that hold secrets are left out.

    Args:
        arguments: as `sys.orig_argv` has them, which is what None takes: the interpreter first, `-m` and all.

    Returns:
        None where there is none to type, such as in a notebook or at a prompt.

    Example:
        >>> started_command(["/usr/bin/python3.11", "-m", "nets.train", "--lr", "0.1"])
        'python -m nets.train --lr 0.1'
        >>> started_command(["python", "train.py", "--name=a b", "--api-key", "abc"])
        "python train.py '--name=a b' --api-key …"
        >>> started_command(["python", "-m", "ipykernel_launcher", "-f", "kernel.json"]) is None
        True
    """
    given = list(sys.orig_argv if arguments is None else arguments)
    _, *rest = given or [""]
    if not rest or any(_NOT_A_COMMAND.search(argument) for argument in rest):
        return None
    words = [Path(rest[0]).name, *rest[1:]] if is_own_script(rest[0]) else ["python", *rest]
    if rest[:2] == ["-m", "fitgate"]:
        words = rest[1:]
    line = " ".join(word if word.endswith(_HIDDEN) else shlex.quote(word) for word in _without_secrets(words))
    return line if len(line) <= _LONGEST else None


def _without_secrets(arguments: Sequence[str]) -> Iterator[str]:
    hide = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if hide:
            yield _HIDDEN
            hide = False
        elif equals and _SECRET.search(name):
            yield f"{name}={_HIDDEN}"
        else:
            hide = argument.startswith("-") and _SECRET.search(argument) is not None
            yield argument


def _code_folder() -> Path | None:
    """Where the script lies; None for one that was installed, which says nothing of the code that it runs."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    folder = Path(file).resolve().parent if file else None
    return None if folder is None or folder.is_relative_to(Path(sys.prefix).resolve()) else folder
