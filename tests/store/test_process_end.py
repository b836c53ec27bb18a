"""Runs by hand that are still open when their process ends: every point is there, and the state is honest."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fitgate
from fitgate.callbacks import MetricsCallback
from tests._process import run_function
from tests.callbacks._fits import QUIET, Net, loader

BEGIN = """
    import os, signal, sys, time
    import fitgate
    def ready():
        print("ready", flush=True)
        time.sleep(600)
"""


def _start(root: Path, code: str) -> subprocess.Popen[str]:
    program = textwrap.dedent(BEGIN) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _terminated(root: Path, code: str) -> tuple[int, str]:
    """The exit code and the rest of what was printed, after SIGTERM came at `ready`."""
    process = _start(root, code)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def _found(root: Path) -> tuple[str, list[object]]:
    run = fitgate.Store(root).latest()
    return run.state, run.metrics(["loss"])["step"].to_pylist()


LOGS = """
for step in range(100):
    run.log_metric("loss", step, step=step)
"""
WITH = "with fitgate.start_run(sys.argv[1], flush_every_s=600) as run:" + textwrap.indent(LOGS, "    ")
WITHOUT = "run = fitgate.start_run(sys.argv[1], flush_every_s=600)" + LOGS


@pytest.mark.parametrize("code", [WITH + "    ready()", WITHOUT + "ready()"], ids=["with", "without"])
def test_sigterm_loses_nothing_and_interrupts_the_run(tmp_path: Path, code: str) -> None:
    """The process still ends by the signal, as a shell or a scheduler expects."""
    assert _terminated(tmp_path, code) == (-signal.SIGTERM, "")
    assert _found(tmp_path) == ("interrupted", list(range(100)))


def test_sigterm_in_the_middle_of_a_flush(tmp_path: Path) -> None:
    """What was flushed before is there, each point once, in TensorBoard too."""
    code = """
    run = fitgate.start_run(sys.argv[1], flush_every_s=0.001)
    for step in range(10**9):
        run.log_metric("loss", step, step=step)
        run.flush()
        print(step or "ready", flush=True)
    """
    returncode, out = _terminated(tmp_path, code)
    state, steps = _found(tmp_path)
    assert (returncode, state) == (-signal.SIGTERM, "interrupted")
    assert steps == list(range(len(steps)))
    assert len(steps) >= 1 + len(out.splitlines())
    events = EventAccumulator(fitgate.Store(tmp_path).latest().path, size_guidance={"scalars": 0})
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == steps


def test_a_second_sigterm_changes_nothing(tmp_path: Path) -> None:
    """While the first is being answered."""
    code = """
    from fitgate.store import _kept_run_file
    run = fitgate.start_run(sys.argv[1], flush_every_s=600)
    run.log_metric("loss", 1, step=0)
    write, sent = _kept_run_file.write_run_info, []
    def write_under_fire(*arguments):
        if not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
        write(*arguments)
    _kept_run_file.write_run_info = write_under_fire
    ready()
    """
    assert _terminated(tmp_path, code) == (-signal.SIGTERM, "")
    assert _found(tmp_path) == ("interrupted", [0])


def test_ones_own_handler_stands(tmp_path: Path) -> None:
    """Set before or after; it is not called twice, and is still there when the run is over."""
    own = "def mine(signum, frame):\n    print('mine', flush=True)\n    sys.exit(3)\n"
    mine = "signal.signal(signal.SIGTERM, mine)\n"
    for name, code in {
        "before": own + mine + WITH + "    ready()",
        "after": own + WITH + f"    {mine}    ready()",
        "over": own + mine + WITH + "ready()",
    }.items():
        assert _terminated(tmp_path / name, code) == (3, "mine\n")
        assert _found(tmp_path / name)[1] == list(range(100))


def test_a_handler_that_passes_on_decides_itself(tmp_path: Path) -> None:
    """As Lightning's does in a fit: points are brought to the disk at once, and the run goes on."""
    code = """
    run = fitgate.start_run(sys.argv[1], flush_every_s=600)
    before = signal.getsignal(signal.SIGTERM)
    def passes_on(signum, frame):
        before(signum, frame)
        print(fitgate.Store(sys.argv[1]).latest().state, fitgate.Store(sys.argv[1]).latest().metrics().num_rows, flush=True)
        run.log_metric("loss", 1, step=1)
        run.close()
        os._exit(5)
    signal.signal(signal.SIGTERM, passes_on)
    run.log_metric("loss", 0, step=0)
    ready()
    """
    assert _terminated(tmp_path, code) == (5, "running 1\n")
    assert _found(tmp_path) == ("completed", [0, 1])


