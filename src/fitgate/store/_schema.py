"""One row is one point: the Parquet schema, and the record a point arrives in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import pyarrow as pa

__all__ = ["BATCHES", "SCHEMA", "STAGES", "Record", "Stage"]

Stage = Literal["train", "validate", "test"]
STAGES: frozenset[str] = frozenset(get_args(Stage))
"""The stages whose points are a run's metrics."""
BATCHES = "validate/batches"
"""The stage of records that hold the running sums of a validation pass, batch by batch: evidence, and no metrics."""

SCHEMA: pa.Schema = pa.schema(
    [  # type: ignore[arg-type]  # the stubs lose the fields' types in a list
        pa.field("run_id", pa.string()),
        pa.field("attempt", pa.int32()),
        pa.field("rank", pa.int32()),
        pa.field("stage", pa.string()),
        pa.field("name", pa.string()),
        pa.field("step", pa.int64()),
        pa.field("global_step", pa.int64()),
        pa.field("epoch", pa.int32()),
        pa.field("wall_time", pa.timestamp("us", tz="UTC")),
        pa.field("value", pa.float64()),
    ]
)
"""The columns of every file under `metrics/`, in this order. More may follow in later versions."""


class Record(NamedTuple):
    """All values that were logged together: one instant of one stage.

    Attributes:
        stage: `"train"`, `"validate"`, `"test"`, or `BATCHES`.
        step: the x-axis that Lightning's loggers use for these values.
        global_step: `trainer.global_step` when they were recorded.
        epoch: the epoch they belong to.
        wall_time: microseconds since 1970, UTC.
        names: the metrics, in the order of `values`.
        values: floats in a tuple; in a list there may also be one-element tensors on a device, until the background thread has
            fetched them.
    """

    stage: str
    step: int
    global_step: int
    epoch: int
    wall_time: int
    names: tuple[str, ...]
    values: Sequence[Any]
