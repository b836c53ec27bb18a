"""However a fit ends: what Lightning's loggers have been told is on the disk, and run.json says how it ended."""

import contextlib
import csv
import io
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback
from tests._process import run_function
from tests.callbacks._fits import QUIET, Net, csv_points, csv_rows, in_order, loader

EARLY_HOOKS = ("setup", "on_fit_start", "on_sanity_check_start", "on_sanity_check_end", "on_train_start")
LOOP_HOOKS = (
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
)
LATE_HOOKS = ("on_train_end", "on_fit_end", "teardown")


class Logs(Net):
    """Something at every step, so that the CSV shows which steps were told."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("logged", loss, on_step=True, on_epoch=True)
        return self.returns(loss)


class Stops(pl.Callback):
    """Does something in the second epoch's hook, or in a hook that comes but once."""

    def __init__(self, hook: str, do: Callable[[], None]) -> None:
        self._hook, self._do = hook, do
        setattr(self, hook, self._called)

    def _called(self, trainer: Any, *args: Any, **options: Any) -> None:
        if self._hook not in LOOP_HOOKS or (trainer.current_epoch == 1 and not trainer.sanity_checking):
            self._do()


def _raise() -> None:
    message = "on purpose"
    raise RuntimeError(message)


def _ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def _sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _exit() -> None:
    sys.exit(3)


def _fit(tmp_path: Path, callbacks: list[Any]) -> tuple[Any, CSVLogger]:
    logger, module = CSVLogger(tmp_path / "csv"), Logs()
    trainer = pl.Trainer(**QUIET, logger=logger, log_every_n_steps=1, callbacks=callbacks)
    with pytest.raises((RuntimeError, SystemExit)):
        trainer.fit(module, loader(3), loader(2))
    return module, logger


def _assert_all_is_there(tmp_path: Path, module: Any, logger: CSVLogger, state: str) -> fitgate.Run:
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    path = Path(logger.log_dir) / "metrics.csv"
    expected = csv_points(csv_rows(logger)) if path.exists() else []
    expected += [("loss", step, module.returned[step]) for name, step, _ in expected if name == "logged_step"]
    assert in_order((r["name"], r["step"], r["value"]) for r in run.metrics().to_pylist()) == in_order(expected)
    assert run.state == state
    return run


@pytest.mark.parametrize("hook", [*EARLY_HOOKS, *LOOP_HOOKS, *LATE_HOOKS])
def test_an_exception_in_a_hook_of_another_callback(tmp_path: Path, hook: str) -> None:
    """Before ours in the list or after it: all points are there, the run has failed, and run.json says by what."""
    ours = MetricsCallback(tmp_path / "runs", flush_every_s=3600)
    stops = Stops(hook, _raise)
    module, logger = _fit(tmp_path, [stops, ours] if len(hook) % 2 else [ours, stops])
    run = _assert_all_is_there(tmp_path, module, logger, "failed")
    assert run.info.fit is not None
    assert run.info.fit.failed == "RuntimeError: on purpose"


def test_an_error_whose_text_is_no_utf8(tmp_path: Path) -> None:
    """As that of a file with such a name: the run has failed all the same, and says by what."""

    def fail() -> None:
        message = "no file \udcff"
        raise RuntimeError(message)

    ours = MetricsCallback(tmp_path / "runs", flush_every_s=3600)
    module, logger = _fit(tmp_path, [Stops("on_train_epoch_start", fail), ours])
    run = _assert_all_is_there(tmp_path, module, logger, "failed")
    assert run.info.fit is not None
    assert run.info.fit.failed == "RuntimeError: no file \\udcff"


@pytest.mark.parametrize(
    ("do", "state"), [(_ctrl_c, "interrupted"), (_sigterm, "interrupted"), (_exit, "failed")], ids=["Ctrl-C", "SIGTERM", "sys.exit"]
)
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_end", "on_train_end"])
def test_a_signal_or_an_exit(tmp_path: Path, do: Callable[[], None], state: str, hook: str) -> None:
    """A real SIGINT, a real SIGTERM, `sys.exit` in a hook."""
    callbacks = [MetricsCallback(tmp_path / "runs", flush_every_s=3600), Stops(hook, do)]
    if do is _sigterm and hook == "on_train_end":  # then nothing is raised: the fit ends as it would have
        module, logger = Logs(), CSVLogger(tmp_path / "csv")
        pl.Trainer(**QUIET, logger=logger, log_every_n_steps=1, callbacks=callbacks).fit(module, loader(3), loader(2))
    else:
        module, logger = _fit(tmp_path, callbacks)
    run = _assert_all_is_there(tmp_path, module, logger, state)
    assert run.info.fit is not None
    assert run.info.fit.interrupted == {"_ctrl_c": "Ctrl-C", "_sigterm": "SIGTERM", "_exit": None}[do.__name__]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}


@pytest.mark.parametrize(("after_fit", "state"), [(False, "failed"), (True, "completed")])
def test_an_exception_in_a_test(tmp_path: Path, after_fit: bool, state: str) -> None:  # noqa: FBT001 - a case
    """Alone it fails the run; after a fit it leaves the fit's outcome as it was. The points are there either way."""
    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[MetricsCallback(tmp_path, flush_every_s=3600), Stops("on_test_end", _raise)])
    if after_fit:
        trainer.fit(Net(), loader(3), loader(2))
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.test(Net(), loader(2), verbose=False)
    run = fitgate.Store(str(tmp_path)).latest()
    assert run.state == state
    assert run.metrics(["test_loss_step"])["step"].to_pylist() == [0, 1]


