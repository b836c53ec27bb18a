"""The checkpoints that the running fit writes: what they stand for is on the disk before, and they are noted in run.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fitgate.store._checkpoints import WrittenCheckpoint, located, mark_of, noted, settled
from fitgate.store._recorder import Recorder
from fitgate_callbacks._lightning import Trainer

__all__ = ["CheckpointsWritten", "settle"]


class CheckpointsWritten:
    """Listens to `trainer.save_checkpoint` for the time of a fit. Every ModelCheckpoint saves through it.

    A checkpoint of weights alone holds no callback's state, and one with unsafe hyperparameters can't be asked before it
    is trusted: so what a fit wrote is known by its path and by what the file was like right after.
    """

    def __init__(self) -> None:
        self._remove: Callable[[], None] = lambda: None

    def install(self, trainer: Trainer, recorder: Recorder | None) -> None:
        """Begin to listen."""
        self.remove()
        if recorder is None:
            return
        attributes: dict[str, Any] = trainer.__dict__
        before, save = attributes.get("save_checkpoint"), trainer.save_checkpoint

        def save_checkpoint(filepath: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Lightning's own arguments
            step = trainer.global_step
            # A fit that goes on from it, should this process be killed, would leave a gap where the last flush was earlier.
            recorder.flush(checkpoint_step=step)
            save(filepath, *args, **options)
            if trainer.is_global_zero:
                _note(trainer, recorder, str(filepath), step)

        def remove() -> None:
            if attributes.get("save_checkpoint") is save_checkpoint:
                del attributes["save_checkpoint"]
                if before is not None:
                    attributes["save_checkpoint"] = before

        attributes["save_checkpoint"] = save_checkpoint
        self._remove = remove

    def remove(self) -> None:
        """Listen no more."""
        self._remove()
        self._remove = lambda: None


def settle(recorder: Recorder) -> None:
    """After the end of fit, when Lightning has joined the writers in the background."""
    known = recorder.info.checkpoints
    now = settled(known, recorder.info.attempts[-1].number)
    if now != known:
        recorder.update(checkpoints=now)


def _note(trainer: Trainer, recorder: Recorder, path: str, step: int) -> None:
    where = located(path)
    # Any writer but Lightning's plain one may be at it in the background: right after the call an older file may lie there.
    kind = type(trainer.strategy.checkpoint_io)
    at_once = kind.__name__ == "TorchCheckpointIO" and kind.__module__.startswith("lightning")  # there are two namespaces
    mark = mark_of(where) if at_once else None
    new = WrittenCheckpoint(path=where, global_step=step, attempt=recorder.info.attempts[-1].number, mark=mark)
    recorder.update(checkpoints=noted(recorder.info.checkpoints, new, wanted=_wanted(trainer)))


def _wanted(trainer: Trainer) -> set[str]:
    """What the trainer's ModelCheckpoints would choose now."""
    callbacks: list[Any] = list(trainer.checkpoint_callbacks)
    paths = {getattr(callback, name, "") for callback in callbacks for name in ("best_model_path", "last_model_path")}
    return {located(str(path)) for path in paths if path}
