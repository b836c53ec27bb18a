"""Whose weights a checkpoint holds: without that, a step number alone would join one run's weights with another's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fitgate.export import UnsafeCheckpointError, load_checkpoint
from fitgate.store._checkpoints import WrittenCheckpoint, written_at
from fitgate.store._run_file import RunInfo
from fitgate_callbacks._lightning import ChosenCheckpoint

__all__ = ["Examined", "examine"]

_WAY_OUT = (
    "the values recorded here are not its; give each run a ModelCheckpoint and a folder of its own, or let the weights be judged "
    "in the run that trained them"
)


@dataclass(frozen=True)
class Examined:
    """The content of the chosen checkpoint, the digest of its file, and why it can't be judged; None when nothing speaks against it."""

    content: dict[str, Any]
    sha256: str | None
    problem: str | None


def examine(chosen: ChosenCheckpoint, run: RunInfo, *, state_key: str) -> Examined:
    """Read the checkpoint that would ship and ask whether it is this run's.

    It may be unpickled only where the run is on record as having written just this file, and nobody gave it by path: the path
    that a ModelCheckpoint names may come from a checkpoint that a fit was resumed from, whoever made that.

    Args:
        chosen: the choice.
        run: which run it must belong to, with what that has written.
        state_key: where the run's MetricsCallback keeps its state in a checkpoint.
    """
    path = chosen.path
    if not path:
        return Examined({}, None, chosen.problem)
    written = written_at(run.checkpoints, path)
    try:
        loaded = load_checkpoint(path, trusted=written is not None and not chosen.by_path)
    except UnsafeCheckpointError as error:
        return Examined({}, None, str(error) if chosen.by_path else _not_unpickled(path, error.holds))
    if loaded is None:
        gone = "nothing wrote it in this fit, or it was deleted" if chosen.by_path else "it was deleted"
        return Examined({}, None, f"the checkpoint {path} is not there: {gone} before it could be judged")
    foreign = _foreign(path, written, loaded.content, run, state_key)
    return Examined(loaded.content, loaded.sha256, foreign or chosen.problem)


def _foreign(path: str, written: WrittenCheckpoint | None, content: Mapping[str, Any], run: RunInfo, state_key: str) -> str | None:
    """Why the weights are not those that this run's values tell of; None when they are."""
    if written is not None:
        attempt, step = written.attempt, written.global_step
    else:
        callbacks = content.get("callbacks")
        state = callbacks.get(state_key) if isinstance(callbacks, Mapping) else None
        run_id = state.get("run_id") if isinstance(state, Mapping) else None
        if not isinstance(state, Mapping) or run_id is None:
            return f"the checkpoint {path} was not written by this run, and it does not say by which: {_WAY_OUT}"
        if run_id != run.id:
            return f"the checkpoint {path} was not written by this run: it is {run_id}'s, and {_WAY_OUT}"
        # A file of before attempts were kept may be of any: judged as the first, which the most has been left behind of.
        attempt, step = int(state.get("attempt") or 0), int(content.get("global_step") or 0)
    later = run.left_behind(attempt, step)
    if later is None:
        return None
    return (
        f"the checkpoint {path} holds step {step} of attempt {attempt}, and attempt {later.number} went on from step {later.resumed_step}: "
        "these weights are not those that this run's values tell of; give the resumed fit a checkpoint folder of its own"
    )


def _not_unpickled(path: str, holds: str) -> str:
    return (
        f"the checkpoint {path} holds more than weights_only=True admits ({holds}), and is not on record as written by this run, so it is "
        "not unpickled; save it with plain hyperparameters, or train on until this fit saves a better one"
    )
