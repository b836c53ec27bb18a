"""The same store without Lightning: `start_run`."""

from __future__ import annotations

import os
import reprlib
import shutil
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fitgate._roots import local_root, probe
from fitgate.store._forked import RecordingProcess
from fitgate.store._hparams import plain_hparams
from fitgate.store._open import new_run_folder, open_recorder
from fitgate.store._process_end import PROCESS_END
from fitgate.store._run_file import State
from fitgate.store._schema import Record
from fitgate.store._values import check_flag, check_name, check_seconds, check_step, check_text, to_float

__all__ = ["ManualRun", "start_run"]


def start_run(
    root: str | os.PathLike[str] = "runs",
    *,
    name: str | None = None,
    hparams: Mapping[str, Any] | None = None,
    tensorboard: bool = True,
    flush_every_s: float = 1.0,
) -> ManualRun:
    """Begin a run by hand.

    Args:
        root: the store's folder; made where it is missing.
        name: what to call the run; leads its id.
        hparams: hyperparameters to record; what JSON can't hold is recorded as its text.
        tensorboard: also write TensorBoard events.
        flush_every_s: seconds between two background flushes; up to 0.8 s more where they would take over 0.25 % of a core.

    Raises:
        TypeError, ValueError: an argument is not as described; no run has begun then.
        OSError: the folder can't be written.

    Example:
        >>> import tempfile, fitgate
        >>> root = tempfile.mkdtemp()
        >>> with fitgate.start_run(root, name="by-hand") as run:
        ...     run.log_metric(name="accuracy", value=0.85, step=1)
        ...     run.log_metrics({"accuracy": 0.90, "loss": 0.35}, step=2)
        >>> fitgate.Store(root).latest().metrics(["accuracy"])["value"].to_pylist()
        [0.85, 0.9]
    """
    if hparams is not None and not isinstance(hparams, Mapping):
        message = f"hparams must be a mapping such as {{'lr': 0.1}}, got {type(hparams).__name__}; of a namespace give vars(…)"
        raise TypeError(message)
    seconds = check_seconds("flush_every_s", flush_every_s)
    folder = local_root("start_run: root", root)
    if name is not None:
        check_text("start_run: name", name)
    check_flag("start_run: tensorboard", tensorboard)
    probe(f"start_run: the store {folder}", folder)
    return ManualRun(folder, name=name, hparams=plain_hparams(hparams or {}), tensorboard=tensorboard, flush_every_s=seconds)


class ManualRun:
    """A run that is logged by hand. A context manager: leaving it completes the run, an exception fails it.

    Nothing is lost where the process ends first, also by SIGTERM: the run is then `interrupted`.
    """

    def __init__(self, root: Path, *, name: str | None, hparams: dict[str, Any], tensorboard: bool, flush_every_s: float) -> None:
        self.id, self.path = new_run_folder(root, name)
        try:
            self._recorder = open_recorder(self.path, name=name, hparams=hparams, tensorboard=tensorboard, flush_every_s=flush_every_s)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)  # made a moment ago, for this run alone
            raise
        self._last_step: dict[str, int] = {}
        self._logging = threading.RLock()  # a signal's handler may log too
        self._ended = self._told_to_end = False
        self._process = RecordingProcess()
        PROCESS_END.watch(self)

    def log_metric(self, name: str, value: Any, step: int | None = None) -> None:  # noqa: ANN401 - whatever holds one number
        """Record one value. Without `step`: one more than the last step of that name, from 0.

        Raises:
            TypeError: the value is no number, or the name no text.
            ValueError: the value holds several numbers, the name is empty, or the step is negative.
            RuntimeError: the run has ended.
        """
        self.log_metrics({name: value}, step)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record several values; all or none. In a forked child nothing is recorded, and a warning says so once.

        Raises:
            TypeError: `metrics` is no mapping; else as `log_metric`.
        """
        if not callable(getattr(metrics, "items", None)):
            message = f"metrics must be a mapping of names to values such as {{'accuracy': 0.9}}, got {type(metrics).__name__}: {reprlib.repr(metrics)}"
            raise TypeError(message)
        self._check_open(metrics)
        if self._process.is_forked and metrics:
            self._process.tell(next(iter(metrics)), self.id)
            return
        checked = {check_name(name): to_float(name, value) for name, value in metrics.items()}
        with self._logging:
            self._check_open(metrics)  # or another thread's close comes between
            steps = {name: check_step(name, self._last_step.get(name, -1) + 1 if step is None else step) for name in checked}
            self._last_step.update(steps)
            now = time.time_ns() // 1000
            for at in dict.fromkeys(steps.values()):  # what stands at one step goes together
                names = tuple(name for name in checked if steps[name] == at)
                self._recorder.record(Record("train", at, at, 0, now, names, [checked[name] for name in names]))

    def flush(self) -> None:
        """Bring everything logged so far to the disk."""
        self._recorder.flush()

    def close(self) -> None:
        """Complete the run."""
        self._end("completed")

    def interrupt(self) -> None:
        """End it as interrupted; used where the process ends before anybody closed it."""
        self._end("interrupted")

    def told_to_end(self) -> None:
        """Flush; used where SIGTERM came and somebody else's handler decides what it means."""
        self._told_to_end = True
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._end("completed")
        else:
            stopped = issubclass(kind, KeyboardInterrupt) or (issubclass(kind, SystemExit) and self._told_to_end)
            self._end("interrupted" if stopped else "failed")

    def _check_open(self, metrics: Iterable[str]) -> None:
        if self._ended:
            which = f"metric {', '.join(map(repr, metrics))}: " if metrics else ""
            message = f"{which}run {self.id!r} has ended and records nothing more; log before it is closed, or start another run"
            raise RuntimeError(message)

    def _end(self, state: State) -> None:
        if self._process.is_forked:  # a thread of the parent's may have held the lock, and would for ever
            self._ended = True
            return
        with self._logging:  # what another thread is logging is recorded first, or refused
            self._ended = True
        self._recorder.close(**({"state": state} if self._recorder.info.state == "running" else {}))
        PROCESS_END.forget(self)
