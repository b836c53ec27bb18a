"""Event files made again from Parquet, the truth that they mirror."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from fitgate.store import Run
from fitgate.store._schema import Record
from fitgate.tensorboard._events import EventWriter

__all__ = ["rebuild_events"]

_TOGETHER = ("stage", "step", "global_step", "epoch", "wall_time")


def rebuild_events(run: Run) -> str:
    """Replace a run's event files by one made from the points that count.

    What else the old files hold goes over as it stands: hyperparameters, a decision, pictures that somebody wrote beside
    the points. The new file is whole under its name before any old one goes.

    Args:
        run: of a local store.

    Returns:
        What was done, in words.

    Raises:
        StoreError: a Parquet file is damaged.
    """
    folder = Path(run.path)
    if run.state == "running":
        return "left alone, it is running"
    table = run.metrics()
    if not table.num_rows:
        return "left alone, it has no points"
    series = {(row["stage"], row["name"]) for row in table.group_by(["stage", "name"]).aggregate([]).to_pylist()}
    names = {name for _, name in series}
    read = {path: _events(path) for path in sorted(folder.glob("events.out.tfevents.*"))}
    old = [path for path, events in read.items() if events]  # the others are no event files, whatever they are
    apart = {(stage, name): f"{name}/{stage}" for stage in ("train", "validate") for name in names if f"{name}/{stage}" not in names}
    points, rest = _split([event for path in old for event in read[path]], names | set(apart.values()))
    tags = {key: tag for key, tag in apart.items() if tag in points}  # where two stages share the name
    if not old:  # nothing tells which had a tag of its own, and one curve they are not
        tags = {key: tag for key, tag in apart.items() if key[0] == "validate" and {key, ("train", key[1])} <= series}
    _write(folder, table, tags, rest)
    for path in old:
        path.unlink()
    kept = f" and {len(rest)} other events" if rest else ""
    return f"{table.num_rows} points{kept}"


def _events(path: Path) -> list[Event]:
    """Every event that can be read: of a file that was cut off, those before the cut."""
    return list(LegacyEventFileLoader(str(path)).Load())


def _split(events: Iterable[Event], tags: set[str]) -> tuple[set[str], list[Event]]:
    """Which of the tags have points in these events, and the events without those points.

    A file's own head is left out, and so is where a resume told TensorBoard to forget: only points that count are written.
    """
    found: set[str] = set()
    rest = []
    for event in events:
        if event.WhichOneof("what") in {"file_version", "session_log"}:
            continue
        points = [value for value in event.summary.value if value.tag in tags and value.WhichOneof("value") == "simple_value"]
        found.update(value.tag for value in points)
        for value in points:
            event.summary.value.remove(value)
        if not points or event.summary.value:
            rest.append(event)
    return found, rest


def _write(folder: Path, table: pa.Table, tags: Mapping[tuple[str, str], str], rest: Iterable[Event]) -> None:
    # Made elsewhere: TensorBoard, which may be watching, takes every file with "tfevents" in its name.
    with tempfile.TemporaryDirectory() as workshop:
        writer = EventWriter(Path(workshop), tags=tags)
        writer.write(list(_records(table)))
        writer.close()
        (made,) = Path(workshop).iterdir()
        with made.open("ab") as file:
            records = RecordWriter(file)
            for event in rest:
                records.write(event.SerializeToString())
        handle, temporary = tempfile.mkstemp(prefix=".rebuild-", dir=folder)
        os.close(handle)
        try:
            shutil.copyfile(made, temporary)
            os.chmod(temporary, made.stat().st_mode)
            os.replace(temporary, folder / made.name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _records(table: pa.Table) -> Iterator[Record]:
    """Points as they were logged: in the order of time, those of one instant together."""
    rows = table.sort_by([("wall_time", "ascending"), ("stage", "ascending"), ("step", "ascending")]).select([*_TOGETHER, "name", "value"])
    times = rows["wall_time"].cast(pa.int64()).to_pylist()
    columns: list[list[Any]] = [times if name == "wall_time" else rows[name].to_pylist() for name in rows.column_names]
    for (stage, step, global_step, epoch, wall_time), group in groupby(zip(*columns, strict=True), key=lambda row: row[: len(_TOGETHER)]):
        *_, names, values = zip(*group, strict=True)
        yield Record(stage, step, global_step, epoch, wall_time, names, values)
