"""Event files made again from Parquet, the truth that they mirror."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from fitgate.errors import StoreError
from fitgate.store import Run
from fitgate.store._schema import Record
from fitgate.tensorboard import EventWriter

__all__ = ["rebuild_events"]

_TOGETHER = ("stage", "step", "global_step", "epoch", "wall_time")


def rebuild_events(run: Run) -> str:
    """Replace a run's event files by one made from the points that count.

    The new file is whole under its name before any old one goes. An event file that holds anything else than this
    run's metrics, such as pictures that somebody wrote beside them, stays.

    Args:
        run: of a local store.

    Returns:
        What was done, in words.

    Raises:
        StoreError: the store isn't local, or a Parquet file is damaged.
    """
    folder = Path(run.path)
    if not folder.is_dir():
        message = f"event files can be remade in a local store only, not in {run.path}"
        raise StoreError(message)
    if run.state == "running":
        return "left alone, it is running"
    table = run.metrics()
    if not table.num_rows:
        return "left alone, it has no points"
    names = {str(name) for name in table["name"].unique().to_pylist()}
    old = sorted(folder.glob("events.out.tfevents.*"))
    tags_of = {path: _scalar_tags(path) for path in old}
    known = names | {_split_tag(name) for name in names}
    ours = [path for path, tags in tags_of.items() if tags is not None and tags <= known]
    used = set().union(*(tags_of[path] or () for path in ours))
    _write(folder, table, {("validate", name): _split_tag(name) for name in names if _split_tag(name) in used})
    for path in ours:
        path.unlink()
    kept = f"; {len(old) - len(ours)} with other content stay" if len(ours) < len(old) else ""
    return f"{table.num_rows} points{kept}"


def _write(folder: Path, table: pa.Table, tags: dict[tuple[str, str], str]) -> None:
    # Made elsewhere: TensorBoard, which may be watching, takes every file with "tfevents" in its name.
    with tempfile.TemporaryDirectory() as workshop:
        writer = EventWriter(Path(workshop), tags=tags)
        writer.write(list(_records(table)))
        writer.close()
        (made,) = Path(workshop).iterdir()
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


def _scalar_tags(path: Path) -> set[str] | None:
    """The tags in an event file; None where it holds something else than scalars, or can't be read."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader  # noqa: PLC0415 - only here events are read

    tags = set()
    for event in LegacyEventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.WhichOneof("value") != "simple_value":
                return None
            tags.add(value.tag)
    return tags


def _split_tag(name: str) -> str:
    """The tag of a metric's validation values where training has the same name."""
    return f"{name}/validate"