def test_sigterm_has_its_default_meaning_again_after_the_last_run(tmp_path: Path) -> None:
    """Nothing of ours stays behind, whichever run is closed first; nor in a forked child."""
    code = """
    runs = [fitgate.start_run(sys.argv[1]) for _ in range(3)]
    ours = signal.getsignal(signal.SIGTERM)
    for run in runs:
        child = os.fork()
        if child == 0:
            os._exit(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
        print(signal.getsignal(signal.SIGTERM) == ours != signal.SIG_DFL, os.waitpid(child, 0)[1])
        run.close()
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    with fitgate.start_run(sys.argv[1]):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)
    """
    out, error = _start(tmp_path, code).communicate(timeout=60)
    assert out == "True 0\n" * 3 + "True\n" * 2, error


@pytest.mark.parametrize(
    ("ending", "returncode"),
    [
        ("", 0),
        ("sys.exit(4)", 4),
        ("raise ValueError", 1),
        ("signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
    ],
)
def test_a_process_that_ends_without_closing_its_run(tmp_path: Path, ending: str, returncode: int) -> None:
    """Everything is there; nobody said that the run was complete, so it is interrupted and not running for ever."""
    process = _start(tmp_path, f"{WITHOUT}{ending}")
    process.communicate(timeout=60)
    assert process.returncode == returncode
    assert _found(tmp_path) == ("interrupted", list(range(100)))


def test_a_child_of_multiprocessing_that_ends_without_closing_its_run(tmp_path: Path) -> None:
    """Forked, it ends without what `atexit` was told; the run is interrupted all the same, with all its points."""
    code = f"""
    import multiprocessing
    def train():
        {textwrap.indent(WITHOUT, "        ").strip()}
    child = multiprocessing.get_context("fork").Process(target=train)
    child.start()
    child.join()
    """
    _, error = _start(tmp_path, code).communicate(timeout=60)
    assert error == ""
    assert _found(tmp_path) == ("interrupted", list(range(100)))


def test_a_run_on_another_thread_listens_to_no_signal(tmp_path: Path) -> None:
    """Python sets handlers on the main thread alone; the run is recorded all the same."""
    code = """
    import threading
    def log():
        with fitgate.start_run(sys.argv[1]) as run:
            run.log_metric("loss", 1, step=0)
    thread = threading.Thread(target=log)
    thread.start()
    thread.join()
    """
    _, error = _start(tmp_path, code).communicate(timeout=60)
    assert error == ""
    assert _found(tmp_path) == ("completed", [0])


def _fits_and_is_terminated(root: Path) -> None:
    class Terminated(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            run.log_metric("loss", batch_idx, step=batch_idx)
            if batch_idx == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    with fitgate.start_run(root / "hand", flush_every_s=600) as run:
        trainer = pl.Trainer(**QUIET, logger=False, callbacks=[Terminated(), MetricsCallback(root / "fit", flush_every_s=600)])
        trainer.fit(Net(), loader())


def test_sigterm_in_a_fit_inside_a_run_by_hand(tmp_path: Path) -> None:
    """Lightning ends the fit in its own way, with exit code 0; both runs are interrupted, with all their points."""
    done = run_function(_fits_and_is_terminated, tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert _found(tmp_path / "hand") == _found(tmp_path / "fit") == ("interrupted", [0, 1, 2, 3])


def test_many_at_once_under_sigterm(tmp_path: Path) -> None:
    """Several runs of one process, each complete up to its last point."""
    code = """
    runs = [fitgate.start_run(sys.argv[1], flush_every_s=600) for _ in range(5)]
    for number, run in enumerate(runs):
        for step in range(10 + number):
            run.log_metric("loss", step)
    ready()
    """
    assert _terminated(tmp_path, code)[0] == -signal.SIGTERM
    runs = fitgate.Store(tmp_path).runs()
    assert sorted(run.metrics().num_rows for run in runs) == [10, 11, 12, 13, 14]
    assert {run.state for run in runs} == {"interrupted"}
