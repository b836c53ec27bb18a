"""Records in child processes, kills each with SIGKILL at a random instant, and looks at what plain readers find.

Run by test_kill.py: `python kill_storm.py ROOT KILLS SEED`. Exits with 1 and the reason on the first thing that is off.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import sys
import time
from functools import partial
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from fitgate.store import Store, _open
from fitgate.store._recorder import Recorder
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

FLUSH_EVERY_S = 0.05
PROMISED_WITHIN_S = FLUSH_EVERY_S + 1.0
MOST_STEPS = 2_000_000

Points = set[tuple[object, ...]]  # attempt, stage, name, step


def main(root: Path, kills: int, seed: int) -> None:
    """One run after the other, each killed and resumed some times."""
    rng = random.Random(seed)  # noqa: S311 - no secret, the same every time
    done = promised = 0
    while done < kills:
        run_dir = root / f"run-{done:04d}"
        before: Points = set()
        for _ in range(min(rng.choice([1, 2, 5]), kills - done)):
            before, old_enough = one_life(run_dir, before, rng)
            done += 1
            promised += old_enough
    print(done, promised)  # noqa: T201 - what the test reads


def one_life(run_dir: Path, before: Points, rng: random.Random) -> tuple[Points, int]:
    """Start or resume a run in a child, kill it, and check. Returns the points on disk, and how many steps had to be among them."""
    start = 1 + max((int(str(row[3])) for row in before), default=-1)
    recorded_at = mmap.mmap(-1, 8 * MOST_STEPS)  # by step, shared with the child: what it did outlives it
    child = os.fork()
    if child == 0:
        record(run_dir, start, recorded_at, random.Random(rng.random()))  # noqa: S311 - see above
        os._exit(1)  # not reached
    # Most lives go on into flushes and seals; some end at once.
    time.sleep(rng.choice([rng.uniform(0, 0.05), rng.uniform(0.1, 0.6), rng.uniform(1.2, 2.2)]))
    starved = waited_for_cpu(child)
    killed_at = time.time()
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, f"the child ended by itself: {status}"
    return check(run_dir, before, start, recorded_at, killed_at - PROMISED_WITHIN_S - starved)


def waited_for_cpu(process: int) -> float:
    """Seconds in which its threads were ready to run and other processes had the cores."""
    return sum(int(path.read_text().split()[1]) for path in Path(f"/proc/{process}/task").glob("*/schedstat")) / 1e9


def record(run_dir: Path, start: int, recorded_at: mmap.mmap, rng: random.Random) -> None:
    """What the child does until it is killed: steps of two metrics, a third at times, a value logged again at times."""
    # A seal waits for the disk: many a second, but no thousands.
    pause, sealed_rows = rng.choice([(0.001, 200), (0.0005, 1000), (0.0001, 5000)])
    _open.SegmentWriter = partial(SegmentWriter, sealed_rows=sealed_rows)  # type: ignore[attr-defined,assignment]
    recorder: Recorder = _open.open_recorder(run_dir, resumed_step=start or None, flush_every_s=FLUSH_EVERY_S)
    for step in range(start, MOST_STEPS):
        now = time.time()
        recorder.record(Record("train", step, step, 0, int(now * 1e6), ("loss", "acc"), (step / 2, step / 4)))
        if step % 7 == 0:
            recorder.record(Record("validate", step, step, 0, int(now * 1e6), ("val_loss",), (step / 8,)))
        if step % 500 == start % 500 and step - start > 1000:  # into a file that is sealed by now
            recorder.record(Record("train", step - 1000, step - 1000, 0, int(now * 1e6), ("loss",), ((step - 1000) / 2,)))
        struct.pack_into("d", recorded_at, 8 * step, now)
        time.sleep(pause)


def check(run_dir: Path, before: Points, start: int, recorded_at: mmap.mmap, promised_until: float) -> tuple[Points, int]:
    """Every file whole, no point twice, none gone, none missing that is older than promised, all values right."""
    for path in (run_dir / "metrics").glob("*.parquet"):
        pq.read_table(path)
    if not list((run_dir / "metrics").glob("*.parquet")):
        rows = []
    else:
        query = f"select attempt, stage, name, step, value from read_parquet('{run_dir.parent}/{run_dir.name}/metrics/*.parquet')"  # noqa: S608
        rows = duckdb.connect().execute(query).fetchall()
    points = {row[:4] for row in rows}
    assert len(points) == len(rows), f"{len(rows) - len(points)} points twice in {run_dir}"
    assert before <= points, f"{len(before - points)} points are gone in {run_dir}"
    parts = {"loss": 2, "acc": 4, "val_loss": 8}
    assert all(value == step / parts[name] for _, _, name, step, value in rows), f"a wrong value in {run_dir}"
    there = {(name, step) for _, _, name, step in points - before}
    for step in range(start, MOST_STEPS):
        (when,) = struct.unpack_from("d", recorded_at, 8 * step)
        if not 0 < when < promised_until:
            break
        names = ("loss", "acc", "val_loss") if step % 7 == 0 else ("loss", "acc")
        missing = [name for name in names if (name, step) not in there]
        assert not missing, f"step {step} of {missing} should be there since {promised_until - when:.2f} s in {run_dir}"
    if (run_dir / "run.json").exists():
        run = Store(str(run_dir.parent)).run(run_dir.name)
        effective = [int(str(step)) for step in run.metrics(["loss"])["step"].to_pylist()]
        assert effective == sorted(set(effective)), f"Run.metrics is out of order in {run_dir}"
        assert set(effective) == {step for _, _, name, step in points if name == "loss"}
    return points, step - start


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
