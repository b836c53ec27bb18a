"""Which points are evidence of a run's fits: not those of a validation after one of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from fitgate.store._run_file import RunInfo

__all__ = ["of_fits"]


def of_fits(info: RunInfo) -> pc.Expression:
    """A filter on `attempt` and `wall_time`.

    `trainer.validate` after a fit records at the `global_step` where the fit ended, of whatever weights it was given. A later attempt
    may still ship a checkpoint of that step, so the end of each attempt's fit counts, and not only that of the last.
    """
    last = info.fit.ended if info.fit is not None else None
    kept = pc.scalar(value=True) if last is None else _by(last)
    for attempt in info.attempts:
        if attempt.ended is not None:
            kept &= (pc.field("attempt") != attempt.number) | _by(attempt.ended)
    return kept


def _by(ended: datetime) -> pc.Expression:
    # Times are kept to the millisecond, rounded either way.
    return pc.field("wall_time") <= pa.scalar(ended + timedelta(milliseconds=1), pa.timestamp("us", tz="UTC"))
