"""The one file that knows Lightning's private paths.

What every logger of Lightning receives passes through three methods of the trainer's logger connector:
`update_train_step_metrics`, after each training batch and after every hook of it; `update_eval_step_metrics`,
likewise in validation and test; and `log_metrics`, for all else. `LoggerTap` wraps them on the trainer's own
connector while a fit runs. So names, steps and moments are Lightning's own, values logged by later callbacks
included, with no collective and, in the training step, no device sync. (Read from the source of 2.4 to 2.6.6.)
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Protocol

import torch
from pytorch_lightning import Trainer

from fitgate_callbacks._metric_states import metric_states
from fitgate_callbacks._values import not_one_number, number_or_tensor

__all__ = [
    "Listener",
    "LoggerTap",
    "StepValues",
    "end_of_fit_checkpoint",
    "finished",
    "last_saved_steps",
    "missing_path",
    "running_sums",
]

_PATHS = (
    "_logger_connector.update_train_step_metrics",
    "_logger_connector.update_eval_step_metrics",
    "_logger_connector.log_metrics",
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

    def returned(self, outputs: Any, divided_by: int) -> None:  # noqa: ANN401
        """What the training step has returned, with its loss divided for the gradients' sake."""

    def train_step(self, step: int, axis: Any, names: tuple[str, ...], values: list[Any], own_names: frozenset[str]) -> None:  # noqa: ANN401
        """After a training batch that loggers record: what was logged since the last, and all names the module logs.

        `step` is the loggers'; `axis`, unless it is None, is what the module logged under the name `step`, to take its place.
        """

    def eval_step(self, stage: str, loader: int, names: tuple[str, ...], values: list[Any]) -> None:
        """After a batch of validation or test."""

    def at_end(self, stage: str, step: int, names: tuple[str, ...], values: list[Any], *, ahead: int = 1, epoch: int | None = None) -> None:
        """Epoch values; `ahead` of the loggers' `step` the next training batch will be."""

    def aside(self, stage: str, axis: Any, names: tuple[str, ...], values: list[Any]) -> None:  # noqa: ANN401
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
    except Exception as error:  # noqa: BLE001 - whatever a changed class does; the public path needs none of it
        return f"{kind.__name__} ({error})"
    return None if taken == [(("trial_step",), [1.5]), ((), [])] else f"{kind.__name__} (it gave {taken})"


def end_of_fit_checkpoint(trainer: Trainer) -> dict[str, Any]:
    """The weights at the end of fit, in the form of a checkpoint: what `save_checkpoint` writes."""
    checkpoint: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)  # noqa: SLF001
    return checkpoint


def last_saved_steps(trainer: Trainer) -> set[int]:
    """The `global_step`s at which the trainer's ModelCheckpoints have saved last; nothing where Lightning keeps them elsewhere."""
    steps = {getattr(callback, "_last_global_step_saved", None) for callback in trainer.checkpoint_callbacks}
    return {step for step in steps if isinstance(step, int)}


def running_sums(trainer: Trainer) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """Of each epoch mean that the running pass of validation logs, for its current loader: name, weighted sum, weight.

    The tensors are never written to: each log makes new ones. Nothing where Lightning's collection is another.
    """
    results: Any = getattr(trainer, "_results", None)
    try:
        return [
            (results._forked_name(metric, False)[1], metric.value, metric.cumulated_batch_size)  # noqa: SLF001, FBT003 - Lightning's signature
            for _, metric in results.valid_items()
            if metric.is_tensor and metric.meta.on_epoch and metric.meta.logger and metric.meta.is_mean_reduction
        ]
    except AttributeError:
        return []


