"""Bytes a point on the disk for a million points, beside a CSV file and TensorBoard's own writer.

Run: `python benchmarks/store_size.py [POINTS]`
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from store_common import metric_names, show, training, written_run
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]  # ships no types
from torch.utils.tensorboard import SummaryWriter

from fitgate.store._schema import Record
from fitgate.tensorboard import EventWriter


def main(points: int) -> None:
    """Measure and print."""
    rows = []
    for metrics in (2, 20):
        with tempfile.TemporaryDirectory() as root:
            sizes = {
                "Parquet segments": _size(written_run(Path(root) / "run", points=points, metrics=metrics)),
                "TensorBoard, as fitgate mirrors it": _mirrored(Path(root) / "mirror", points, metrics),
                "CSV, as CSVLogger writes it": _csv(Path(root) / "csv", points, metrics),
                "TensorBoard's SummaryWriter": _summaries(Path(root) / "events", points, metrics),
            }
        rows += [(f"{metrics} metrics a step", what, f"{size / 1e6:.1f} MB", size / points) for what, size in sizes.items()]
    show(f"{points:,} points", ("run", "files", "size", "bytes a point"), rows)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _records(points: int, metrics: int) -> Iterable[Record]:
    return (record for batch in training(points // metrics, metrics) for record in batch)


def _csv(folder: Path, points: int, metrics: int) -> int:
    """A row a step with a column a metric, epoch and step first, as Lightning's logger has them."""
    folder.mkdir()
    with (folder / "metrics.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["epoch", "step", *metric_names(metrics)])
        rows.writerows([record.epoch, record.step, *record.values] for record in _records(points, metrics))
    return _size(folder)


def _summaries(folder: Path, points: int, metrics: int) -> int:
    """An event a point, as Lightning's TensorBoardLogger writes them."""
    with SummaryWriter(str(folder)) as writer:
        files = writer._get_file_writer()  # noqa: SLF001 - `add_scalar` does the same at ten times the time
        for record in _records(points, metrics):
            for name, value in zip(record.names, record.values, strict=True):
                summary = Summary(value=[Summary.Value(tag=name, simple_value=float(value))])  # type: ignore[arg-type]  # floats here
                files.add_summary(summary, record.step)
    return _size(folder)


def _mirrored(folder: Path, points: int, metrics: int) -> int:
    writer = EventWriter(folder)
    for batch in training(points // metrics, metrics):
        writer.write(batch)
    writer.close()
    return _size(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
