"""The store: one folder a run, its points in Parquet files that any tool reads.

Values come in through a `Recorder` (by hand: `start_run`), which gives them to `MetricWriter`s in the
background; `Store` and `Run` read what is there.
"""

from fitgate.store._by_hand import ManualRun, start_run
from fitgate.store._reader import Run, Store
from fitgate.store._schema import SCHEMA

__all__ = ["SCHEMA", "ManualRun", "Run", "Store", "start_run"]