class LoggerTap:
    """Tells a listener what Lightning's loggers would be told at `log_every_n_steps=1`.

    The listener comes first, then Lightning: what a logger has, the listener has too, whatever is raised in between.

    Args:
        trainer: what runs.
        listener: who is told.
        sums: of the epoch that a fit goes on with, as `epoch_state` gave them: Lightning forgets what the
            batches before a checkpoint have added to an epoch's mean, and would give the mean of the others.
    """

    def __init__(self, trainer: Trainer, listener: Listener, *, sums: Mapping[str, dict[str, Any]] | None = None) -> None:
        self._trainer = trainer
        self._listener: Listener | None = listener
        self._connector: Any = trainer._logger_connector  # noqa: SLF001
        self._epoch_loop: Any = trainer.fit_loop.epoch_loop
        self._train_values = StepValues(self._epoch_loop._results, step_is_axis=True)  # noqa: SLF001
        self._eval_values: dict[int, StepValues] = {}
        self._sums = dict(sums or {})
        self._in_step = False
        self._before: list[tuple[Any, str, Any, Any]] = []
        self._train_values.take()  # what a fit that was cut short has left there is not this one's
        self._wrap()

    @property
    def step(self) -> int:
        """The x-axis of Lightning's own loggers now."""
        return int(self._epoch_loop._batches_that_stepped)  # noqa: SLF001

    @property
    def batch_is_untold(self) -> bool:
        """Whether the batch in hand counts as done, so that a resumed fit won't run it again, while loggers know nothing of it yet."""
        current = self._epoch_loop.batch_progress.current
        return bool(current.processed > current.completed) and not self._accumulates

    def tell_untold(self) -> None:
        """Tell at once what loggers would have been told next, after an error that keeps it from them."""
        if self.batch_is_untold:
            self._tell_train_step()
        elif self._epoch_is_over and self._trainer.world_size == 1 and self._listener is not None:
            metrics = self._connector.metrics["log"]
            self._listener.at_end(
                "train", self.step - 1, tuple(metrics), [number_or_tensor(name, value) for name, value in metrics.items()]
            )

    def epoch_state(self) -> dict[str, Any]:
        """For a fit that is resumed from here: the epoch it goes on with, and what that epoch has added up so far.

        Amid a batch it has added up nothing that could be kept: the batch will be run again. A validation that
        follows the batch in hand is due, but will be left out.
        """
        current, results = self._epoch_loop.batch_progress.current, self._epoch_loop._results  # noqa: SLF001
        sums: dict[str, dict[str, Any]] = {}
        if not self._epoch_is_over and current.started <= current.processed:
            _go_on_summing(results, self._sums)
            sums = {**self._sums, **_unfinished(results, alone=self._trainer.world_size == 1)}
        due = self.batch_is_untold and self._epoch_loop._should_check_val_fx(self._trainer.fit_loop._data_fetcher)  # noqa: SLF001
        return {"epoch": self._trainer.current_epoch + self._epoch_is_over, "validation_is_due": due, "sums": sums}

    def metric_states(self) -> dict[str, Any] | None:
        """The states of the module's torchmetrics objects; None amid a batch, and where each rank has its own."""
        current = self._epoch_loop.batch_progress.current
        if current.started > current.processed or self._trainer.world_size > 1:
            return None
        reset = [self._epoch_loop.val_loop._results, *([self._epoch_loop._results] if self._epoch_is_over else [])]  # noqa: SLF001
        objects = {id(metric.value) for results in reset for metric in results.values() if not metric.is_tensor}
        return metric_states(self._trainer.lightning_module, reset_soon=objects)

    @property
    def _epoch_is_over(self) -> bool:
        epochs: Any = self._trainer.fit_loop.epoch_progress.current
        return bool(epochs.processed > epochs.completed)

    @property
    def _accumulates(self) -> bool:
        fit_loop = self._trainer.fit_loop
        return bool(fit_loop._should_accumulate()) and self._trainer.lightning_module.automatic_optimization  # noqa: SLF001

    def remove(self) -> None:
        """Listen no more; the trainer is as it was, save for what somebody else has wrapped since."""
        self._listener = None
        for owner, name, ours, before in self._before:
            attributes = owner.__dict__
            if attributes.get(name) is ours:
                del attributes[name]
                if before is not None:
                    attributes[name] = before
        self._before = []

    def _wrap(self) -> None:
        connector = self._connector
        train_step, eval_step, log = connector.update_train_step_metrics, connector.update_eval_step_metrics, connector.log_metrics

        def update_train_step_metrics() -> None:
            self._tell_train_step()
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
                self._listener.returned(outputs, 1)
            return outputs

        self._set(connector, "update_train_step_metrics", update_train_step_metrics)
        self._set(connector, "update_eval_step_metrics", update_eval_step_metrics)
        self._set(connector, "log_metrics", log_metrics)
        self._set(automatic, "run", run_automatically)
        self._set(manual, "run", run_manually)

    def _set(self, owner: Any, name: str, ours: Any) -> None:  # noqa: ANN401 - an object of Lightning's and a function
        self._before.append((owner, name, ours, owner.__dict__.get(name)))
        owner.__dict__[name] = ours

    def _tell_train_step(self) -> None:
        listener = self._listener
        if self._sums:
            _go_on_summing(self._epoch_loop._results, self._sums)  # noqa: SLF001
        if listener is None or (self._trainer.accumulate_grad_batches != 1 and self._accumulates):
            return
        values = self._train_values
        names, taken = values.take()
        listener.train_step(self._epoch_loop._batches_that_stepped, values.axis, names, taken, values.own_names)  # noqa: SLF001

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
            axis = _axis(metrics["step"])  # Lightning's rule: a metric of this name is the x-axis of what is logged with it
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


