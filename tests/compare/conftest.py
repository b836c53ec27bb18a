"""Stores made by hand, in the files that a run leaves."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import fitgate
from fitgate.store._run_file import Attempt, CheckpointRef, FitFacts, RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter

MakeRun = Callable[..., fitgate.Run]
BEGAN = datetime(2026, 11, 23, 8, 40, tzinfo=UTC)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Make one run of a store under `tmp_path`; `curves` holds (stage, name) or names of the stage validate, each with its values."""

    def make(
        run_id: str,
        curves: Mapping[Any, Sequence[float]] | None = None,
        *,
        hparams: Mapping[str, Any] | None = None,
        state: str = "completed",
        thresholds: Sequence[str] = (),
        verdict: str = "improve",
        monitor: tuple[str, str] | None = None,
        every: int = 10,
        name: str | None = None,
    ) -> fitgate.Run:
        folder = tmp_path / run_id
        writer = SegmentWriter(folder / "metrics", run_id=run_id)
        began = int(BEGAN.timestamp() * 1e6)
        for key, values in (curves or {}).items():
            stage, metric = key if isinstance(key, tuple) else ("validate", key)
            steps = [(i + 1) * every for i in range(len(values))]
            points = zip(steps, values, strict=True)
            writer.write([Record(stage, s, s, i, began + (i + 1) * 1_000_000, (metric,), (v,)) for i, (s, v) in enumerate(points)])
        folder.mkdir(exist_ok=True)
        if curves:
            writer.close()
        checkpoint = CheckpointRef(path="best.ckpt", global_step=10, monitor=monitor[0], mode=monitor[1]) if monitor else None
        info = RunInfo(
            id=run_id,
            name=name or run_id,
            state="running" if state == "lost" else state,  # type: ignore[arg-type]  # tests name states as text
            created=BEGAN,
            updated=datetime.now(UTC) - (timedelta(hours=1) if state == "lost" else timedelta()),
            hparams=dict(hparams or {}),
            attempts=(Attempt(number=0, started=BEGAN),),
            fit=FitFacts(checkpoint=checkpoint) if checkpoint else None,
        )
        write_run_info(folder, info)
        if thresholds:
            checks = [
                {"metric": t.metric, "op": t.op, "threshold": str(t), "warn": t.warn, "passed": True, "reason": str(t)}
                for t in map(fitgate.Threshold.parse, thresholds)
            ]
            (folder / "gate.json").write_text(json.dumps({"run_id": run_id, "verdict": verdict, "checks": checks}))
        return fitgate.Store(str(tmp_path)).run(run_id)

    return make
