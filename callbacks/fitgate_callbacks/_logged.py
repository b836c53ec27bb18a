"""Every logged value once, on an x-axis that goes on across a resume."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from fitgate_callbacks._internals import LoggerTap, finished, missing_path
from fitgate_callbacks._lightning import Trainer
from fitgate_callbacks._metric_states import restore_metric_states
from fitgate_callbacks._outputs import StepOutputs
from fitgate_callbacks._public import PublicTap
from fitgate_callbacks._values import joined, number_or_tensor

__all__ = ["LoggedValues"]

T = TypeVar("T")
_log = logging.getLogger("fitgate")
_BY_PUBLIC_API = (
    "MetricsCallback: this version of Lightning has no %s. Values are read through its public API instead, at a higher cost "
    "and missing a few (fitgate_callbacks._public.PublicTap says which)."
)


class Sink(Protocol):
    """Takes what was logged together; `epoch` where it is not the trainer's current one."""

    def __call__(self, stage: str, step: Any, names: tuple[str, ...], values: Sequence[Any], /, *, epoch: int | None = None) -> None: ...  # noqa: ANN401 - may wait on a device


class LoggedValues:
    """Gives a sink every value that Lightning's loggers would get at `log_every_n_steps=1`, once.

    The evaluation counter, which is the x-axis of values logged at each validation or test batch, never
    starts again within a run. Lightning's does, in each process and with each reloaded loader. The loggers' step
    goes on as well, where Lightning counts one too many after a checkpoint that was made amid a batch, and where
    another Trainer, which has counted nothing, validates or tests what was fitted.
    """

    def __init__(self, sink: Sink, outputs: StepOutputs) -> None:
        self._sink = sink
        self._outputs = outputs
        self.returned = outputs.keep  # of a `Listener`; without a call in between at every step
        self._tap: LoggerTap | PublicTap | None = None
        self._eval_steps: dict[str, int] = {}
        self._next_step: int | None = None
        self._shift = self._least = 0
        self._resumed = False
        self._warned = False
        self._eval_steps_before: dict[str, int] | None = None  # the validation that is running
        self._left_out = 0  # validations that earlier attempts were to run, and that are not run again
        self._is_rest = False  # of a validation that an earlier attempt has begun
        self._trainer: Trainer | None = None
        self._at_error: dict[str, Any] | None = None
        self._outputs_are_wanted = True
        self._joined: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())

    @property
    def step(self) -> int:
        """The current step, as Lightning's loggers count."""
        if self._tap is None or (self._resumed and self._trainer is not None and self._trainer.training):
            return self.coming_step  # by how much Lightning is off is known after the first batch
        return max(self._tap.step + self._shift, self._least)

    @property
    def coming_step(self) -> int:
        """The step that the training batch which begins will have."""
        if self._tap is None or (self._resumed and self._next_step is not None):
            return self._next_step or 0
        return self._tap.coming_step + self._shift

    def install(self, trainer: Trainer, state: dict[str, Any] | None = None) -> None:
        """Begin to listen.

        Args:
            trainer: what runs.
            state: where an earlier process stopped, for a fit that goes on from a checkpoint; on another rank than that
                process's without what is its own.
        """
        self.remove()
        self._at_error = self._eval_steps_before = None
        self._outputs_are_wanted = True
        self._trainer = trainer
        state = state or {}
        if state:
            self._eval_steps, self._next_step, self._shift = dict(state["eval_steps"]), state["next_step"], 0
            self._left_out = int(state.get("validation_is_due", 0))
        elif self._next_step is None and trainer.global_step == 0:
            self._next_step = 0
        self._least = 0 if trainer.state.fn == "fit" else self._next_step or 0
        missing = missing_path(trainer)
        if missing is None:
            self._tap = LoggerTap(trainer, self, sums=self._unfinished(trainer, state), pending=state.get("pending"))
            self._resumed = state.get("next_step") is not None
        else:
            if not self._warned:
                _log.warning(_BY_PUBLIC_API, missing)
            self._warned = True
            self._tap = PublicTap(trainer, self, next_step=trainer.global_step if self._next_step is None else self._next_step)
        for step, names, values, epoch in state.get("untold", []):
            self._sink("train", step, tuple(names), list(values), epoch=epoch)

    def go_on(self, state: dict[str, Any], *, error: bool = False) -> None:
        """Count on from where an earlier process stopped, though nothing is left to fit: it may be validated or tested.

        Args:
            state: where that was.
            error: something was raised before anything was recorded. A checkpoint that is saved on it stands where that process stopped.
        """
        if state:
            self._eval_steps, self._next_step = dict(state["eval_steps"]), state["next_step"]
            self._at_error = state if error else None

    def remove(self, *, error: bool = False) -> None:
        """Listen no more.

        Args:
            error: something was raised. What the module logged and loggers have not been told goes into the
                checkpoint that others may be about to save: a fit that goes on from there won't run that batch again.
        """
        if self._tap is None:
            return
        if error:
            self._at_error = {**self._state(cut_short=True), "untold": _guarded(self._untold, list[list[Any]]())}
        self._tap.remove()
        self._tap = self._trainer = None

    def state_dict(self) -> dict[str, Any]:
        """Where the counters and the epoch's sums stand, to go on after a resume.

        What is done and not yet told is in it too: the process may be killed before it is on the disk.
        """
        if self._at_error is not None:
            return self._at_error
        state = self._state()
        tap = self._tap
        if isinstance(tap, LoggerTap) and (tap.batch_is_untold or tap.epoch_is_untold):
            counted, outputs = dict(self.__dict__), dict(self._outputs.__dict__)
            with tap.kept():
                state["untold"] = _guarded(self._untold, list[list[Any]]())
            self.__dict__.update(counted)
            self._outputs.__dict__.update(outputs)
        return state

    def start_validation(self) -> None:
        """A validation begins, or Lightning goes on with an earlier one, which it may do where that was over."""
        tap = self._tap
        done = tap.validated if isinstance(tap, LoggerTap) else 0
        self._is_rest = done > 0
        self._count_validations(self._eval_steps, self._left_out - int(done))
        self._left_out = 0
        self._eval_steps_before = dict(self._eval_steps)
        if isinstance(tap, LoggerTap):
            tap.start_validation()

    def end_validation(self) -> None:
        """It has ended, and all hooks of the module with it."""
        if self._is_rest and self._eval_steps_before is not None:
            # It began with the first batch, and ran as many as were left.
            self._count_validations(self._eval_steps_before, 1)
        self._eval_steps_before = None
        if isinstance(self._tap, LoggerTap):
            self._tap.end_validation()

    def _state(self, *, cut_short: bool = False) -> dict[str, Any]:
        state: dict[str, Any] = {"eval_steps": dict(self._eval_steps), "next_step": self._next_step}
        tap = self._tap
        if isinstance(tap, LoggerTap):
            state |= _guarded(tap.epoch_state, dict[str, Any]())
            state["validation_is_due"] = state.get("validation_is_due", 0) + self._left_out
            if cut_short and tap.is_validating:
                state["eval_steps"] = dict(self._eval_steps if self._eval_steps_before is None else self._eval_steps_before)
                state["validation_is_due"] += not tap.validation_goes_on
            state["pending"] = _guarded(tap.pending, dict[str, float]())
            state["metric_states"] = _guarded(partial(tap.metric_states, cut_short=cut_short), None)
            if self._next_step is not None:
                state["next_step"] = self._next_step + tap.batch_is_untold
        return state

    # A `Listener`'s

    def train_step(self, step: int, axis: Any, names: tuple[str, ...], values: Sequence[Any], own_names: frozenset[str]) -> None:  # noqa: ANN401 - may wait on a device
        """Add what the module did not log itself."""
        step = self._going_on(step, ahead=0) if self._resumed else step + self._shift
        self._next_step = step + 1
        if self._outputs_are_wanted:
            names, values = self._with_outputs(names, values, own_names)
        if names:
            self._sink("train", step if axis is None else axis, names, values)

    def eval_step(self, stage: str, loader: int, names: tuple[str, ...], values: Sequence[Any]) -> None:
        """Count on."""
        key = f"{stage}/{loader}"
        step = self._eval_steps.get(key, 0)
        self._eval_steps[key] = step + 1
        if names:
            self._sink(stage, step, names, values)

    def at_end(
        self, stage: str, step: int, names: tuple[str, ...], values: Sequence[Any], *, ahead: int = 1, epoch: int | None = None
    ) -> None:
        """Put epoch values on the step of the last batch."""
        step = self._going_on(step, ahead=ahead)
        if names:
            self._sink(stage, step, names, values, epoch=epoch)

    def aside(self, stage: str, axis: Any, names: tuple[str, ...], values: Sequence[Any]) -> None:  # noqa: ANN401 - may wait on a device
        """Take it as it is."""
        if names:
            self._sink(stage, axis, names, values)

    def _with_outputs(
        self, names: tuple[str, ...], values: Sequence[Any], own_names: frozenset[str]
    ) -> tuple[tuple[str, ...], Sequence[Any]]:
        extra_names, extra_values = self._outputs.take(own_names)
        if not extra_names:
            if not self._outputs.are_wanted(own_names):  # nor at any later step: names only come to be more
                self._outputs_are_wanted = False
                if isinstance(self._tap, LoggerTap):
                    self._tap.ignore_outputs()
            return names, values
        # As long as the same names come together, the same tuple is given on.
        if names is not self._joined[0] or extra_names is not self._joined[1]:
            self._joined = (names, extra_names, names + extra_names)
        return self._joined[2], joined(values, extra_values)

    def _count_validations(self, before: Mapping[str, int], whole: int) -> None:
        """Count so many whole ones, whatever has run of them. How many batches some loaders have nobody knows: theirs are those that run."""
        for i, count in enumerate(self._trainer.num_val_batches if self._trainer is not None else []):
            if math.isfinite(count):
                self._eval_steps[f"validate/{i}"] = max(before.get(f"validate/{i}", 0) + int(count) * whole, 0)

    def _going_on(self, step: int, *, ahead: int) -> int:
        """The step as it would be had the fit never stopped: the first one after a resume shows by how much Lightning is off."""
        if self._resumed and self._next_step is not None:
            self._resumed = False
            self._shift = self._next_step - ahead - step
        return max(step + self._shift, self._least)

    def _unfinished(self, trainer: Trainer, state: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Restore what the epoch in hand has summed up; tell it at once where Lightning goes on with the next epoch already.

        It does so after a checkpoint that was made as the last batch of an epoch ended.
        """
        module, sums, states = trainer.lightning_module, dict(state.get("sums", {})), state.get("metric_states")
        goes_on = not state or trainer.current_epoch == state.get("epoch")
        if states is None:
            sums = {key: entry for key, entry in sums.items() if "object" not in entry}
        elif goes_on:
            restore_metric_states(module, states)
        else:  # what the module keeps beside the epoch's values is as Lightning has restored it
            restore_metric_states(module, states, within={entry["object"] for entry in sums.values() if "object" in entry})
        if goes_on:
            return sums
        values = finished(sums, module)
        if values:
            numbers = [number_or_tensor(name, value) for name, value in values.items()]
            self._sink("train", state["next_step"] - 1, tuple(values), numbers, epoch=state["epoch"])
        return {}

    def _untold(self) -> list[list[Any]]:
        untold: list[list[Any]] = []

        def keep(_stage: str, step: Any, names: tuple[str, ...], values: Sequence[Any], *, epoch: int | None = None) -> None:  # noqa: ANN401
            untold.append([int(step), list(names), [float(v) for v in values], current_epoch if epoch is None else epoch])

        if isinstance(self._tap, LoggerTap):
            current_epoch = self._tap.epoch
            sink, self._sink = self._sink, keep
            try:
                self._tap.tell_untold()
            finally:
                self._sink = sink
        return untold


def _guarded(make: Callable[[], T], otherwise: T) -> T:
    """What is of use to a resume alone must neither keep a checkpoint from being saved nor hide an error that is on its way."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - whatever the module's metrics raise
        _log.warning("MetricsCallback: a fit that goes on from this checkpoint will lack what the epoch had summed up: %r", error)
        return otherwise