def _axis(value: Any) -> Any:  # noqa: ANN401 - a tensor or a number
    """A step: a whole number, or a tensor on a device that will be fetched with the values."""
    step = number_or_tensor("step", value)
    return step if isinstance(step, torch.Tensor) else int(step)


class StepValues:
    """The step values of one of Lightning's result collections, each given out once for each time it was logged.

    Args:
        results: the collection.
        step_is_axis: a metric named `step` is the x-axis of the others, as in training.
    """

    def __init__(self, results: Any, *, step_is_axis: bool = False) -> None:  # noqa: ANN401 - Lightning's private class
        self._results = results
        self._step_is_axis = step_is_axis
        self._planned = 0
        self._plans: dict[int | None, _Plan] = {}
        self._axis: _LastOf | None = None
        self.own_names: frozenset[str] = frozenset()

    @property
    def axis(self) -> Any:  # noqa: ANN401
        """The value of the metric named `step`, which stands until it is logged again; None where there is none."""
        axis = self._axis
        return None if axis is None or axis.has_reset or axis._forward_cache is None else _axis(axis._forward_cache)  # noqa: SLF001

    def take(self) -> tuple[tuple[str, ...], list[Any]]:
        """Names and values of what was logged since the last call, for the loader that runs now."""
        results = self._results
        if len(results) != self._planned:
            self._plan_again()
        plan = self._plans.get(results.dataloader_idx)
        return plan.take() if plan is not None else ((), [])

    def _plan_again(self) -> None:
        self._planned = len(self._results)
        by_name: dict[int | None, dict[str, list[Any]]] = {}
        for metric in self._results.values():
            if metric.meta.on_step and metric.meta.logger:
                names = by_name.setdefault(metric.meta.dataloader_idx, {})
                names.setdefault(self._results._forked_name(metric, True)[1], []).append(metric)  # noqa: SLF001, FBT003 - Lightning's signature
        if self._step_is_axis:
            axis = by_name.get(None, {}).pop("step", None)
            self._axis = _LastOf(axis) if axis is not None else None
        self._plans = {loader: _Plan(names, self._plans.get(loader)) for loader, names in by_name.items()}
        self.own_names = frozenset(m.meta.name for m in self._results.values() if m.meta.logger)


