"""A store with a few runs, written without torch, and the command line in this process."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fitgate
from fitgate._files import encode_json
from fitgate.cli import app
from fitgate.gate import decision_as_dict, judge
from fitgate.store._run_file import Attempt, CheckpointRef, FitFacts, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

Invoke = Callable[..., Any]
ACCURACIES = (0.5, 0.7, 0.9, 0.8)
"""Of the validations: the best one is not the last."""


def _write_run(root: Path, run_id: str, *, name: str = "net", age: timedelta = timedelta(hours=2), state: Any = "completed") -> fitgate.Run:
    """A run of four epochs of ten steps, whose checkpoint is the third epoch's."""
    run_dir = root / run_id
    writer = SegmentWriter(run_dir / "metrics", run_id=run_id)
    began = datetime.now(UTC) - age
    start = int(began.timestamp() * 1e6)
    for epoch, accuracy in enumerate(ACCURACIES):
        for step in range(10 * epoch, 10 * epoch + 10):
            writer.write([Record("train", step, step + 1, epoch, start + step, ("train_loss",), (math.exp(-step / 20),))])
        names, values = ("val_acc", "val_loss"), (accuracy, 1.2 - accuracy)
        writer.write([Record("validate", 10 * epoch + 9, 10 * epoch + 10, epoch, start + 10 * epoch + 10, names, values)])
    writer.close()
    best = CheckpointRef(path="best.ckpt", global_step=30, epoch=2, monitor="val_acc", mode="max")
    info = RunInfo(
        id=run_id,
        name=name,
        state=state,
        created=began,
        updated=began + timedelta(minutes=1),
        hparams={"lr": 0.1},
        attempts=(Attempt(number=0, started=began),),
        fit=FitFacts(global_step=40, epoch=4, steps=40, checkpoint=best),
    )
    write_run_info(run_dir, info)
    return fitgate.Store(str(root)).run(run_id)


def _judge_run(run: fitgate.Run, thresholds: list[str]) -> None:
    """Write gate.json, and the verdict into run.json, as the callback does."""
    decision = judge(run, thresholds)
    Path(run.path, "gate.json").write_bytes(encode_json(decision_as_dict(decision, run.id)))
    write_run_info(Path(run.path), replace(run.info, state="deployed" if decision.verdict == "deploy" else "improve"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store of three runs: an old one that nobody judged, one that missed, and the newest, deployed."""
    root = tmp_path / "runs"
    _write_run(root, "net-20261123-080000-old-owl", age=timedelta(days=3))
    _judge_run(_write_run(root, "net-20261123-090000-sad-fox", age=timedelta(hours=3)), ["val_acc >= 0.95", "val_loss <= 0.5"])
    _judge_run(_write_run(root, "net-20261123-100000-glad-hen", age=timedelta(minutes=5)), ["val_acc >= 0.8"])
    return root


@pytest.fixture
def invoke() -> Invoke:
    """Run the command line in this process; the result has exit_code, stdout and stderr."""

    def run(*arguments: object, **options: Any) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)

    return run


@pytest.fixture
def judge_run() -> Callable[[fitgate.Run, list[str]], None]:
    """Judge a run and write it down."""
    return _judge_run
