"""The one file that knows Lightning's namespaces and versions; its private paths are in `_internals.py`."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytorch_lightning
import torch

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
    # One class that is a callback in both namespaces: bare, in a list, and as a type for jsonargparse.
    Callback = type("Callback", tuple(_bases), {"__doc__": "A Lightning callback, whichever namespace the Trainer comes from."})

__all__ = [
    "Callback",
    "LightningModule",
    "Trainer",
    "choose_checkpoint",
    "end_of_fit_checkpoint",
    "fit_facts",
    "versions",
]


def versions() -> dict[str, str]:
    """Of the libraries that a fit depends on."""
    return {"pytorch-lightning": version("pytorch-lightning"), "torch": str(torch.__version__)}


def fit_facts(trainer: Trainer, *, start_step: int, exception: BaseException | None) -> FitFacts:
    """What must be known of this fit to judge it."""
    interrupted = "SIGTERM" if trainer.received_sigterm else "Ctrl-C" if isinstance(exception, KeyboardInterrupt) else None
    failed = f"{type(exception).__name__}: {exception}".rstrip(": ") if exception is not None and not interrupted else None
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
    )


def _stopped_on_non_finite(early_stopping: Any) -> bool:  # noqa: ANN401 - EarlyStopping of either namespace
    return getattr(getattr(early_stopping, "stopping_reason", None), "name", "") == "NON_FINITE_METRIC"


def choose_checkpoint(trainer: Trainer, which: str) -> tuple[str | None, Any]:
    """The path of the checkpoint that would ship, and the ModelCheckpoint that chose it.

    Args:
        trainer: after fit, or before it to see whether the choice is clear.
        which: `"best"`, `"last"` or a path.

    Returns:
        `(None, None)` where there is no ModelCheckpoint: the weights at the end of fit are meant.

    Raises:
        ValueError: there are several ModelCheckpoints.
    """
    if which not in ("best", "last"):
        return which, None
    callbacks: list[Any] = [c for c in trainer.checkpoint_callbacks if hasattr(c, "best_model_path")]
    if len(callbacks) > 1:
        monitors = ", ".join(repr(c.monitor) for c in callbacks)
        message = (
            f"GateCallback: there are {len(callbacks)} ModelCheckpoints (monitoring {monitors}); give the path of the checkpoint to judge"
        )
        raise ValueError(message)
    if not callbacks:
        return None, None
    (callback,) = callbacks
    path = callback.best_model_path if which == "best" else callback.last_model_path or callback.best_model_path
    return str(path), callback
