"""The one file that knows Lightning's namespaces, versions and private paths.

What every logger of Lightning receives passes through two methods of the trainer's logger connector:
`update_train_step_metrics`, after each training batch and after every hook of it, and `log_metrics`, for
all else. `LoggedValues` wraps both on the trainer's own connector while a fit runs: so names, steps
and moments are Lightning's own, values logged by later callbacks included, with no collective and,
in the training step, no device sync (read from the source of 2.6.6).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytorch_lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from fitgate.store._run_file import FitFacts

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
    "ChosenCheckpoint",
    "LightningModule",
    "LoggedValues",
    "ModelCheckpoint",
    "Trainer",
    "choose_checkpoint",
    "end_of_fit_checkpoint",
    "fetch_values",
    "fit_facts",
    "number_or_tensor",
    "shards_weights",
    "versions",
]

# What a device can hold at most where that is not float64.
_WIDEST = {"mps": torch.float32}

Sink = Callable[[str, int, Sequence[str], Sequence[Any]], None]
"""Takes (stage, step, names, values)."""


class LoggedValues:
    """Gives a sink every value that Lightning's loggers would get at `log_every_n_steps=1`, once.

    Args:
        sink: called with (stage, step, names, values).
        extras: called after each training batch that loggers record; further (name, value) pairs for that
            step. It is told which names the module logs itself.
    """

    def __init__(self, sink: Sink, extras: Callable[[frozenset[str]], list[tuple[str, Any]]]) -> None:
        self._sink = sink
        self._extras = extras
        self._connector: Any = None
        self._in_train_step = False
        self._results: Any = None
        self._plan: list[tuple[Any, str]] = []
        self._own_names: frozenset[str] = frozenset()
        self._planned = -1
        self._seen: dict[int, Any] = {}
        self._previous: dict[tuple[str, str], torch.Tensor] = {}
        self._eval_base: dict[str, int] = {}
        self._eval_last: dict[str, int] = {}

    def install(self, trainer: Trainer) -> None:
        """Begin to listen."""
        self.remove()
        connector = trainer._logger_connector  # noqa: SLF001 - see the module's docstring
        train_step, log_metrics = connector.update_train_step_metrics, connector.log_metrics

        def update_train_step_metrics() -> None:
            self._in_train_step = True
            try:
                train_step()
            finally:
                self._in_train_step = False
            self._take_train_step(trainer)

        def log_all_else(metrics: dict[str, torch.Tensor], step: int | None = None) -> None:
            if not self._in_train_step:
                self._take(trainer, metrics, step)
            log_metrics(metrics, step)

        connector.update_train_step_metrics = update_train_step_metrics  # type: ignore[method-assign]
        connector.log_metrics = log_all_else  # type: ignore[method-assign]
        self._connector = connector

    def remove(self) -> None:
        """Listen no more; the connector is as it was."""
        if self._connector is not None:
            self._connector.__dict__.pop("update_train_step_metrics", None)
            self._connector.__dict__.pop("log_metrics", None)
            self._connector = None
        self._results = None
        self._plan, self._planned, self._seen, self._previous = [], -1, {}, {}

    def state_dict(self) -> dict[str, int]:
        """The evaluation counters, to go on after a resume."""
        return {key: self._eval_base.get(key, 0) + last + 1 for key, last in self._eval_last.items()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting where an earlier process stopped."""
        self._eval_base, self._eval_last = dict(state), dict.fromkeys(state, -1)

    def _take_train_step(self, trainer: Trainer) -> None:
        fit_loop = trainer.fit_loop
        if fit_loop._should_accumulate() and trainer.lightning_module.automatic_optimization:  # noqa: SLF001
            return
        results = fit_loop._results  # noqa: SLF001
        if results is not self._results or len(results) != self._planned:
            self._make_plan(results)
        names, values, seen = [], [], self._seen
        for index, (metric, name) in enumerate(self._plan):
            cache = metric._forward_cache  # noqa: SLF001
            # Each log makes a new tensor; the one kept here stays alive, so the same object means: not logged again.
            if cache is None or cache is seen.get(index) or metric.has_reset:
                continue
            seen[index] = cache
            names.append(name)
            values.append(number_or_tensor(cache))
        for name, value in self._extras(self._own_names):
            names.append(name)
            values.append(value)
        if names:
            self._send("train", fit_loop.epoch_loop._batches_that_stepped, names, values)  # noqa: SLF001

    def _make_plan(self, results: Any) -> None:  # noqa: ANN401 - Lightning's private collection
        seen = {id(metric): self._seen.get(i) for i, (metric, _) in enumerate(self._plan)} if results is self._results else {}
        self._results, self._planned = results, len(results)
        metrics = [m for m in results.values() if m.meta.on_step and m.meta.logger]
        self._plan = [(m, results._forked_name(m, True)[1]) for m in metrics]  # noqa: SLF001, FBT003 - Lightning's signature
        self._seen = {i: seen[id(m)] for i, (m, _) in enumerate(self._plan) if id(m) in seen}
        self._own_names = frozenset(m.meta.name for m in results.values() if m.meta.logger)

    def _take(self, trainer: Trainer, metrics: dict[str, torch.Tensor], step: int | None) -> None:
        stage = trainer.state.stage.value if trainer.state.stage is not None else "train"
        if not metrics:
            return
        if step is None:
            epoch_step = trainer.fit_loop.epoch_loop._batches_that_stepped  # noqa: SLF001
            self._send(stage, epoch_step, list(metrics), [number_or_tensor(v) for v in metrics.values()])
            return
        step = self._count_on(f"{stage}/{trainer._results.dataloader_idx or 0}", step)  # type: ignore[union-attr]  # noqa: SLF001
        fresh = {}
        for name, value in metrics.items():
            before = self._previous.get((stage, name))
            if before is None or before.data_ptr() != value.data_ptr():
                fresh[name] = value
                self._previous[stage, name] = value
        if fresh:
            self._sink(stage, step, tuple(fresh), [number_or_tensor(v) for v in fresh.values()])

    def _count_on(self, key: str, step: int) -> int:
        """The evaluation counter, which never starts again within a run (Lightning's does)."""
        last = self._eval_last.get(key, -1)
        if step <= last:
            self._eval_base[key] = self._eval_base.get(key, 0) + last + 1
        self._eval_last[key] = step
        return self._eval_base.get(key, 0) + step

    def _send(self, stage: str, step: int, names: list[str], values: list[Any]) -> None:
        if "step" in names:  # Lightning's rule: a metric of this name is the x-axis of what is logged with it
            index = names.index("step")
            step = int(values[index])
            names, values = names[:index] + names[index + 1 :], values[:index] + values[index + 1 :]
        self._sink(stage, step, tuple(names), values)


