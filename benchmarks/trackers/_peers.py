"""The table of peers: the trackers people use, each as its own documentation says, offline.

Each goes through the logger that it (or Lightning) ships, at `log_every_n_steps=1`, with what it would
measure of the machine turned off where it has a switch for that: only the metrics' own cost counts.
They are installed by the extra `bench-peers`; what is not there is left out.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from benchmarks.trackers._tracker import Tracker

__all__ = ["PEERS"]

_OWN_COLUMNS = ("epoch", "step", "trainer/global_step", "_step")  # what a logger adds to the metrics


def _every_step(logger: Logger) -> dict[str, Any]:
    return {"logger": logger, "log_every_n_steps": 1}


def _mlflow(folder: Path) -> dict[str, Any]:
    from pytorch_lightning.loggers import MLFlowLogger

    return _every_step(MLFlowLogger(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=str(folder / "artifacts")))


def _count_mlflow(folder: Path) -> int:
    return _query(folder / "mlflow.db", "select count(*) from metrics where key <> 'epoch'")


def _wandb(folder: Path) -> dict[str, Any]:
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    quiet = wandb.Settings(x_disable_stats=True, x_disable_meta=True, console="off", silent=True)
    return _every_step(WandbLogger(project="bench", save_dir=folder, offline=True, settings=quiet))


def _finish_wandb() -> None:
    import wandb

    wandb.finish()  # its service process lives on for the next run; it has written this one


def _aim(folder: Path) -> dict[str, Any]:
    from aim.pytorch_lightning import AimLogger

    return _every_step(AimLogger(repo=str(folder), system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False))


def _count_aim(folder: Path) -> int:
    from aim import Run

    (chunk,) = (folder / ".aim" / "seqs" / "chunks").iterdir()
    run = Run(chunk.name, repo=str(folder), system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False)
    return sum(len(metric.values.sparse_list()[0]) for metric in run.metrics())


class _TrackioLogger(Logger):
    """trackio ships no logger for Lightning: this is its three calls.

    Args:
        project: the name of its database.
    """

    def __init__(self, project: str) -> None:
        super().__init__()
        self._project = project
        self._run: Any = None

    @property
    def name(self) -> str:
        """The project."""
        return self._project

    @property
    def version(self) -> str:
        """There is one run."""
        return "0"

    @property
    def experiment(self) -> Any:  # noqa: ANN401 - trackio's run
        """The run, begun when first asked for. One process; ranks are not told apart."""
        if self._run is None:
            import trackio

            self._run = trackio.init(self._project, embed=False, auto_log_gpu=False, auto_log_cpu=False)
        return self._run

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row."""
        self.experiment.log(dict(metrics), step=step)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Lightning's signature
        """There are none."""

    def finalize(self, status: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Send what waits and end the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None


def _trackio(folder: Path) -> dict[str, Any]:
    return _every_step(_TrackioLogger(folder.name))


def _count_trackio(folder: Path) -> int:
    from trackio.sqlite_storage import SQLiteStorage

    with closing(sqlite3.connect(SQLiteStorage.get_project_db_path(folder.name))) as database:
        rows = [json.loads(text) for (text,) in database.execute("select metrics from metrics")]
    return sum(name not in _OWN_COLUMNS for row in rows for name in row)


def _dvclive(folder: Path) -> dict[str, Any]:
    from dvclive.lightning import DVCLiveLogger

    os.environ["DVCLIVE_LOGLEVEL"] = "ERROR"
    return _every_step(DVCLiveLogger(dir=str(folder / "dvclive"), save_dvc_exp=False, dvcyaml=None))


def _count_dvclive(folder: Path) -> int:
    tables = [path for path in folder.rglob("*.tsv") if path.stem != "epoch"]
    return sum(len(path.read_text().splitlines()) - 1 for path in tables)


def _query(database: Path, query: str) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute(query).fetchone()[0])


PEERS = (
    Tracker(name="trackio", module="trackio", package="trackio", build=_trackio, count=_count_trackio),
    Tracker(name="W&B, offline", module="wandb", package="wandb", build=_wandb, finish=_finish_wandb),
    Tracker(name="Aim", module="aim", package="aim", build=_aim, count=_count_aim),
    Tracker(name="MLflow, SQLite", module="mlflow", package="mlflow", build=_mlflow, count=_count_mlflow, share=0.1),
    Tracker(name="DVCLive", module="dvclive", package="dvclive", build=_dvclive, count=_count_dvclive, share=0.05),
)
"""In the order of the table. A further one is one line here and the function that builds its logger."""
