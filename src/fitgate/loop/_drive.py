"""Fit, judge, improve, and fit again, until a round is deployed."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fitgate.gate import Decision
from fitgate.loop._rounds import Ended, Round, Rounds
from fitgate.store._hparams import plain_hparams

__all__ = ["Build", "fit_until_deployed"]

Build = Callable[[int, dict[str, Any] | None], tuple[Any, Any, Any]]
"""`build(round, report)` gives trainer, module and data."""

_log = logging.getLogger("fitgate")


@runtime_checkable
class _Gate(Protocol):
    """What the loop needs of a GateCallback; the core doesn't import Lightning."""

    decision: Decision | None
    version: int | None
    report: dict[str, Any] | None
    run_dir: Path | None


def fit_until_deployed(build: Build, max_rounds: int = 5) -> Rounds:
    """Fit, judge, hand the report to the next round, and stop at the first deploy.

    Args:
        build: called as `build(round, report)` and returns `(trainer, module, data)`. `round` counts from 0; `report` is the
            content of the last round's report.json with its `suggestions`, None in the first. The trainer has a
            MetricsCallback and a GateCallback, new ones each round; data is a datamodule, a train dataloader, or a pair of
            train and validation dataloaders.
        max_rounds: how many fits at most.

    Returns:
        All rounds, and why the loop ended. A round that raises ends the loop; it is reported, and the earlier rounds
        are kept. The rounds are also printed: a table and a chart.

    Raises:
        ValueError: `max_rounds` is less than 1.
        TypeError: `build` can't be called, or does not return three things.
        KeyboardInterrupt, SystemExit: Ctrl-C, after the rounds so far are printed (Lightning turns it into SystemExit).
    """
    if not callable(build):
        message = f"fit_until_deployed: build must be a function build(round, report), got {type(build).__name__}"
        raise TypeError(message)
    if isinstance(max_rounds, bool) or not isinstance(max_rounds, int) or max_rounds < 1:
        message = f"fit_until_deployed: max_rounds must be a whole number from 1, got {max_rounds!r}"
        raise ValueError(message)
    rounds: list[Round] = []
    report: dict[str, Any] | None = None
    for number in range(max_rounds):
        begun = time.monotonic()
        gate: _Gate | None = None
        module: Any = None
        try:
            trainer, module, data = _checked(build(number, report))
            gate = _gate_of(trainer)
            _fit(trainer, module, data)
            _check_judged(gate)
        except Exception as error:  # noqa: BLE001 - whatever a round raises ends the loop, not the program
            _log.exception("round %d raised; the loop ends, and its earlier rounds are kept", number)
            rounds.append(_round(number, gate, module, begun, error))
            return _end(rounds, "failed", error)
        except (KeyboardInterrupt, SystemExit) as error:
            rounds.append(_round(number, gate, module, begun, error))
            _end(rounds, "interrupted", error)
            raise
        rounds.append(_round(number, gate, module, begun))
        if rounds[-1].verdict == "deploy":
            return _end(rounds, "deployed")
        report = dict(rounds[-1].report or {})
    return _end(rounds, "max_rounds")


def _checked(built: object) -> tuple[Any, Any, Any]:
    if not isinstance(built, Sequence) or len(built) != 3:  # noqa: PLR2004 - trainer, module, data
        message = f"fit_until_deployed: build must return (trainer, module, data), got {built!r}"
        raise TypeError(message)
    trainer, module, data = built
    return trainer, module, data


def _gate_of(trainer: Any) -> _Gate:  # noqa: ANN401 - a Trainer of either namespace
    for callback in trainer.callbacks:
        if isinstance(callback, _Gate):
            return callback
    message = (
        "fit_until_deployed: the trainer has no GateCallback, so nothing would be judged: callbacks=[MetricsCallback(), GateCallback([…])]"
    )
    raise ValueError(message)


def _fit(trainer: Any, module: Any, data: Any) -> None:  # noqa: ANN401
    if hasattr(data, "train_dataloader"):
        trainer.fit(module, datamodule=data)
    elif isinstance(data, tuple) and len(data) == 2:  # noqa: PLR2004 - train, validate
        trainer.fit(module, *data)
    else:
        trainer.fit(module, data)


def _check_judged(gate: _Gate) -> None:
    if gate.decision is None:
        message = 'the fit left no decision in this process; with strategy="ddp_spawn" it stays in the spawned ones: use "ddp"'
        raise RuntimeError(message)


def _round(number: int, gate: _Gate | None, module: Any, begun: float, error: BaseException | None = None) -> Round:  # noqa: ANN401
    run_dir = gate.run_dir if gate is not None else None
    decision = gate.decision if gate is not None else None
    if error is not None and decision is not None and decision.verdict == "deploy":
        decision = None  # judged, but an error kept it from being published
    return Round(
        number=number,
        run_id=run_dir.name if run_dir is not None else None,
        decision=decision,
        version=gate.version if gate is not None else None,
        report=gate.report if gate is not None else None,
        hparams=_hparams(module),
        seconds=time.monotonic() - begun,
        error=f"{type(error).__name__}: {error}".rstrip(": ") if error is not None else None,
    )


def _hparams(module: Any) -> Mapping[str, Any]:  # noqa: ANN401
    return plain_hparams(getattr(module, "hparams", {}))


def _end(rounds: list[Round], ended: Ended, error: BaseException | None = None) -> Rounds:
    from fitgate.loop._show import print_rounds  # noqa: PLC0415 - rich and plotext are loaded to print

    done = Rounds(rounds=tuple(rounds), ended=ended, error=error)
    if int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) or 0) == 0:
        try:
            print_rounds(done)
        except Exception as problem:  # noqa: BLE001 - a terminal that can't show it takes neither the result nor the error away
            warnings.warn(f"the rounds could not be printed: {problem!r}", stacklevel=2)
    return done
