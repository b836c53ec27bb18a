"""Every logged value once, on an x-axis that goes on across a resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytorch_lightning import Trainer

from fitgate_callbacks._internals import LoggerTap, missing_path

__all__ = ["LoggedValues"]

Sink = Callable[[str, Any, tuple[str, ...], list[Any]], None]
"""Takes (stage, step, names, values)."""

Extras = Callable[[frozenset[str]], tuple[tuple[str, ...], list[Any]]]
"""Further names and values for a training step, told which names the module logs itself."""


class LoggedValues:
    """Gives a sink every value that Lightning's loggers would get at `log_every_n_steps=1`, once.

    The evaluation counter, which is the x-axis of values logged at each validation or test batch, never
    starts again within a run. Lightning's does, in each process and with each reloaded loader.
    """

    def __init__(self, sink: Sink, extras: Extras) -> None:
        self._sink = sink
        self._extras = extras
        self._tap: LoggerTap | None = None
        self._eval_steps: dict[str, int] = {}
        self._joined: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())

    def install(self, trainer: Trainer) -> None:
        """Begin to listen."""
        self.remove()
        self._tap = LoggerTap(trainer, self)

    def remove(self) -> None:
        """Listen no more."""
        if self._tap is not None:
            self._tap.remove()
            self._tap = None

    @property
    def step(self) -> int:
        """The current step, as Lightning's loggers count."""
        return self._tap.step if self._tap is not None else 0

    def state_dict(self) -> dict[str, Any]:
        """Where the counters stand, to go on after a resume."""
        return {"eval_steps": dict(self._eval_steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting where an earlier process stopped."""
        if "eval_steps" in state:
            self._eval_steps = dict(state["eval_steps"])

    def train_step(self, step: Any, names: tuple[str, ...], values: list[Any], own_names: frozenset[str]) -> None:  # noqa: ANN401 - may wait on a device
        """A `Listener`'s."""
        extra_names, extra_values = self._extras(own_names)
        if extra_names:
            # As long as the same names come together, the same tuple is given on.
            if names is not self._joined[0] or extra_names is not self._joined[1]:
                self._joined = (names, extra_names, names + extra_names)
            names = self._joined[2]
            values += extra_values
        if names:
            self._sink("train", step, names, values)

    def eval_step(self, stage: str, loader: int, names: tuple[str, ...], values: list[Any]) -> None:
        """A `Listener`'s."""
        key = f"{stage}/{loader}"
        step = self._eval_steps.get(key, 0)
        self._eval_steps[key] = step + 1
        if names:
            self._sink(stage, step, names, values)

    def all_else(self, stage: str, step: Any, names: tuple[str, ...], values: list[Any]) -> None:  # noqa: ANN401 - may wait on a device
        """A `Listener`'s."""
        if names:
            self._sink(stage, step, names, values)
