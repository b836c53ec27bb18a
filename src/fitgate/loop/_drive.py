"""Fit, judge, improve, and fit again, until a round is deployed."""

from __future__ import annotations

import logging
import os
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from fitgate.loop._built import Gate, complaint, fit, gate_of
from fitgate.loop._rounds import Ended, Round, Rounds
from fitgate.store._hparams import plain_hparams

__all__ = ["Build", "fit_until_deployed"]

Build = Callable[[int, dict[str, Any] | None], tuple[Any, Any, Any]]
"""`build(round, report)` gives trainer, module and data."""

_log = logging.getLogger("fitgate")


def fit_until_deployed(build: Build, max_rounds: int = 5) -> Rounds:
    """Fit, judge, hand the report to the next round, and stop at the first deploy.

    Args:
        build: called as `build(round, report)` and returns `(trainer, module, data)`. `round` counts from 0; `report` is the
            content of the last round's report.json with its `suggestions`; None in the first, and where the disk would not take it.
            The trainer has a MetricsCallback and a GateCallback, and is a new one each round, as they are; data is a
            datamodule, a train dataloader, a pair (or list of two) of train and validation dataloaders, or None where the module
            has its own.
        max_rounds: how many fits at most.

    Returns:
        All rounds, and why the loop ended. A round that raises ends the loop; it is reported, and the earlier rounds
        are kept. The rounds are also printed: a table and a chart.

    Raises:
        ValueError: `max_rounds` is less than 1, or `build` returned a trainer without a GateCallback, or one of an earlier round.
        TypeError: `build` can't be called, or does not return a Trainer, a module and data; the earlier rounds are printed first.
        KeyboardInterrupt, SystemExit: Ctrl-C, after the rounds so far are printed (Lightning turns it into SystemExit).
    """
    if not callable(build):
        message = f"fit_until_deployed: build must be a function build(round, report), got {type(build).__name__}"
        raise TypeError(message)
    if isinstance(max_rounds, bool) or not isinstance(max_rounds, int) or max_rounds < 1:
        message = f"fit_until_deployed: max_rounds must be a whole number from 1, got {max_rounds!r}"
        raise ValueError(message)
    rounds: list[Round] = []
    trainers: list[weakref.ref[Any]] = []
    report: dict[str, Any] | None = None
    for number in range(max_rounds):
        begun = time.monotonic()
        gate: Gate | None = None
        module: Any = None
        wrong: TypeError | ValueError | None = None
        try:
            built = build(number, report)
            wrong = complaint(built, trainers)
            if wrong is None:
                trainer, module, data = built
                trainers.append(weakref.ref(trainer))
                gate = gate_of(trainer)
                fit(trainer, module, data)
                _check_judged(gate)
        except Exception as error:  # noqa: BLE001 - whatever a round raises ends the loop, not the program
            _log.exception("round %d raised; the loop ends, and its earlier rounds are kept", number)
            rounds.append(_round(number, gate, module, begun, error))
            return _end(rounds, "failed", error)
        except (KeyboardInterrupt, SystemExit) as error:
            rounds.append(_round(number, gate, module, begun, error))
            _end(rounds, "interrupted", error)
            raise
        if wrong is not None:
            if rounds:
                _end([*rounds, _round(number, gate, module, begun, wrong)], "failed", wrong)
            raise wrong
        rounds.append(_round(number, gate, module, begun))
        if rounds[-1].verdict == "deploy":
            return _end(rounds, "deployed")
        report = dict(rounds[-1].report) if rounds[-1].report is not None else None
    return _end(rounds, "max_rounds")


def _check_judged(gate: Gate | None) -> None:
    if gate is None or gate.decision is None:
        message = 'the fit left no decision in this process; with strategy="ddp_spawn" it stays in the spawned ones: use "ddp"'
        raise RuntimeError(message)


def _round(number: int, gate: Gate | None, module: Any, begun: float, error: BaseException | None = None) -> Round:  # noqa: ANN401
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
        interrupted=isinstance(error, KeyboardInterrupt | SystemExit),
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
