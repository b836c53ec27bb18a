"""Two ranks with gloo on the CPU: one run, one id; each rank's points in files of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fitgate
from tests._process import run_on_two_ranks, run_script
from tests.callbacks._distributed_fit import evaluates_on_one_rank, fails_to_open, goes_on_amid_an_epoch, main, records_apart

SCRIPT = Path(__file__).with_name("_distributed_fit.py")
ALONE = [sys.executable]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]


def _run(root: Path, launcher: list[str], *arguments: str, fine: bool = True) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, str(SCRIPT), str(root), *arguments], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is fine, done.stderr[-2000:]


def _only_run(root: Path) -> fitgate.Run:
    (run,) = fitgate.Store(str(root / "runs")).runs()
    return run


def _assert_one_run_of_rank_0(root: Path) -> None:
    run = _only_run(root)
    assert (run.state, len(run.info.attempts)) == ("completed", 1)
    assert run.metrics(["rank_step"])["step"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert set(run.metrics(["rank_step", "rank_epoch", "val_rank_step"])["value"].to_pylist()) == {0.0}
    assert run.metrics(["synced"])["value"].to_pylist() == [0.5, 0.5]
    events = EventAccumulator(run.path, size_guidance={"scalars": 0})
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("rank_step")] == [(step, 0.0) for step in range(6)]
    notes = [json.loads((root / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert [note["run_id"] for note in notes] == [run.id, run.id]
    assert run.info.attempts[0].pid == notes[0]["pid"]


def _assert_training_takes_no_collective_of_ours(root: Path) -> None:
    """At the end of each of the two validations all are told what is asked for, how many batches they have seen, and what those were."""
    for rank in (0, 1):
        without, with_ours = json.loads((root / f"rank{rank}.json").read_text())["collectives"]
        assert without["train"] > 0
        assert with_ours == {"train": without["train"], "validate": without["validate"] + 2 * 4}


def test_all_ranks_by_trainers_own_launcher(tmp_path: Path) -> None:
    """`ranks="all"`: rank 1's points beside rank 0's; a training step says nothing more to the other rank than without us."""
    done = run_script(SCRIPT, str(tmp_path), "ddp", "all", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    _assert_one_run_of_rank_0(tmp_path)
    run = _only_run(tmp_path)
    assert run.metrics(["rank_step", "val_rank_epoch"], rank=1)["value"].to_pylist() == [1.0] * 8
    assert run.metrics(["synced"], rank=1)["value"].to_pylist() == [0.5, 0.5]
    _assert_training_takes_no_collective_of_ours(tmp_path)


def test_rank_zero_alone_is_recorded_unless_asked(tmp_path: Path) -> None:
    """`ranks="zero"`, the default: no point of rank 1, and nothing more to say in a training step either."""
    run_on_two_ranks(main, tmp_path, "ddp", "zero", folder=tmp_path)
    _assert_one_run_of_rank_0(tmp_path)
    assert not list(Path(_only_run(tmp_path).path).glob("metrics/*-r001-*"))
    assert _only_run(tmp_path).metrics(rank=1).num_rows == 0
    _assert_training_takes_no_collective_of_ours(tmp_path)


@pytest.mark.parametrize(("ranks", "unreadable"), [("zero", False), ("all", False), ("zero", True)])
def test_where_one_rank_can_not_record_all_are_told(tmp_path: Path, ranks: str, unreadable: bool) -> None:  # noqa: FBT001 - a parameter
    """Before training, and with the same words: a rank that goes on alone waits for the others without end."""
    told = run_on_two_ranks(fails_to_open, tmp_path, ranks, unreadable, folder=tmp_path)
    assert told[0] == told[1]
    if unreadable:
        assert "run.json can't be read" in told[0]
    elif ranks == "all":
        assert f"MetricsCallback: the store {tmp_path / 'file'} of rank 1 can't be written" in told[0]
    else:
        assert told[0] == "fitted"


def test_ranks_that_share_no_folder_are_told(tmp_path: Path) -> None:
    """Rank 1's files would lie where no run.json is."""
    rank_0, rank_1 = run_on_two_ranks(records_apart, tmp_path, folder=tmp_path)
    assert rank_0 == []
    (told,) = rank_1
    assert f"rank 1 doesn't find run.json in {tmp_path / '1'}" in told