class _Plan:
    """What to look at after each batch, worked out when a new name appears.

    Each log makes a new tensor and the one given out last is kept alive here, so the same object means: not logged
    again. Only a torchmetrics object can keep its tensor though it was logged again; there its count of updates tells.
    """

    def __init__(self, by_name: Mapping[str, list[Any]], before: _Plan | None) -> None:
        self._names = tuple(by_name)
        self._metrics = [metrics[0] if len(metrics) == 1 else _LastOf(metrics) for metrics in by_name.values()]
        given = before.given() if before is not None else {}
        self._caches = [given.get(name, (None, 0))[0] for name in by_name]
        self._counts = [given.get(name, (None, 0))[1] for name in by_name]
        self._objects = [i for i, metric in enumerate(self._metrics) if not metric.is_tensor]

    def take(self) -> tuple[tuple[str, ...], list[Any]]:
        names, caches = self._names, self._caches
        kept: list[str] | None = None
        values: list[Any] = []
        for i, metric in enumerate(self._metrics):
            cache = metric._forward_cache  # noqa: SLF001
            if cache is None or (cache is caches[i] and (metric.is_tensor or metric._update_count == self._counts[i])):  # noqa: SLF001
                kept = list(names[:i]) if kept is None else kept
                continue
            caches[i] = cache
            try:
                values.append(cache.item() if cache.is_cpu else number_or_tensor(names[i], cache))
            except RuntimeError:
                not_one_number(names[i], cache)
            if kept is not None:
                kept.append(names[i])
        for i in self._objects:
            self._counts[i] = self._metrics[i]._update_count  # noqa: SLF001
        # The same tuple as long as the same names come: whoever groups records by names then compares one object.
        return (names if kept is None else tuple(kept)), values

    def given(self) -> dict[str, tuple[Any, int]]:
        """By name, the tensor that was given out last and the count of updates."""
        return {name: (cache, count) for name, cache, count in zip(self._names, self._caches, self._counts, strict=True)}


class _LastOf:
    """One name logged in several hooks: loggers get the value of the hook that came to log it last of all."""

    is_tensor = True

    def __init__(self, metrics: list[Any]) -> None:
        self._metrics = metrics[::-1]

    @property
    def _valid(self) -> Any:  # noqa: ANN401
        return next((m for m in self._metrics if m._forward_cache is not None and not m.has_reset), self._metrics[0])  # noqa: SLF001

    @property
    def _forward_cache(self) -> Any:  # noqa: ANN401
        return self._valid._forward_cache  # noqa: SLF001

    @property
    def has_reset(self) -> bool:
        return bool(self._valid.has_reset)

    @property
    def _update_count(self) -> int:
        return int(self._valid._update_count)  # noqa: SLF001


def _unfinished(results: Any, *, alone: bool) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - Lightning's private collection
    """By key, what each value that is due at the end of the epoch has come to so far, or the torchmetrics object that knows.

    What `on_train_start` logs is logged again on a resume. Sums that ranks will put together are not one rank's to keep.
    """
    found = {}
    for key, metric in results.items():
        meta = metric.meta
        if (
            not meta.on_epoch
            or not meta.logger
            or metric.has_reset
            or key.startswith("on_train_start.")
            or not (alone or not meta.sync.should)
        ):
            continue
        entry = found[key] = {"name": results._forked_name(metric, False)[1]}  # noqa: SLF001, FBT003 - Lightning's signature
        if not metric.is_tensor:
            entry["object"] = meta.metric_attribute
        else:
            entry |= {"value": metric.value, "weight": getattr(metric, "cumulated_batch_size", None)}
    return found


def _go_on_summing(results: Any, sums: dict[str, dict[str, Any]]) -> None:  # noqa: ANN401 - Lightning's private collection
    """Put earlier sums under those that have begun anew, as the first summand. torchmetrics objects go on by themselves."""
    for key in [key for key in sums if key in results and not results[key].has_reset]:
        metric, before = results[key], sums.pop(key)
        if not metric.is_tensor:
            continue
        value = before["value"].to(metric.value.device)
        if metric.meta.is_max_reduction or metric.meta.is_min_reduction:
            metric.value = metric.meta.reduce_fx(value, metric.value)
        else:
            metric.value = value + metric.value
        if metric.meta.is_mean_reduction:
            metric.cumulated_batch_size = before["weight"].to(metric.value.device) + metric.cumulated_batch_size


def finished(sums: Mapping[str, dict[str, Any]], module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """By name, the epoch values of what was not logged again before the epoch's end; torchmetrics objects then begin anew."""
    values: dict[str, torch.Tensor] = {}
    for entry in sums.values():
        if "object" in entry:
            metric: Any = module.get_submodule(entry["object"])
            values[entry["name"]] = metric.compute()
        else:
            values[entry["name"]] = entry["value"] if entry["weight"] is None else entry["value"] / entry["weight"]
    for name in {entry["object"] for entry in sums.values() if "object" in entry}:
        module.get_submodule(name).reset()  # type: ignore[operator]  # a torchmetrics object
    return values
