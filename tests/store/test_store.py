"""The store: what is logged by hand is there for any reader, whatever happens to the process."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

import fitgate
from fitgate.store import _kept_run_file
from fitgate.store._run_file import Attempt, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter


def _values(run: fitgate.Run, name: str) -> dict[object, object]:
    return {row["step"]: row["value"] for row in run.metrics([name]).to_pylist()}


def test_by_hand_points_are_what_duckdb_reads(tmp_path: Path) -> None:
    """The documented calls, read without a line of ours; the run completes."""
    with fitgate.start_run(tmp_path, name="by hand") as run:
        run.log_metric(name="accuracy", value=0.85, step=1)
        run.log_metrics({"accuracy": torch.tensor([0.9]), "loss": np.float32(0.25)}, step=2)
        run.log_metric("accuracy", 1)
    query = f"select name, step, value from read_parquet('{tmp_path}/*/metrics/*.parquet') order by all"  # noqa: S608
    rows = duckdb.connect().execute(query).fetchall()
    assert rows == [("accuracy", 1, 0.85), ("accuracy", 2, pytest.approx(0.9)), ("accuracy", 3, 1.0), ("loss", 2, 0.25)]
    stored = fitgate.Store(str(tmp_path)).latest()
    assert stored.state == "completed"
    assert stored.id.startswith("by-hand-")


@pytest.mark.parametrize(
    ("name", "value", "error", "came"),
    [
        ("acc", "0.9", TypeError, "'0.9'"),
        ("acc", None, TypeError, "None"),
        ("acc", torch.zeros(3), ValueError, "(3,)"),
        ("acc", object(), TypeError, "object"),
        ("", 0.9, ValueError, "''"),
        (7, 0.9, TypeError, "7"),
        ("acc", 10**400, ValueError, "int"),
        ("caf\udce9", 0.9, ValueError, "udce9"),
    ],
)
def test_wrong_values_name_the_metric_and_what_came(tmp_path: Path, name: str, value: object, error: type[Exception], came: str) -> None:
    """One clear error, and nothing of the call is recorded."""
    with fitgate.start_run(tmp_path) as run:
        with pytest.raises(error, match="metric") as caught:
            run.log_metrics({"good": 1.0, name: value}, step=0)
        assert repr(name) in str(caught.value)
        assert came in str(caught.value)
    assert fitgate.Store(str(tmp_path)).latest().metrics().num_rows == 0


@pytest.mark.parametrize("what", [[1], None, [("loss", 0.5)], 0.5, "loss", [0] * 100_000])
def test_metrics_that_are_no_mapping_are_refused_in_words(tmp_path: Path, what: Any) -> None:
    """What came, and what is expected; also of a run that has ended, and without all of a long list."""
    with fitgate.start_run(tmp_path) as run:
        for _ in range(2):
            with pytest.raises(TypeError, match=rf"must be a mapping of names to values .*, got {type(what).__name__}: ") as caught:
                run.log_metrics(what, step=0)
            assert len(str(caught.value)) < 150
            run.close()
    assert fitgate.Store(str(tmp_path)).latest().metrics().num_rows == 0


@pytest.mark.parametrize(("step", "told"), [(2**63, "at most 9223372036854775807"), (-(2**63) - 1, "negative"), (10**30, "at most")])
def test_steps_that_the_files_can_not_hold_are_refused(tmp_path: Path, step: int, told: str) -> None:
    """Beyond 64 bits on either side; the last that fits is kept to the bit."""
    with fitgate.start_run(tmp_path) as run:
        with pytest.raises(ValueError, match=f"metric 'loss': step must .*{told}.* got {step}"):
            run.log_metric("loss", 1.0, step=step)
        run.log_metric("loss", 2.0, step=2**63 - 1)
    assert _values(fitgate.Store(tmp_path).latest(), "loss") == {2**63 - 1: 2.0}


@pytest.fixture
def _switched_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_switched_often")
def test_threads_that_log_without_a_step_take_none_twice(tmp_path: Path) -> None:
    """Four at once, switched as often as can be: every value has a step of its own."""

    def log() -> None:
        for _ in range(1000):
            run.log_metrics({"loss": 1.0, "acc": 2.0})

    with fitgate.start_run(tmp_path, tensorboard=False) as run:
        threads = [threading.Thread(target=log) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stored = fitgate.Store(tmp_path).latest()
    for name in ("loss", "acc"):
        assert list(_values(stored, name)) == list(range(4000))


@pytest.mark.usefixtures("_switched_often")
def test_what_a_thread_has_logged_is_there_when_another_closes_the_run(tmp_path: Path) -> None:
    """Each call is recorded or raises, also while the run is being closed."""
    for number in range(20):
        run, logged = fitgate.start_run(tmp_path, flush_every_s=600, tensorboard=False), [0, 0]

        def log(who: int, run: Any = run, logged: list[int] = logged) -> None:
            with contextlib.suppress(RuntimeError):  # it has ended
                while True:
                    run.log_metric(f"of {who}", 1.0)
                    logged[who] += 1

        threads = [threading.Thread(target=log, args=(who,)) for who in (0, 1)]
        for thread in threads:
            thread.start()
        while min(logged) < 5 + number:
            time.sleep(1e-4)
        run.close()
        for thread in threads:
            thread.join()
        stored = fitgate.Store(tmp_path).run(run.id)
        assert [len(_values(stored, f"of {who}")) for who in (0, 1)] == logged


@pytest.mark.parametrize("step", [1.0, True, "1", np.array(1.5), np.array([1, 2]), np.float64(1), torch.tensor(0.5), torch.tensor([1, 2])])
def test_a_step_that_is_no_whole_number_is_refused(tmp_path: Path, step: object) -> None:
    """By name of the metric, and never rounded; one whole number in an array is one."""
    with fitgate.start_run(tmp_path) as run:
        with pytest.raises(TypeError, match="metric 'loss': step must be a whole number, got"):
            run.log_metric("loss", 1.0, step=step)  # type: ignore[arg-type]
        for whole in (np.int64(3), np.array(4), torch.tensor(5)):
            run.log_metric("loss", 2.0, step=whole)  # type: ignore[arg-type]
    assert _values(fitgate.Store(tmp_path).latest(), "loss") == {3: 2.0, 4: 2.0, 5: 2.0}


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        (Path("data"), "data"),
        (np.float32(0.5), 0.5),
        (np.complex64(1 + 2j), "(1+2j)"),
        (3j, "3j"),
        (np.longdouble(1.5), "1.5"),
        (np.datetime64("2026-11-23"), "2026-11-23"),
        (torch.tensor(3), 3),
        ({1, 2}, [1, 2]),
        ({("a", 1): b"x"}, {"('a', 1)": "b'x'"}),
        (2**70, 2**70),
        ("\udcff", "\\udcff"),
    ],
    ids=str,
)
def test_hyperparameters_by_hand_may_be_anything(tmp_path: Path, value: object, recorded: object) -> None:
    """What JSON can't hold is recorded as its text, as for a module's own; TensorBoard's HParams tab takes it too."""
    with fitgate.start_run(tmp_path, hparams={"p": value}):
        pass
    assert fitgate.Store(tmp_path).latest().hparams == {"p": recorded}


