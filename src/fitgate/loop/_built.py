"""What `build` gives to a round: checked, and fitted."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from fitgate.gate import Decision

__all__ = ["Gate", "complaint", "fit", "gate_of"]

_MUST = "fit_until_deployed: build must return (trainer, module, data)"


@runtime_checkable
class Gate(Protocol):
    """What the loop needs of a GateCallback; the core doesn't import Lightning."""

    decision: Decision | None
    version: int | None
    report: dict[str, Any] | None
    run_dir: Path | None


def complaint(built: object, earlier: Sequence[weakref.ref[Any]]) -> TypeError | ValueError | None:
    """Why this can't be fitted and judged, as the error to raise; None when it can.

    Args:
        built: what `build` returned.
        earlier: the trainers of the rounds before.
    """
    wrong = _no_parts(built)
    if wrong is not None:
        return TypeError(f"{_MUST}{wrong}")
    trainer, *_ = cast("tuple[Any, Any, Any]", built)
    for number, one in enumerate(earlier):
        if one() is trainer:
            return ValueError(
                f"fit_until_deployed: build returned the Trainer of round {number} again in round {len(earlier)}; its counters and "
                "callbacks are that round's, so that there would be nothing left to train: make a new one each round"
            )
    if gate_of(trainer) is None:
        return ValueError(
            "fit_until_deployed: the trainer has no GateCallback, so nothing would be judged: "
            'from fitgate.callbacks import GateCallback, MetricsCallback, then callbacks=[MetricsCallback("runs"), GateCallback([…])]'
        )
    return None


def _no_parts(built: object) -> str | None:
    """In which way it is no trainer, module and data; None when it is."""
    if not isinstance(built, tuple | list) or len(built) != 3:  # noqa: PLR2004 - trainer, module, data
        what = f"{len(built)} things" if isinstance(built, tuple | list) else type(built).__name__
        return f", got {what}: {built!r}"
    trainer, module, data = built
    if not callable(getattr(trainer, "fit", None)) or not hasattr(trainer, "callbacks"):
        return f", and its trainer is no Trainer but {_kind(trainer)}"
    if not hasattr(module, "training_step"):
        return f", and its module is no LightningModule but {_kind(module)}"
    if isinstance(data, tuple | list) and len(data) != 2:  # noqa: PLR2004 - train, validate
        return f", and its data is a {_kind(data)} of {len(data)}, not a pair of train and validation dataloaders"
    return None


def gate_of(trainer: Any) -> Gate | None:  # noqa: ANN401 - a Trainer of either namespace
    """Its GateCallback; None where there is none."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, Gate)), None)


def fit(trainer: Any, module: Any, data: Any) -> None:  # noqa: ANN401
    """Fit on whatever kind of data it is."""
    if hasattr(data, "train_dataloader"):
        trainer.fit(module, datamodule=data)
    elif isinstance(data, tuple | list):
        trainer.fit(module, *data)
    else:
        trainer.fit(module, data)


def _kind(what: object) -> str:
    return f"{what.__name__}, the class itself" if isinstance(what, type) else type(what).__name__
