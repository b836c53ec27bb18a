"""Programs that need Lightning, each in a process of its own that finds it loaded: forked from a server that has done so.

To load PyTorch, Lightning and torchmetrics takes far longer than most of these programs. The server is one of multiprocessing's; it has
one thread and no run, as a new interpreter has none.
"""

import atexit
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, NoReturn

from torch.distributed import TCPStore  # type: ignore[attr-defined] # public by its documentation

__all__ = ["run_function", "run_module", "run_on_two_ranks", "run_script"]

Done = subprocess.CompletedProcess[str]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["fitgate.callbacks", "lightning.pytorch"])


def run_script(script: Path, *arguments: str, folder: Path, timeout_s: float = 110) -> Done:
    """As `python SCRIPT ARGUMENT …` in a folder."""
    return _run([_Program(_script, (str(script), arguments), folder)], timeout_s)[0]


def run_module(module: str, *arguments: str, folder: Path, timeout_s: float = 110) -> Done:
    """As `python -m MODULE ARGUMENT …` in a folder."""
    return _run([_Program(_module, (module, arguments), folder)], timeout_s)[0]


def run_function(function: Callable[..., object], *arguments: object, folder: Path, timeout_s: float = 110) -> Done:
    """A function that is all the program does."""
    return _run([_Program(function, arguments, folder)], timeout_s)[0]


def run_on_two_ranks(function: Callable[..., object], *arguments: object, folder: Path, timeout_s: float = 110) -> list[Any]:
    """A function in two processes at once, which find each other as those of `torchrun` do: through a store that whoever started them holds.

    Returns what each has returned, as JSON has it.
    """
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    environment = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_RUN_ID": "tests",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    ranks = [{**environment, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    both = _run([_Program(_leave, (function, arguments, f"returned{rank['RANK']}.json"), folder, rank) for rank in ranks], timeout_s)
    codes = [done.returncode for done in both]
    printed = [f"rank {rank}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}" for rank, done in enumerate(both)]
    assert codes == [0, 0], "\n".join([f"the ranks ended with {codes}, where {-signal.SIGKILL} may be by the other's end", *printed])
    return [json.loads((folder / f"returned{rank}.json").read_text()) for rank in (0, 1)]


class _Program:
    """What one process is to do, and what it will have printed."""

    def __init__(
        self, function: Callable[..., object], arguments: Sequence[object], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.folder = str(folder)
        self.environment = {**os.environ, **(environment or {})}
        self.printed = ""


def _run(programs: Sequence[_Program], timeout_s: float) -> list[Done]:
    """All at once. Where one fails the others are killed, and all where they take too long: each may wait for the other without end."""
    with TemporaryDirectory() as printed:
        processes = []
        for number, program in enumerate(programs):
            program.printed = f"{printed}/{number}"
            processes.append(_CONTEXT.Process(target=_live, args=(program,)))
        try:
            for process in processes:
                process.start()
            deadline = monotonic() + timeout_s
            while any(p.is_alive() for p in processes) and not any(p.exitcode for p in processes) and monotonic() < deadline:
                wait([p.sentinel for p in processes if p.is_alive()], deadline - monotonic())
            late = monotonic() >= deadline
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()
                    process.join()
        outputs = [[Path(program.printed + end).read_text() for end in (".out", ".err")] for program in programs]
        assert not late, f"not done in {timeout_s} s; what was printed until then: {outputs}"
        return [
            Done([str(argument) for argument in program.arguments], process.exitcode or 0, *output)
            for program, process, output in zip(programs, processes, outputs, strict=True)
        ]


def _live(program: _Program) -> NoReturn:
    """The life of a process, from what an interpreter finds to what it does as it ends."""
    for number, end in ((1, ".out"), (2, ".err")):
        descriptor = os.open(program.printed + end, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.environ.clear()
    os.environ.update(program.environment)
    os.chdir(program.folder)
    code: Any = 0
    try:
        program.function(*program.arguments)
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(code + "\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - who leaves by `os._exit` leaves both out
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _leave(function: Callable[..., object], arguments: Sequence[object], file: str) -> None:
    Path(file).write_text(json.dumps(function(*arguments)))


def _script(script: str, arguments: Sequence[str]) -> None:
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(script))
    runpy.run_path(script, run_name="__main__")


def _module(module: str, arguments: Sequence[str]) -> None:
    sys.argv = [module, *arguments]
    sys.path.insert(0, "")
    runpy.run_module(module, run_name="__main__", alter_sys=True)
