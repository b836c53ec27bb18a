"""The one file that knows Lightning's namespaces and versions; its private paths are in `_internals`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytorch_lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from fitgate._files import encodable
from fitgate.store._run_file import FitFacts
from fitgate_callbacks._internals import end_of_fit_checkpoint

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningModule, Trainer
else:
    from pytorch_lightning import LightningModule, Trainer

    _bases = [pytorch_lightning.Callback]
    if importlib.util.find_spec("lightning") is not None:
        import lightning.pytorch

        if lightning.pytorch.Callback is not pytorch_lightning.Callback:
            _bases.append(lightning.pytorch.Callback)
    # A trainer calls every hook of every callback at every step, a profiler's context around each, unless the hook is not
    # callable: six empty ones cost more than all recording. So an instance hides those that are empty; a subclass that has one
    # of its own is called, and finds Lightning's when it calls `super()`.
    _EMPTY = (
        "on_train_batch_start",
        "on_before_zero_grad",
        "on_before_backward",
        "on_after_backward",
        "on_before_optimizer_step",
        "on_train_batch_end",
    )

    def _hide_empty_hooks(self: Any) -> None:  # noqa: ANN401 - of the class made below
        super(Callback, self).__init__()
        self.__dict__.update((name, None) for name in _EMPTY if getattr(type(self), name) is getattr(Callback, name))

    _doc = "A Lightning callback, whichever namespace the Trainer comes from."
    # One class that is a callback in both namespaces: bare, in a list, and as a type for jsonargparse.
    Callback = type("Callback", tuple(_bases), {"__doc__": _doc, "__init__": _hide_empty_hooks})

__all__ = [
    "Callback",
    "ChosenCheckpoint",
    "LightningModule",
    "ModelCheckpoint",
    "Trainer",
    "choose_checkpoint",
    "end_of_fit_checkpoint",
    "end_progress_bar",
    "fit_facts",
    "is_a",
    "only_waits",
    "shards_checkpoints",
    "shards_weights",
    "versions",
]


def is_a(thing: object, *names: str) -> bool:
    """Whether it is of one of Lightning's classes, in whichever namespace: `lightning.pytorch` has each a second time.

    Example:
        >>> is_a(ModelCheckpoint(), "Checkpoint"), is_a(None, "Checkpoint")
        (True, False)
    """
    return any(kind.__name__ in names for kind in type(thing).__mro__)


def versions() -> dict[str, str]:
    """Of the libraries that a fit depends on."""
    return {"pytorch-lightning": version("pytorch-lightning"), "torch": str(torch.__version__)}


def fit_facts(trainer: Trainer, *, start_step: int, exception: BaseException | None) -> FitFacts:
    """What must be known of this fit to judge it."""
    interrupted = "SIGTERM" if trainer.received_sigterm else "Ctrl-C" if isinstance(exception, KeyboardInterrupt) else None
    failed = encodable(f"{type(exception).__name__}: {exception}".rstrip(": ")) if exception is not None and not interrupted else None
    non_finite = [e.stopping_reason_message for e in trainer.early_stopping_callbacks if _stopped_on_non_finite(e)]
    return FitFacts(
        global_step=trainer.global_step,
        epoch=trainer.current_epoch,
        steps=trainer.global_step - start_step,
        interrupted=interrupted,
        failed=failed,
        fast_dev_run=bool(getattr(trainer, "fast_dev_run", False)),
        limit_val_batches=trainer.limit_val_batches,
        non_finite_stop=non_finite[0] if non_finite else None,
        ended=datetime.now(UTC),
    )


def _stopped_on_non_finite(early_stopping: Any) -> bool:  # noqa: ANN401 - EarlyStopping of either namespace
    return getattr(getattr(early_stopping, "stopping_reason", None), "name", "") == "NON_FINITE_METRIC"


@dataclass(frozen=True)
class ChosenCheckpoint:
    """The checkpoint that would ship.

    Attributes:
        path: where it is; None for the weights at the end of fit; empty where nothing was saved.
        monitor, mode: what chose it; None where nothing did.
        by_path: the user gave it, and no ModelCheckpoint chose it: it is never unpickled.
        problem: why it can't be judged, in words; None when nothing speaks against it.
        for_good: no fit could change that.
    """

    path: str | None
    monitor: str | None = None
    mode: str | None = None
    by_path: bool = False
    problem: str | None = None
    for_good: bool = False


def choose_checkpoint(trainer: Trainer, which: Any) -> ChosenCheckpoint:  # noqa: ANN401 - ModelCheckpoint of either namespace
    """Which checkpoint would ship.

    Args:
        trainer: after fit, or before it to see whether the choice is clear.
        which: `"best"`, `"last"`, a path, or one of the trainer's ModelCheckpoints, whose best is meant.

    Raises:
        ValueError: there are several ModelCheckpoints, the one given is not among the trainer's callbacks, or `"last"` is
            wanted of one that keeps none.
    """
    trial = bool(getattr(trainer, "fast_dev_run", False))
    callbacks: list[Any] = [c for c in trainer.checkpoint_callbacks if hasattr(c, "best_model_path")]
    if not isinstance(which, str):
        if not any(callback is which for callback in callbacks):
            message = "GateCallback: the ModelCheckpoint given as checkpoint= is not among the trainer's callbacks; add it there"
            raise ValueError(message)
        return _chosen(which, "best", trial=trial)
    if which not in ("best", "last"):
        return ChosenCheckpoint(which, by_path=True)
    if len(callbacks) > 1:
        monitors = ", ".join(repr(c.monitor) for c in callbacks)
        message = (
            f"GateCallback: there are {len(callbacks)} ModelCheckpoints (monitoring {monitors}); give the one to judge, or a path: "
            "GateCallback(…, checkpoint=that_one)"
        )
        raise ValueError(message)
    return _chosen(callbacks[0], which, trial=trial) if callbacks else ChosenCheckpoint(None)


def _chosen(callback: Any, which: str, *, trial: bool) -> ChosenCheckpoint:  # noqa: ANN401
    name = f"{type(callback).__name__}(monitor={callback.monitor!r})"
    mode = callback.mode if callback.monitor else None
    score = callback.best_model_score
    problem, for_good = None, False
    not_due = "fast_dev_run switches checkpoints off" if trial else "none was due before the end of fit"
    if which == "last":
        if not callback.save_last:
            message = f"GateCallback(checkpoint='last') needs a ModelCheckpoint that keeps the last one; {name} has save_last={callback.save_last!r}"
            raise ValueError(message)
        path = callback.last_model_path
        if not path:
            problem = f"{name} saved no last checkpoint: {not_due}"
    else:
        path = callback.best_model_path
        if not path:
            keeps_none = callback.save_top_k == 0
            problem = f"{name} saved no checkpoint: {'save_top_k=0 keeps none' if keeps_none else not_due}"
            for_good = keeps_none and not trial
        elif callback.monitor and score is not None and not torch.isfinite(torch.as_tensor(score)):
            problem = f"{name} never saw a finite value, so its best checkpoint is not the best of anything"
    return ChosenCheckpoint(str(path), callback.monitor, mode, problem=problem, for_good=for_good)


def shards_weights(trainer: Trainer) -> bool:
    """Whether each process holds a part of the weights only, so that no live module can be copied whole."""
    return is_a(trainer.strategy, "FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")


def shards_checkpoints(trainer: Trainer) -> bool:
    """Whether the strategy says by itself that each checkpoint will be a folder of shards."""
    strategy: Any = trainer.strategy
    if is_a(strategy, "FSDPStrategy"):
        return getattr(strategy, "_state_dict_type", "full") == "sharded"
    if is_a(strategy, "ModelParallelStrategy"):
        return bool(getattr(strategy, "_save_distributed_checkpoint", False))
    return is_a(strategy, "DeepSpeedStrategy")


def only_waits(trainer: Trainer) -> bool:
    """Whether hooks run in processes that the trainer has spawned; this one is told of an error all the same."""
    return is_a(trainer.strategy.launcher, "_MultiProcessingLauncher")


def end_progress_bar(trainer: Trainer, module: LightningModule) -> None:
    """Let the progress bar end now, so that what is printed next comes under it.

    RichProgressBar redraws itself at the bottom until its own `teardown`, which may come after ours; it may be called twice.
    """
    bar: Any = trainer.progress_bar_callback
    if is_a(bar, "RichProgressBar"):
        bar.teardown(trainer, module, "fit")
