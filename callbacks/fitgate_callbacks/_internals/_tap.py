"""What Lightning's loggers are told, told to us: three methods of the logger connector, wrapped while a fit runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Protocol

import torch
from pytorch_lightning import Trainer

from fitgate_callbacks._internals._epoch_sums import Sums, finished, go_on_summing, sums_of, unfinished
from fitgate_callbacks._internals._step_values import StepValues, axis_of
from fitgate_callbacks._metric_states import ObjectState, kept_states, metric_states, object_states, update_counts
from fitgate_callbacks._values import number_or_tensor

__all__ = ["Listener", "LoggerTap", "end_of_fit_checkpoint", "last_saved_steps", "missing_path"]

_PATHS = (
    "_logger_connector.on_batch_start",
    "_logger_connector.update_train_step_metrics",
    "_logger_connector.update_eval_step_metrics",
    "_logger_connector.log_metrics",
    "_logger_connector._first_loop_iter",
    "fit_loop._should_accumulate",
    "fit_loop.epoch_loop._batches_that_stepped",
    "fit_loop.epoch_loop._results",
    "fit_loop.epoch_loop._should_check_val_fx",
    "fit_loop.epoch_loop.automatic_optimization.run",
    "fit_loop.epoch_loop.manual_optimization.run",
    "fit_loop.epoch_loop.batch_progress.current",
    "fit_loop.epoch_progress.current",
)


class Listener(Protocol):
    """Who is told what Lightning's loggers are told. Values are floats or, on an accelerator, tensors."""

    def returned(self, outputs: Any, divided_by: int | None) -> None:  # noqa: ANN401
        """What the training step has returned, with its loss divided for the gradients' sake; None in manual optimization."""

    def train_step(self, step: int, axis: Any, names: tuple[str, ...], values: Sequence[Any], own_names: frozenset[str]) -> None:  # noqa: ANN401
        """After a training batch that loggers record: what was logged since the last, and all names the module logs.

        `step` is the loggers'; `axis`, unless it is None, is what the module logged under the name `step`, to take its place.
        """

    def eval_step(self, stage: str, loader: int, names: tuple[str, ...], values: Sequence[Any]) -> None:
        """After a batch of validation or test."""

    def at_end(
        self, stage: str, step: int, names: tuple[str, ...], values: Sequence[Any], *, ahead: int = 1, epoch: int | None = None
    ) -> None:
        """Epoch values; `ahead` of the loggers' `step` the next training batch will be."""

    def aside(self, stage: str, axis: Any, names: tuple[str, ...], values: Sequence[Any]) -> None:  # noqa: ANN401
        """What came with an x-axis of its own: the module's, or that of a callback which logs to all loggers."""


def missing_path(trainer: Trainer) -> str | None:
    """The first private path that this Lightning does not have, or None: then `LoggerTap` works.

    A result collection is tried out too, since what it holds has no attributes before something is logged.
    """
    for path in _PATHS:
        try:
            attrgetter(path)(trainer)
        except AttributeError:
            return f"Trainer.{path}"
    kind: Any = type(trainer.fit_loop.epoch_loop._results)  # noqa: SLF001
    try:
        trial = kind(training=True)
        values = StepValues(trial)
        trial.log("training_step", "trial", torch.tensor(1.5), on_step=True, on_epoch=True)
        taken = [values.take(), values.take()]
        trial.reset()
        trial.log("training_step", "trial", torch.tensor(1.5), on_step=True, on_epoch=True)
        taken.append(values.take())
    except Exception as error:  # noqa: BLE001 - whatever a changed class does; the public path needs none of it
        return f"{kind.__name__} ({error})"
    given = [(names, list(numbers)) for names, numbers in taken]
    return None if given == [(("trial_step",), [1.5]), ((), []), (("trial_step",), [1.5])] else f"{kind.__name__} (it gave {given})"


def end_of_fit_checkpoint(trainer: Trainer) -> dict[str, Any]:
    """The weights at the end of fit, in the form of a checkpoint: what `save_checkpoint` writes."""
    checkpoint: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)  # noqa: SLF001
    return checkpoint


def last_saved_steps(trainer: Trainer) -> set[int]:
    """The `global_step`s at which the trainer's ModelCheckpoints have saved last; nothing where Lightning keeps them elsewhere."""
    steps = {getattr(callback, "_last_global_step_saved", None) for callback in trainer.checkpoint_callbacks}
    return {step for step in steps if isinstance(step, int)}


def _saves_amid_batches(callback: object) -> bool:
    """Whether it makes checkpoints when something is raised: a fit then goes on with the batch that was in hand."""
    kinds = {kind.__name__ for kind in type(callback).__mro__}
    return "OnExceptionCheckpoint" in kinds or bool(getattr(callback, "save_on_exception", False))


