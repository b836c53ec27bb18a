"""What stands behind the values of a validation: its samples and its batches, as a confidence bound needs them.

While a validation runs, a record of stage `BATCHES` after each batch holds running sums: of each epoch metric the sum
weighted by batch size (`val_loss`) and its weight (`val_loss/weight`), and the samples seen (`samples`); of several
loaders with Lightning's suffix (`samples/dataloader_idx_1`). With several processes rank 0 records those of all ranks at the
end of the pass, as of one process that saw all batches, and what a distributed sampler repeats has no weight. They lie beside
the metrics, in a folder of their own, with the same schema and the same promises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fitgate.errors import StoreError
from fitgate.store._arrow import empty_table
from fitgate.store._fit_points import of_fits
from fitgate.store._remote import segment_paths
from fitgate.store._run import Run
from fitgate.store._schema import SCHEMA
from fitgate.store._segment_file import UNREADABLE, rows_of

__all__ = ["BATCHES_FOLDER", "SAMPLES", "WEIGHT", "Validation", "validation_at"]

BATCHES_FOLDER = "validation"
SAMPLES = "samples"
WEIGHT = "/weight"
_ROUNDING = 1e-6
_LOADER = re.compile(r"/dataloader_idx_\d+$")

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Validation:
    """One validation pass, batch by batch.

    Attributes:
        sums: by name, what was recorded after each batch of the pass, in order.
        passes: how many passes there were at that `global_step`; this is the last.
    """

    sums: dict[str, _Floats]
    passes: int = 0

    def samples(self, metric: str) -> int | None:
        """Samples behind a metric: those of its loader, or of all loaders.

        Where its running weight is known they are no more than that: what is logged on some batches alone rests on those.
        """
        suffix = _LOADER.search(metric)
        counts = [f"{SAMPLES}{suffix[0]}"] if suffix else [name for name in self.sums if _counts_samples(name)]
        if not counts or not all(name in self.sums for name in counts):
            return None
        seen = int(sum(self.sums[name][-1] for name in counts))
        weights = self.sums.get(f"{metric}{WEIGHT}")
        return seen if weights is None or not len(weights) else min(seen, int(weights[-1] + _ROUNDING))

    def batches(self, metric: str) -> tuple[list[float], list[float]]:
        """The metric's value of each batch and the batches' weights; empty where it was not seen per batch."""
        sums, weights = self.sums.get(metric), self.sums.get(f"{metric}{WEIGHT}")
        if sums is None or weights is None or len(sums) != len(weights):
            return [], []
        sizes = np.diff(weights, prepend=0.0)
        seen = sizes > 0
        return (np.diff(sums, prepend=0.0)[seen] / sizes[seen]).tolist(), sizes[seen].tolist()


def validation_at(run: Run, global_step: int) -> Validation:
    """The last validation pass of a fit at a `global_step`; one without anything where none was recorded.

    Args:
        run: the run to read.
        global_step: optimizer steps that the validated weights had seen.

    Raises:
        StoreError: a file is damaged; the message names it.
    """
    table = pa.concat_tables([empty_table(SCHEMA), *_tables(run, global_step)])
    attempt = pc.max(table["attempt"]).as_py()
    table = table.filter(pc.field("attempt") == attempt).sort_by([("name", "ascending"), ("step", "ascending")])
    names, steps, values = (table[column].to_numpy() for column in ("name", "step", "value"))
    curves = {str(name): (steps[names == name], values[names == name]) for name in dict.fromkeys(names)}
    starts = {name.removeprefix(SAMPLES): _last_start(*curve) for name, curve in curves.items() if _counts_samples(name)}
    first = min(starts.values(), default=0)
    return Validation(
        {name: sums[at >= starts.get(_suffix(name), first)] for name, (at, sums) in curves.items()},
        passes=max((len(_restarts(sums)) for name, (_, sums) in curves.items() if _counts_samples(name)), default=0),
    )


def _counts_samples(name: str) -> bool:
    return name == SAMPLES or name.startswith(f"{SAMPLES}/")


def _suffix(name: str) -> str:
    found = _LOADER.search(name.removesuffix(WEIGHT))
    return found[0] if found else ""


def _last_start(steps: npt.NDArray[np.int64], samples: _Floats) -> int:
    """The step at which a loader's last pass begins."""
    return int(steps[_restarts(samples)[-1]])


def _restarts(samples: _Floats) -> list[int]:
    """Where each pass of a loader begins: within one, the samples seen only grow."""
    return [0, *(np.flatnonzero(samples[1:] <= samples[:-1]) + 1).tolist()]


def _tables(run: Run, global_step: int) -> Iterator[pa.Table]:
    wanted = (pc.field("global_step") == global_step) & (pc.field("rank") == 0) & of_fits(run.info)
    for path in segment_paths(run.fs, run.path, BATCHES_FOLDER):
        try:
            yield rows_of(run.fs, path, wanted)
        except UNREADABLE as error:
            message = f"{path} can't be read: {error}. It only holds what confidence bounds rest on; move it away to judge without them."
            raise StoreError(message) from error
