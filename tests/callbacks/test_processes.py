"""Several fits at once: separate runs, never mixed."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback
from tests.callbacks._fits import BATCHES, QUIET, Net, loader

EPOCHS = 3


class Marks(Net):
    """Logs who it is at every step, so that mixed points would show."""

    def __init__(self, who: float) -> None:
        super().__init__()
        self.who = who

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("who", self.who)
        return self.loss(batch)


def _fit(callback: MetricsCallback, who: float, *extra: Any) -> pl.Trainer:
    trainer = pl.Trainer(**{**QUIET, "max_epochs": EPOCHS}, logger=False, callbacks=[callback, *extra])
    trainer.fit(Marks(who), loader(), loader(2))
    return trainer


def _go_on(trainer: pl.Trainer, who: float) -> None:
    trainer.fit_loop.max_epochs = 2 * EPOCHS
    trainer.fit(Marks(who), loader(), loader(2))


def _in_child(do: Callable[..., Any], *arguments: Any) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            do(*arguments)
            code = 0
        finally:
            os._exit(code)
    return child


def _fits_and_forks(root: str, who: float) -> None:
    torch.set_num_threads(1)  # a forked child has none of its parent's threads
    callback = MetricsCallback(root, run_name="same", flush_every_s=0.05)
    trainer = _fit(callback, who)
    children = [_in_child(_fit, callback, who + 0.1), _in_child(_go_on, trainer, who + 0.2)]
    _go_on(trainer, who)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_processes_that_share_a_name_a_store_and_a_callback(tmp_path: Path) -> None:
    """Two processes with one `run_name` at once, and each forks two: one fits with the callback it inherits, one goes on with the Trainer."""
    spawned, served = multiprocessing.get_context("spawn"), multiprocessing.get_context("forkserver")
    processes: list[Any] = [
        context.Process(target=_fits_and_forks, args=(str(tmp_path), who)) for context, who in ((spawned, 1.0), (served, 2.0))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = {}
    for run in fitgate.Store(str(tmp_path)).runs():
        (who,) = set(run.metrics(["who"])["value"].to_pylist())
        found[round(float(who or 0), 1)] = (run.state, len(run.info.attempts), run.metrics(["who"])["step"].to_pylist())
    steps = list(range(2 * EPOCHS * BATCHES))
    half = EPOCHS * BATCHES
    expected: dict[float, tuple[str, int, list[int]]] = {}
    for who in (1.0, 2.0):
        expected |= {who: ("completed", 2, steps), who + 0.1: ("completed", 1, steps[:half]), who + 0.2: ("completed", 1, steps[half:])}
    assert found == expected


class ForksOne(pl.Callback):
    """Forks a child amid the fit, which leaves at once, as a script's helper does."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == BATCHES + 1:
            child = os.fork()
            if child == 0:
                sys.exit(0)
            os.waitpid(child, 0)


def _fit_that_forks(root: Path, *callbacks: Any) -> None:
    torch.set_num_threads(1)
    try:
        _fit(MetricsCallback(root), 1.0, ForksOne(), *callbacks)
    except SystemExit:
        os._exit(0)  # the child; pytest is not to run on in it


@pytest.mark.filterwarnings("ignore:.*fork.*")
@pytest.mark.parametrize("gated", ["", "gated"])
def test_a_child_that_was_forked_amid_a_fit_and_leaves_is_no_run(tmp_path: Path, gated: str) -> None:
    """Neither a run of its own nor a decision on its parent's."""
    gate = [GateCallback(["who >= 1"], dirpath=tmp_path / "deploy", formats=["checkpoint"])] if gated else []
    child = _in_child(_fit_that_forks, tmp_path / "runs", *gate)
    assert os.waitpid(child, 0)[1] == 0
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    assert run.state == ("deployed" if gated else "completed")
    assert run.metrics(["who"]).num_rows == EPOCHS * BATCHES


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_child_that_logs_in_its_parents_run_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is recorded there, and not without a word."""
    callback = MetricsCallback(tmp_path)
    _fit(callback, 1.0)
    child = os.fork()
    if child == 0:
        for value in range(3):
            callback.log_metric("mine", value)
        os._exit(sum(message.startswith(f"metric 'mine': run {callback.run_id} is recorded by") for message in caplog.messages))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    callback.log_metric("parents", 1.0)
    callback.flush()
    run = fitgate.Store(str(tmp_path)).latest()
    assert run.metrics(["mine", "parents"])["name"].to_pylist() == ["parents"]


def test_two_trainers_in_one_process(tmp_path: Path) -> None:
    """One fits inside a hook of the other."""

    class FitsAnother(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            _fit(MetricsCallback(tmp_path, run_name="same"), 10.0 + trainer.current_epoch)

    _fit(MetricsCallback(tmp_path, run_name="same"), 1.0, FitsAnother())
    runs = fitgate.Store(str(tmp_path)).runs()
    assert sorted({value or 0.0 for run in runs for value in run.metrics(["who"])["value"].to_pylist()}) == [1.0, 10.0, 11.0, 12.0]
    assert all(run.metrics(["who"])["step"].to_pylist() == list(range(EPOCHS * BATCHES)) for run in runs)