class LoggerTap:
    """Tells a listener what Lightning's loggers would be told at `log_every_n_steps=1`.

    The listener comes first, then Lightning: what a logger has, the listener has too, whatever is raised in between.

    Args:
        trainer: what runs.
        listener: who is told.
        sums: of the epoch that a fit goes on with, as `epoch_state` gave them: Lightning forgets what the
            batches before a checkpoint have added to an epoch's mean, and would give the mean of the others.
        pending: step values of a window of accumulation that the fit goes on amid, as `pending` gave them.
    """

    def __init__(
        self,
        trainer: Trainer,
        listener: Listener,
        *,
        sums: Mapping[str, dict[str, Any]] | None = None,
        pending: Mapping[str, float] | None = None,
    ) -> None:
        self._trainer = trainer
        self._listener: Listener | None = listener
        self._connector: Any = trainer._logger_connector  # noqa: SLF001
        self._epoch_loop: Any = trainer.fit_loop.epoch_loop
        self._before: list[tuple[Any, str, Any, Any]] = []
        self._train_values = StepValues(self._epoch_loop._results, step_is_axis=True)  # noqa: SLF001
        self._eval_values: dict[int, StepValues] = {}
        self._sums = dict(sums or {})
        self._pending = dict(pending or {})
        self._in_step = False
        epochs: Any = trainer.fit_loop.epoch_progress.current
        # Under `max_steps` a fit that goes on from the end of an epoch ends it again: it is processed twice, and completed once.
        self._ended_again = epochs.processed - epochs.completed if trainer.max_steps != -1 else 0
        self._before_validation: dict[str, int] | None = None
        self._before_batch: tuple[Sums, list[ObjectState] | Exception] | None = None
        self._train_values.take()  # what a fit that was cut short has left there is not this one's
        self._wrap()
        if any(_saves_amid_batches(callback) for callback in trainer.checkpoint_callbacks):
            self._look()  # a fit that goes on amid a batch counts that as begun, before it begins it anew
            self._look_before_each_batch()

    @property
    def step(self) -> int:
        """The x-axis of Lightning's own loggers now."""
        return int(self._epoch_loop._batches_that_stepped)  # noqa: SLF001

    @property
    def epoch(self) -> int:
        """The epoch that runs."""
        return self._trainer.current_epoch

    coming_step = step  # what has been told is counted at once

    @property
    def batch_is_untold(self) -> bool:
        """Whether the batch in hand counts as done, so that a resumed fit won't run it again, while loggers know nothing of it yet.

        One that the module skips, with the rest of its epoch, counts as done as well; loggers are never told of it.
        """
        current, is_in_hand = self._epoch_loop.batch_progress.current, self._connector._first_loop_iter is not None  # noqa: SLF001
        return is_in_hand and bool(current.processed > current.completed) and not self._accumulates

    @property
    def epoch_is_untold(self) -> bool:
        """Whether an epoch has ended, so that a resumed fit won't end it again, while loggers don't know its values yet.

        With several processes to find them may take collectives, for which not all of them may be there.
        """
        return self._epoch_is_over and self._trainer.world_size == 1

    def tell_untold(self) -> None:
        """Tell at once what loggers would have been told next, where it may never come to that."""
        if self.batch_is_untold:
            self._tell_train_step()
        elif self.epoch_is_untold and self._listener is not None:
            metrics = self._connector.metrics["log"]
            self._listener.at_end(
                "train", self.step - 1, tuple(metrics), [number_or_tensor(name, value) for name, value in metrics.items()]
            )

    @property
    def is_validating(self) -> bool:
        """Whether a validation of the fit is running, in which our hook for its end is still to come."""
        done = self._epoch_loop.val_loop.batch_progress.current.completed
        running = self._trainer.validating and self._trainer.state.fn == "fit"
        return running and (self._before_validation is not None or not done)

    @property
    def validated(self) -> float:
        """How much of the fit's validation is done, from 0 to 1. As it begins that is 0, unless Lightning goes on with an earlier one."""
        done: int = self._epoch_loop.val_loop.batch_progress.current.completed
        return min(done / sum(self._trainer.num_val_batches), 1.0) if self._trainer.state.fn == "fit" else 0.0

    @property
    def validation_goes_on(self) -> bool:
        """Whether a resumed fit runs the rest of the validation that is cut short now: so it does where the validation's step failed."""
        total = self._epoch_loop.val_loop.batch_progress.total
        return bool(total.ready == total.started == total.processed + 1 == total.completed + 1) and self.validated < 1

    def pending(self) -> dict[str, float]:
        """Step values that were logged amid a window of accumulation, by name: loggers are told at its end."""
        if not self._window_is_open:
            return {}
        with self.kept():
            names, values = self._train_values.take()
        return {**self._pending, **{name: float(value) for name, value in zip(names, values, strict=True)}}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is told meanwhile counts as untold."""
        pending = self._pending
        try:
            with self._train_values.kept():
                yield
        finally:
            self._pending = pending

    def epoch_state(self) -> dict[str, Any]:
        """For a fit that is resumed from here: the epoch it goes on with, and what that epoch has added up so far.

        The batch in hand, if any, will be run again: what it has added is left out where that is known, which takes a look at
        the beginning of each batch, and all that the epoch has summed up where it is not. A validation that follows the batch
        in hand is due, but will be left out.
        """
        results, sums = self._epoch_loop._results, dict[str, dict[str, Any]]()  # noqa: SLF001
        so_far = self._before_hand[0] if self._before_hand else sums_of(results)
        if not self._epoch_is_over and not self._is_unknown:
            if not self._is_amid_batch:
                go_on_summing(results, self._sums)
            sums = {**unfinished(results, so_far, alone=self._trainer.world_size == 1), **self._sums}
        due = self.batch_is_untold and self._epoch_loop._should_check_val_fx(self._trainer.fit_loop._data_fetcher)  # noqa: SLF001
        return {"epoch": self._trainer.current_epoch + self._epoch_is_over, "validation_is_due": int(due), "sums": sums}

    def metric_states(self, *, cut_short: bool = False) -> dict[str, Any] | None:
        """The states of the module's torchmetrics objects; None where they are not known, and where each rank has its own.

        Args:
            cut_short: something was raised. Then hooks of the module may have been left out that reset an object of its own: of an
                epoch that is over none is known, nor of a validation those that it has updated. A resume goes on behind both.
        """
        if self._is_unknown or self._trainer.world_size > 1 or (cut_short and self._epoch_is_over):
            return None
        states = self._before_hand[1] if self._before_hand else object_states(self._trainer.lightning_module)
        if isinstance(states, Exception):
            raise states
        unless = self._before_validation if cut_short else None
        reset = [self._epoch_loop.val_loop._results, *([self._epoch_loop._results] if self._epoch_is_over else [])]  # noqa: SLF001
        objects = {id(metric.value) for results in reset for metric in results.values() if not metric.is_tensor}
        return metric_states(states, reset_soon=objects, unless=unless)

    def start_validation(self) -> None:
        """A validation begins."""
        self._before_validation = update_counts(self._trainer.lightning_module)

    def end_validation(self) -> None:
        """It has ended, and all hooks of the module with it."""
        self._before_validation = None

    @property
    def _is_amid_batch(self) -> bool:
        """Whether a batch has begun that a resumed fit will run again."""
        current = self._epoch_loop.batch_progress.current
        return bool(current.ready > current.processed)

    @property
    def _before_hand(self) -> tuple[Sums, list[ObjectState] | Exception] | None:
        """What was there before the batch in hand; None between batches, and where nobody has looked."""
        return self._before_batch if self._is_amid_batch else None

    @property
    def _is_unknown(self) -> bool:
        """Whether the batch in hand may have added something, and nobody has looked at what was there before."""
        current = self._epoch_loop.batch_progress.current
        return self._before_batch is None and bool(current.started > current.processed)

    @property
    def _epoch_is_over(self) -> bool:
        epochs: Any = self._trainer.fit_loop.epoch_progress.current
        return bool(epochs.processed - epochs.completed > self._ended_again)

    @property
    def _accumulates(self) -> bool:
        fit_loop = self._trainer.fit_loop
        return bool(fit_loop._should_accumulate()) and self._trainer.lightning_module.automatic_optimization  # noqa: SLF001

    @property
    def _window_is_open(self) -> bool:
        """Whether batches have run that loggers are told of at the end of their window, which a batch in hand that is run again belongs to."""
        if not self._is_amid_batch:
            return self._accumulates
        done = self._epoch_loop.batch_progress.current.processed
        return bool(done % self._trainer.accumulate_grad_batches) and self._trainer.lightning_module.automatic_optimization

    def remove(self) -> None:
        """Listen no more; the trainer is as it was, save for what somebody else has wrapped since."""
        self._listener = None
        self._unwrap(self._before)
        self._before = []

    def ignore_outputs(self) -> None:
        """Tell no more what the training step returns."""
        of_steps = [entry for entry in self._before if entry[1] == "run"]
        self._before = [entry for entry in self._before if entry not in of_steps]
        self._unwrap(of_steps)

    def _wrap(self) -> None:
        connector = self._connector
        train_step, eval_step, log = connector.update_train_step_metrics, connector.update_eval_step_metrics, connector.log_metrics

        def update_train_step_metrics() -> None:
            self._tell_train_step()
            self._before_batch = None  # what was kept in case the batch is cut short is memory on the device
            self._in_step = True
            try:
                train_step()
            finally:
                self._in_step = False

        def update_eval_step_metrics(step: int) -> None:
            self._tell_eval_step()
            self._in_step = True
            try:
                eval_step(step)
            finally:
                self._in_step = False

        def log_metrics(metrics: Mapping[str, Any], step: int | None = None) -> None:
            if not self._in_step:
                self._tell_all_else(metrics, step)
            log(metrics, step)

        # A hook of our own for what a step returns would cost more than all the rest: Lightning puts a profiler around each.
        automatic, manual = self._epoch_loop.automatic_optimization, self._epoch_loop.manual_optimization
        run_automatic, run_manual = automatic.run, manual.run

        def run_automatically(*args: Any) -> Any:  # noqa: ANN401 - whatever the step returns
            outputs = run_automatic(*args)
            if self._listener is not None:
                self._listener.returned(outputs, self._trainer.accumulate_grad_batches)
            return outputs

        def run_manually(*args: Any) -> Any:  # noqa: ANN401 - likewise
            outputs = run_manual(*args)
            if self._listener is not None:
                self._listener.returned(outputs, None)
            return outputs

        self._set(connector, "update_train_step_metrics", update_train_step_metrics)
        self._set(connector, "update_eval_step_metrics", update_eval_step_metrics)
        self._set(connector, "log_metrics", log_metrics)
        self._set(automatic, "run", run_automatically)
        self._set(manual, "run", run_manually)

    def _look_before_each_batch(self) -> None:
        batch_start = self._connector.on_batch_start

        def on_batch_start(*args: Any, **options: Any) -> None:  # noqa: ANN401 - Lightning's own
            if self._trainer.training and self._listener is not None:
                self._look()
            batch_start(*args, **options)

        self._set(self._connector, "on_batch_start", on_batch_start)

    def _look(self) -> None:
        self._before_batch = sums_of(self._epoch_loop._results), self._kept_states()  # noqa: SLF001

    def _kept_states(self) -> list[ObjectState] | Exception:
        try:
            return kept_states(self._trainer.lightning_module) if self._trainer.world_size == 1 else []
        except Exception as error:  # noqa: BLE001 - a metric that won't give its states: told when a checkpoint asks for them
            return error

    @staticmethod
    def _unwrap(wrapped: Sequence[tuple[Any, str, Any, Any]]) -> None:
        for owner, name, ours, before in wrapped:
            attributes = owner.__dict__
            if attributes.get(name) is ours:
                del attributes[name]
                if before is not None:
                    attributes[name] = before

    def _set(self, owner: Any, name: str, ours: Any) -> None:  # noqa: ANN401 - an object of Lightning's and a function
        self._before.append((owner, name, ours, owner.__dict__.get(name)))
        owner.__dict__[name] = ours

    def _tell_train_step(self) -> None:
        listener = self._listener
        if self._sums:
            go_on_summing(self._epoch_loop._results, self._sums)  # noqa: SLF001
        if listener is None or (self._trainer.accumulate_grad_batches != 1 and self._accumulates):
            return
        values = self._train_values
        names, taken = values.take()
        if self._pending:
            before = {name: value for name, value in self._pending.items() if name not in names}
            names, taken, self._pending = (*before, *names), [*before.values(), *taken], {}
        axis = values.axis if values.has_axis else None
        listener.train_step(self._epoch_loop._batches_that_stepped, axis, names, taken, values.own_names)  # noqa: SLF001

    def _tell_eval_step(self) -> None:
        listener, results = self._listener, self._trainer._results  # noqa: SLF001
        if listener is None or results is None:
            return
        values = self._eval_values.get(id(results))
        if values is None:
            values = self._eval_values[id(results)] = StepValues(results)
        listener.eval_step(self._stage, results.dataloader_idx or 0, *values.take())

    def _tell_all_else(self, metrics: Mapping[str, Any], step: int | None) -> None:
        listener, stage = self._listener, self._stage
        if listener is None:
            return
        if step is None and stage == "train" and self._sums:
            metrics = {**finished(self._sums, self._trainer.lightning_module), **metrics}
            self._sums = {}
        axis = None
        if step is None and "step" in metrics:
            axis = axis_of(metrics["step"])  # Lightning's rule: a metric of this name is the x-axis of what is logged with it
            metrics = {name: value for name, value in metrics.items() if name != "step"}
        names, values = tuple(metrics), [number_or_tensor(name, value) for name, value in metrics.items()]
        if step is None and axis is None:
            listener.at_end(stage, self.step, names, values, ahead=0 if stage != "train" and self._accumulates else 1)
        else:
            listener.aside(stage, step if axis is None else axis, names, values)

    @property
    def _stage(self) -> str:
        stage = self._trainer.state.stage
        return stage.value if stage is not None else "train"
