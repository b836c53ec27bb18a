"""The thread that writes: started, asked and ended, whatever a signal cuts in two."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import fitgate

BEGIN = """
    import gc, os, signal, sys, threading, time
    import fitgate
    from fitgate.store._recorder import Recorder
    start = threading.Thread.start
    run = fitgate.start_run(sys.argv[1], flush_every_s=600)
    run.log_metric("loss", 0, step=0)
    run._recorder.close()  # the next point starts the thread again
"""


def _ended(root: Path, code: str) -> subprocess.CompletedProcess[str]:
    program = textwrap.dedent(BEGIN) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", program, str(root)], capture_output=True, text=True, timeout=60, check=False)


def _found(root: Path) -> tuple[str, list[object]]:
    run = fitgate.Store(root).latest()
    return run.state, run.metrics(["loss"])["step"].to_pylist()


def test_sigterm_just_before_the_thread_starts(tmp_path: Path) -> None:
    """Who answers it needs the thread that the main thread was about to start: it starts another, and nobody waits for ever."""
    done = _ended(
        tmp_path,
        """
        def under_fire(thread):
            threading.Thread.start = start
            os.kill(os.getpid(), signal.SIGTERM)
            start(thread)
        threading.Thread.start = under_fire
        run.log_metric("loss", 1, step=1)
        """,
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert _found(tmp_path) == ("interrupted", [0, 1])


def test_ctrl_c_while_the_thread_starts(tmp_path: Path) -> None:
    """It runs, though who started it was interrupted: no second one works beside it, and it ends when it is told to."""
    done = _ended(
        tmp_path,
        """
        def interrupted(thread):
            threading.Thread.start = start
            start(thread)
            raise KeyboardInterrupt
        threading.Thread.start = interrupted
        try:
            run.log_metric("loss", 1, step=1)
        except KeyboardInterrupt:
            run.log_metric("loss", 2, step=2)
            run.flush()
            print([thread.name for thread in threading.enumerate()])
        run.close()
        print(threading.active_count())
        """,
    )
    assert done.stdout == "['MainThread', 'fitgate-flush']\n1\n", done.stderr
    assert _found(tmp_path) == ("completed", [0, 1, 2])


def test_a_run_that_is_over_is_let_go(tmp_path: Path) -> None:
    """Of many runs in one process neither threads nor anything else of theirs stays, also where a state was written after the close."""
    done = _ended(
        tmp_path,
        """
        run._recorder.update(state="running")
        run.close()
        for _ in range(5):
            with fitgate.start_run(sys.argv[1]) as run:
                run.log_metric("loss", 1)
        del run
        gc.collect()
        print(threading.active_count(), [each for each in gc.get_objects() if isinstance(each, Recorder)])
        """,
    )
    assert done.stdout == "1 []\n", done.stderr