def test_what_another_rank_loses_is_counted_too(tmp_path: Path) -> None:
    """Rank 1 can't write, rank 0 can: run.json counts rank 1's points, and rank 0's are all there."""
    run_on_two_ranks(main, tmp_path, "ddp", "all", "blocked", folder=tmp_path)
    run = _only_run(tmp_path)
    Path(run.path, "metrics", "a000-r001-000000.parquet").rmdir()
    assert run.metrics(["rank_step"])["step"].to_pylist() == [0, 1, 2, 3, 4, 5]
    alone = run.metrics().num_rows
    assert run.metrics(rank=1).num_rows == 0
    assert run.info.lost_points == alone, "each rank has the same number of points"


def test_an_average_over_ranks_is_of_both_alike_after_a_resume(tmp_path: Path) -> None:
    """The checkpoint is rank 0's: it holds nothing of what ranks put together at the end of the epoch, else rank 0 would weigh more.

    Nor goes rank 1 on with what is rank 0's own.
    """
    assert list(run_on_two_ranks(goes_on_amid_an_epoch, tmp_path, folder=tmp_path)) == [0.5, 0.5]
    run = _only_run(tmp_path)
    assert set(run.metrics(["synced"])["value"].to_pylist()) == {0.5}
    assert [set(run.metrics(["rank_epoch"], rank=rank)["value"].to_pylist()) for rank in (0, 1)] == [{0.0}, {1.0}]


@pytest.mark.parametrize("ranks", ["zero", "all"])
def test_a_rank_that_leaves_a_test_out_is_not_waited_for(tmp_path: Path, ranks: str) -> None:
    """It has no batch of it, which the user allows: the other's points are there."""
    rank_0, rank_1 = run_on_two_ranks(evaluates_on_one_rank, tmp_path, ranks, folder=tmp_path)
    assert rank_1 == ["[]", "[]"]
    assert rank_0 == ["[{'val_rank_epoch': 0.0}]", "[{'test_rank_epoch': 0.0}]"]
    run = _only_run(tmp_path)
    assert (run.state, len(run.info.attempts)) == ("completed", 1)
    assert run.metrics(["val_rank_step", "test_rank_step"])["step"].to_pylist() == [*range(6), *range(6)]


@pytest.mark.stress
@pytest.mark.parametrize(("launcher", "strategy"), [(TORCHRUN, "ddp"), (ALONE, "ddp_spawn")], ids=["torchrun", "ddp_spawn"])
@pytest.mark.parametrize("ranks", ["zero", "all"])
def test_other_ways_to_start_ranks(tmp_path: Path, launcher: list[str], strategy: str, ranks: str) -> None:
    """By torchrun and by spawning: one run, rank 0's values, rank 1's only on request."""
    _run(tmp_path, launcher, strategy, ranks)
    _assert_one_run_of_rank_0(tmp_path)
    assert _only_run(tmp_path).metrics(["rank_step"], rank=1).num_rows == (6 if ranks == "all" else 0)


@pytest.mark.stress
def test_an_error_in_spawned_ranks_is_one_failed_run(tmp_path: Path) -> None:
    """The process that spawned them is told of it too, and makes no run of its own."""
    _run(tmp_path, ALONE, "ddp_spawn", "zero", "raises", fine=False)
    run = _only_run(tmp_path)
    assert (run.state, run.metrics(["rank_step"])["step"].to_pylist()) == ("failed", [0, 1, 2])


@pytest.mark.stress
@pytest.mark.parametrize("dying", ["0", "1"])
def test_a_rank_that_dies_leaves_the_store_readable(tmp_path: Path, dying: str) -> None:
    """A SIGKILL in the second epoch: the first one's points of the other rank are there, and every file is whole."""
    _run(tmp_path, TORCHRUN, "ddp", "all", dying, fine=False)
    run = _only_run(tmp_path)
    for rank in (0, 1):
        steps = run.metrics(["rank_step"], rank=rank)["step"].to_pylist()
        assert steps == list(range(len(steps)))
    assert run.metrics(["rank_step"], rank=1 - int(dying))["step"].to_pylist()[:3] == [0, 1, 2]