def number_or_tensor(value: torch.Tensor) -> float | torch.Tensor:
    """A float where that is free; on an accelerator the tensor itself, to be fetched in the background."""
    return value.item() if value.device.type == "cpu" else value.detach()


def fetch_values(records: list[Any]) -> list[Any]:
    """Fetch the values that are still on a device, all with one copy."""
    waiting = [v for record in records for v in record.values if isinstance(v, torch.Tensor)]
    if not waiting:
        return records
    numbers = iter(torch.stack([v.reshape(()).to(_WIDEST.get(v.device.type, torch.float64)) for v in waiting]).tolist())
    return [record._replace(values=[next(numbers) if isinstance(v, torch.Tensor) else v for v in record.values]) for record in records]


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


@dataclass(frozen=True)
class ChosenCheckpoint:
    """The checkpoint that would ship.

    Attributes:
        path: where it is; None for the weights at the end of fit; empty where nothing was saved.
        monitor, mode: what chose it; None where nothing did.
        trusted: this fit wrote it, so it may be unpickled.
        problem: why it can't be judged, in words; None when nothing speaks against it.
    """

    path: str | None
    monitor: str | None = None
    mode: str | None = None
    trusted: bool = False
    problem: str | None = None


def choose_checkpoint(trainer: Trainer, which: Any) -> ChosenCheckpoint:  # noqa: ANN401 - ModelCheckpoint of either namespace
    """Which checkpoint would ship.

    Args:
        trainer: after fit, or before it to see whether the choice is clear.
        which: `"best"`, `"last"`, a path, or one of the trainer's ModelCheckpoints, whose best is meant.

    Raises:
        ValueError: there are several ModelCheckpoints, the one given is not among the trainer's callbacks, or `"last"` is
            wanted of one that keeps none.
    """
    callbacks: list[Any] = [c for c in trainer.checkpoint_callbacks if hasattr(c, "best_model_path")]
    if not isinstance(which, str):
        if not any(callback is which for callback in callbacks):
            message = "GateCallback: the ModelCheckpoint given as checkpoint= is not among the trainer's callbacks; add it there"
            raise ValueError(message)
        return _chosen(which, "best")
    if which not in ("best", "last"):
        return ChosenCheckpoint(which)
    if len(callbacks) > 1:
        monitors = ", ".join(repr(c.monitor) for c in callbacks)
        message = (
            f"GateCallback: there are {len(callbacks)} ModelCheckpoints (monitoring {monitors}); give the one to judge, or a path: "
            "GateCallback(…, checkpoint=that_one)"
        )
        raise ValueError(message)
    return _chosen(callbacks[0], which) if callbacks else ChosenCheckpoint(None)


def _chosen(callback: Any, which: str) -> ChosenCheckpoint:  # noqa: ANN401
    name = f"{type(callback).__name__}(monitor={callback.monitor!r})"
    mode = callback.mode if callback.monitor else None
    score = callback.best_model_score
    problem = None
    if which == "last":
        if not callback.save_last:
            message = f"GateCallback(checkpoint='last') needs a ModelCheckpoint that keeps the last one; {name} has save_last={callback.save_last!r}"
            raise ValueError(message)
        path = callback.last_model_path
        if not path:
            problem = f"{name} saved no last checkpoint: none was due before the end of fit"
    else:
        path = callback.best_model_path
        if not path:
            why = "save_top_k=0 keeps none" if callback.save_top_k == 0 else "none was due before the end of fit"
            problem = f"{name} saved no checkpoint: {why}"
        elif callback.monitor and score is not None and not torch.isfinite(torch.as_tensor(score)):
            problem = f"{name} never saw a finite value, so its best checkpoint is not the best of anything"
    return ChosenCheckpoint(str(path), callback.monitor, mode, trusted=True, problem=problem)


def end_of_fit_checkpoint(trainer: Trainer) -> dict[str, Any]:
    """The weights at the end of fit, in the form of a checkpoint."""
    checkpoint: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)  # noqa: SLF001 - what save_checkpoint writes
    return checkpoint


def shards_weights(trainer: Trainer) -> bool:
    """Whether each process holds a part of the weights only, so that no live module can be copied whole."""
    return isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy)