class Unprintable:
    """Has no text."""

    def __str__(self) -> str:
        raise TypeError


@pytest.mark.parametrize("hparams", [[1], "lr=0.1", {"p": Unprintable()}], ids=["list", "text", "value without a text"])
def test_a_run_that_can_not_begin_leaves_nothing_on_disk(tmp_path: Path, hparams: object) -> None:
    """Nor does one whose files can't be made."""
    with pytest.raises(TypeError):
        fitgate.start_run(tmp_path, hparams=hparams)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_run_whose_first_file_can_not_be_written_leaves_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the disk's; no folder of a run that never was."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_kept_run_file, "write_run_info", full)
    with pytest.raises(OSError, match="No space left"):
        fitgate.start_run(tmp_path)
    assert not list(tmp_path.iterdir())


_LISTS = """
import os, sys, fitgate
ends = []
for _ in range(60):
    child = os.fork()
    if not child:
        sys.setswitchinterval(1e-5)
        os._exit(0 if len(fitgate.Store(sys.argv[1]).runs()) == 8 else 1)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(set(ends))
"""


def test_many_runs_are_listed_by_several_threads(tmp_path: Path) -> None:
    """As the first thing that a process does: what one thread finds ready another has not begun to make."""
    for _ in range(8):
        with fitgate.start_run(tmp_path, tensorboard=False):
            pass
    done = subprocess.run([sys.executable, "-c", _LISTS, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "{0}\n", done.stdout + done.stderr


def test_where_no_run_can_begin_is_told_with_the_argument(tmp_path: Path) -> None:
    """Before anything is made."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError, match=f"start_run: the store {file} can't be written"):
        fitgate.start_run(file)
    with pytest.raises(TypeError, match="start_run: root must be a folder's path, got NoneType"):
        fitgate.start_run(None)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="start_run: name must be a text, got int: 5"):
        fitgate.start_run(tmp_path, name=5)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [file]


def test_a_long_name_leads_the_id_in_part(tmp_path: Path) -> None:
    """A folder's name has an end; the run's own is whole."""
    name = "warm-up " * 60
    with fitgate.start_run(tmp_path, name=name) as run:
        pass
    assert run.id.startswith("warm-up-warm-up-")
    assert fitgate.Store(tmp_path).latest().name == name


def test_after_its_end_a_run_takes_nothing(tmp_path: Path) -> None:
    """One clear error instead of a value that nobody would find."""
    with fitgate.start_run(tmp_path) as run:
        run.log_metric("loss", 1.0)
    for metrics in ({"acc": 0.5}, {"acc": 0.5, "loss": 1.0}, {}):
        with pytest.raises(RuntimeError, match=f"{run.id}' has ended and records nothing more"):
            run.log_metrics(metrics)
    with pytest.raises(RuntimeError, match="metric 'acc', 'loss': run"):
        run.log_metrics({"acc": 0.5, "loss": 1.0})
    run.flush()
    run.close()
    stored = fitgate.Store(tmp_path).latest()
    assert (stored.state, stored.metrics()["name"].to_pylist()) == ("completed", ["loss"])


def test_an_exception_loses_nothing_and_fails_the_run(tmp_path: Path) -> None:
    """All points are there after an error in the block."""

    def fail() -> None:
        with fitgate.start_run(tmp_path, flush_every_s=60) as run:
            run.log_metric("loss", 1.0, step=0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    stored = fitgate.Store(str(tmp_path)).latest()
    assert stored.state == "failed"
    assert _values(stored, "loss") == {0: 1.0}


def test_kill_9_leaves_whole_files_and_old_points(tmp_path: Path) -> None:
    """A real SIGKILL in the middle of logging: every file reads, no point twice, what was flushed is there."""
    code = (
        "import sys, fitgate, time\n"
        "run = fitgate.start_run(sys.argv[1], flush_every_s=0.02)\n"
        "step = 0\n"
        "while True:\n"
        "    run.log_metric('loss', step, step=step); step += 1; time.sleep(0.0002)\n"
    )
    for delay in (0.3, 0.45, 0.6):
        root = tmp_path / str(delay)
        process = subprocess.Popen([sys.executable, "-c", code, str(root)])
        deadline = time.monotonic() + 60
        while not list(root.glob("*/metrics/*.parquet")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        steps = fitgate.Store(str(root)).latest().metrics(["loss"])["step"].to_pylist()
        assert steps == list(range(len(steps)))
        assert len(steps) > 100


def test_a_resume_masks_what_it_went_back_behind(tmp_path: Path) -> None:
    """Later attempts win for an equal key; points above the resumed step stay on disk, masked."""
    now = datetime.now(UTC)
    run_dir = tmp_path / "r"
    for attempt, steps in ((0, range(6)), (1, range(3, 5))):
        writer = SegmentWriter(run_dir / "metrics", run_id="r", attempt=attempt)
        writer.write([Record("train", s, s + 1, 0, s, ("loss",), (s + 100.0 * attempt,)) for s in steps])
        writer.close()
    attempts = (Attempt(number=0, started=now), Attempt(number=1, started=now, resumed_step=4))
    write_run_info(run_dir, RunInfo(id="r", name="r", state="running", created=now, updated=now, attempts=attempts))
    run = fitgate.Store(str(tmp_path)).run("r")
    assert _values(run, "loss") == {0: 0.0, 1: 1.0, 2: 2.0, 3: 103.0, 4: 104.0}


def test_a_silent_run_is_lost_and_a_damaged_one_does_not_hide_the_others(tmp_path: Path) -> None:
    """`lost` after five minutes without a sign; a broken run.json is named."""
    old = datetime.now(UTC) - timedelta(minutes=6)
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        write_run_info(tmp_path / name, RunInfo(id=name, name=name, state="running", created=old, updated=old))
    (tmp_path / "broken" / "run.json").write_text('{"id": 3}')
    with pytest.warns(UserWarning, match="broken/run.json"):
        (run,) = fitgate.Store(str(tmp_path)).runs()
    assert run.state == "lost"


def test_a_truncated_segment_is_named(tmp_path: Path) -> None:
    """The message says which file is off."""
    with fitgate.start_run(tmp_path) as run:
        run.log_metric("loss", 1.0)
    (segment,) = tmp_path.glob("*/metrics/*.parquet")
    segment.write_bytes(segment.read_bytes()[:-20])
    with pytest.raises(fitgate.StoreError, match=segment.name):
        fitgate.Store(str(tmp_path)).latest().metrics()


def test_unknown_runs_are_answered_with_what_there_is(tmp_path: Path) -> None:
    """A wrong id names the newest runs; a prefix is enough."""
    with fitgate.start_run(tmp_path, name="alpha") as run:
        pass
    store = fitgate.Store(str(tmp_path))
    assert store.run("alp").id == store.run("alpha").id == run.id
    with pytest.raises(fitgate.RunNotFoundError, match=run.id):
        store.run("beta")


def test_the_end_of_an_id_names_a_run_where_it_is_the_only_one(tmp_path: Path) -> None:
    """From the start of a word; what begins with it, or is called so, comes first; of several none is guessed."""
    now = datetime.now(UTC)
    for run_id in ("a-20261123-1-quiet-otter", "b-20261123-2-loud-otter", "loud-20261123-3-big-owl", "c-20261123-4-tall-loud"):
        (tmp_path / run_id).mkdir()
        write_run_info(tmp_path / run_id, RunInfo(id=run_id, name=run_id[0], state="completed", created=now, updated=now))
    store = fitgate.Store(tmp_path)
    assert store.run("quiet-otter").id == store.run("20261123-1-quiet-otter").id == "a-20261123-1-quiet-otter"
    assert store.run("owl").id == store.run("loud").id == "loud-20261123-3-big-owl"
    several = "several runs that end in 'otter': [ab]-20261123-.-[a-z]+-otter, [ab]-20261123-.-[a-z]+-otter$"
    with pytest.raises(fitgate.RunNotFoundError, match=several):
        store.run("otter")
    for part in ("uiet-otter", "-otter", "-quiet-otter"):
        with pytest.raises(fitgate.RunNotFoundError, match="no run"):
            store.run(part)
    with pytest.raises(TypeError, match="asked for by a text, such as 'latest', its id or its name, got int: 5"):
        store.run(5)  # type: ignore[arg-type]  # on purpose


def test_import_loads_neither_torch_nor_lightning_nor_a_plotting_library() -> None:
    """The core alone is light."""
    code = "import sys, fitgate; print([m for m in ('torch', 'pytorch_lightning', 'lightning', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hyperparameters_of_any_depth_are_read_again(tmp_path: Path) -> None:
    """What lies deeper than any reader of run.json goes stands there as an abridged text; one that holds itself is no different."""
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    circle: dict[str, Any] = {"lr": 0.1}
    circle["self"] = circle
    fitgate.start_run(tmp_path, hparams={"lr": 0.1, "deep": deep, "circle": circle}, tensorboard=False).close()
    hparams = fitgate.Store(str(tmp_path)).latest().hparams
    assert hparams["lr"] == 0.1
    assert str(hparams["deep"]).startswith("[[[")
    assert hparams["circle"]["self"]["lr"] == 0.1
