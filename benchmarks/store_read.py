"""One metric out of a run of ten million points, beside a plain pyarrow read of one file that holds nothing else.

Run: `python benchmarks/store_read.py [POINTS]`
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
from store_common import measured, metric_names, show, written_run

import fitgate
from fitgate.store._run_file import RunInfo, write_run_info

_FEW_COLUMNS = ["step", "value"]


def main(points: int) -> None:
    """Measure and print."""
    rows = []
    with tempfile.TemporaryDirectory() as root:
        for metrics in (2, 20):
            folder = Path(root) / f"run-{metrics}"
            files = len(list(written_run(folder, points=points, metrics=metrics).iterdir()))
            now = datetime.now(UTC)
            write_run_info(folder, RunInfo(id=folder.name, name="bench", state="completed", created=now, updated=now))
            run = fitgate.Store(root).run(folder.name)
            (name, *_) = metric_names(metrics)
            # The ideal: only this metric, in pyarrow's own defaults, all row groups in one file, nothing checked.
            ideal = Path(root) / f"ideal-{metrics}.parquet"
            table = run.metrics([name])
            pq.write_table(table, ideal)
            assert pq.read_table(ideal).equals(table), "both reads give the same table"
            for columns in (None, _FEW_COLUMNS):
                times = measured(
                    {
                        "ours": partial(run.metrics, [name], columns=columns),
                        "ideal": partial(pq.read_table, ideal, columns=columns),
                    }
                )
                ratio = times["ours"].median / times["ideal"].median
                shown = "all" if columns is None else ", ".join(columns)
                rows.append((f"{metrics} metrics, {files} files", shown, f"{table.num_rows:,}", times["ours"], times["ideal"], ratio))
    show(
        f"One metric out of {points:,} points: median of 15 (quartiles)",
        ("run", "columns", "points read", "Run.metrics", "pyarrow, one file", "ratio"),
        rows,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