def test_an_error_before_the_files_are_open(tmp_path: Path) -> None:
    """What was logged by hand until then is there."""

    class Fails(Net):
        def configure_optimizers(self) -> Any:
            _raise()

    ours = MetricsCallback(tmp_path)
    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[ours, Stops("setup", lambda: ours.log_metric("mine", 0.5))])
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.fit(Fails(), loader(3), loader(2))
    run = fitgate.Store(str(tmp_path)).latest()
    assert (run.state, run.metrics()["value"].to_pylist()) == ("failed", [0.5])


@pytest.mark.parametrize("again", ["predict", "test", "another fit"])
def test_an_error_that_is_not_of_the_fit_on_record(tmp_path: Path, again: str) -> None:
    """A completed run stays so, whatever fails afterwards before it is our turn: another Trainer's fit is another run."""

    class Predicts(Net):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch[0])

    ours = MetricsCallback(tmp_path)
    trainer = pl.Trainer(**QUIET, logger=False, callbacks=[ours])
    trainer.fit(Net(), loader(3), loader(2))
    before = fitgate.Store(str(tmp_path)).latest()
    if again == "another fit":
        trainer = pl.Trainer(**QUIET, logger=False, callbacks=[ours])
    trainer.callbacks.insert(0, Stops("on_predict_end" if again == "predict" else "setup", _raise))  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="on purpose"):
        {"predict": trainer.predict, "test": trainer.test, "another fit": trainer.fit}[again](Predicts(), loader(3))  # type: ignore[operator]
    after = fitgate.Store(str(tmp_path)).run(before.id)
    assert (after.state, after.info.fit) == ("completed", before.info.fit)
    states = [run.state for run in fitgate.Store(str(tmp_path)).runs()]
    assert states == (["failed", "completed"] if again == "another fit" else ["completed"])


def _fits_and_fails_twice(root: Path) -> None:
    # Some versions of filelock add an audit hook to the process, which slows every step of every fit; only publishing needs it.
    assert "filelock" not in sys.modules

    class Fails(pl.Callback):
        def on_train_epoch_end(self, *_: Any) -> None:
            raise RuntimeError

        def on_exception(self, *_: Any) -> None:
            raise RuntimeError

    ours = MetricsCallback(root, flush_every_s=3600)
    pl.Trainer(**QUIET, logger=False, callbacks=[Fails(), ours]).fit(Net(), loader(3), loader(2))


def test_a_callback_that_fails_while_it_is_told_of_a_failure(tmp_path: Path) -> None:
    """Then Lightning tells nobody else; as the process ends, everything is brought to the disk all the same.

    Seen in passing, as it takes a new process: the callbacks alone load no filelock.
    """
    done = run_function(_fits_and_fails_twice, tmp_path, folder=tmp_path)
    assert "RuntimeError" in done.stderr
    run = fitgate.Store(str(tmp_path)).latest()
    assert run.state == "failed"
    assert run.metrics(["loss"])["step"].to_pylist() == [0, 1, 2]


@pytest.mark.stress
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.3, 0.5, 0.71, 0.93, 1.17])
def test_a_signal_from_outside_at_any_moment(tmp_path: Path, number: signal.Signals, delay: float) -> None:
    """Whatever Lightning was doing then: what it has told its CSVLogger, it has told us."""
    code = (
        "import sys, pytorch_lightning as pl\n"
        "from pytorch_lightning.loggers import CSVLogger\n"
        "from fitgate.callbacks import MetricsCallback\n"
        "from tests.callbacks._fits import QUIET, loader\n"
        "from tests.callbacks.test_nothing_lost import Logs\n"
        "root = sys.argv[1]\n"
        "options = {**QUIET, 'max_epochs': -1, 'logger': CSVLogger(root + '/csv'), 'log_every_n_steps': 1}\n"
        "pl.Trainer(**options, callbacks=[MetricsCallback(root + '/runs', flush_every_s=3600)]).fit(Logs(), loader(), loader(2))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=_environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (found := list(tmp_path.glob("csv/*/*/metrics.csv"))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(delay)
    process.send_signal(number)
    process.wait(60)
    (run,) = fitgate.Store(str(tmp_path / "runs")).runs()
    assert run.state == "interrupted"
    with found[0].open() as file:
        rows = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file) if None not in row.values()]
    told = {(name, step) for name, step, _ in csv_points(rows)}
    assert told
    assert told <= {(r["name"], r["step"]) for r in run.metrics().to_pylist()}


class FillsUp(pl.Callback):
    """From the second epoch on no file may grow, as on a full disk."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


def _fits_on_a_full_disk(root: Path) -> None:
    gate = GateCallback(["loss <= 100"], dirpath=root / "deploy")
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 2}, logger=False, callbacks=[MetricsCallback(root / "runs"), gate, FillsUp()])
    # What is printed goes into files too.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.fit(Net(), loader(), loader(2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert gate.decision is not None
    print(gate.decision.verdict, *gate.decision.reasons, sep="\n")  # noqa: T201 - read by the test


def test_a_fit_that_ends_on_a_full_disk_is_an_improve_and_no_error(tmp_path: Path) -> None:
    """For the points that are lost, though neither run.json nor gate.json can say so."""
    done = run_function(_fits_on_a_full_disk, tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    verdict, *reasons = done.stdout.splitlines()
    assert verdict == "improve"
    assert any(reason.startswith("lost_points: ") for reason in reasons)
    assert not any("has not ended" in reason for reason in reasons)
    assert not list((tmp_path / "deploy").glob("*/*"))
