"""The TensorBoard mirror, read by TensorBoard's own parser and compared with protobuf's own bytes."""

import math
import tracemalloc
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from fitgate.store._batch import Batch
from fitgate.store._schema import Record
from fitgate.tensorboard import EventWriter
from fitgate.tensorboard._event_bytes import EventShape, framed

_VALUES = st.floats(width=64, allow_nan=True, allow_infinity=True)
_STEPS = st.integers(min_value=-(2**63), max_value=2**63 - 1) | st.integers(min_value=0, max_value=400)


@settings(deadline=None)
@given(
    tags=st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=30, unique=True),
    rows=st.lists(st.tuples(_STEPS, st.integers(min_value=1, max_value=2**50), _VALUES), min_size=1, max_size=12),
)
def test_events_are_the_bytes_that_protobuf_gives(tags: list[str], rows: list[tuple[int, int, float]]) -> None:
    """Any tags, steps (negative ones too) and values, framed as TensorBoard's own record writer frames them."""
    records = [Record("train", step, 0, 0, time, tuple(tags), [value] * len(tags)) for step, time, value in rows]
    (block,) = Batch(records).blocks
    file = BytesIO()
    writer = RecordWriter(file)
    for (step, _, value), time in zip(rows, block.axes[3], strict=True):
        with np.errstate(over="ignore"):
            single = float(np.float32(value))
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=single) for tag in tags])
        writer.write(Event(wall_time=int(time) / 1e6, step=step, summary=summary).SerializeToString())
    assert EventShape(tags).events(block) == file.getvalue()


@pytest.mark.parametrize("step", [0, 1, 127, 128, 16383, 16384, 2**31, 2**62])
def test_steps_at_the_bounds_of_their_encoding(tmp_path: Path, step: int) -> None:
    """TensorBoard reads back the step, whatever number of bytes it takes."""
    writer = EventWriter(tmp_path)
    writer.write([Record("train", s, s, 0, 1_000_000, ("loss",), (0.5,)) for s in (step, step + 1)])
    writer.close()
    (path,) = tmp_path.iterdir()
    events = [Event.FromString(data) for data in RawEventFileLoader(str(path)).Load()]
    assert [event.step for event in events] == [0, step, step + 1]
    assert events[0].file_version == "brain.Event:2"


def test_files_are_read_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    """Within one second, and after one on a machine whose clock is ahead: TensorBoard goes by their names."""
    for attempt, first in enumerate((0, 3, 5)):
        writer = EventWriter(tmp_path, purge_from=first or None)
        writer.write([Record("train", step, step, 0, 1_000_000, ("loss",), (attempt,)) for step in range(first, first + 6)])
        writer.close()
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        # As of another process, whose id comes before the last one's.
        ahead = "9999999990" if attempt == 0 else newest.name.split(".")[3]
        newest.rename(tmp_path / f"events.out.tfevents.{ahead}.host.{9 - attempt}.000000")
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        *((s, 0) for s in range(3)),
        (3, 1),
        (4, 1),
        *((s, 2) for s in range(5, 11)),
    ]


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    """Tags, steps, times and float32 values of mixed stages and metric sets, over several flushes."""
    rng = np.random.default_rng(0)
    writer = EventWriter(tmp_path, tags={("validate", "acc"): "acc/validate"})
    expected: dict[str, list[tuple[int, float]]] = {}
    for step in range(300):
        names = ("loss", "acc") if step % 3 else ("loss", "acc", "lr")
        stage = "validate" if step % 50 == 49 else "train"
        values = rng.normal(size=len(names)).tolist()
        writer.write([Record(stage, step, step, 0, 1_700_000_000_000_000 + 1000 * step, names, values)])
        for name, value in zip(names, values, strict=True):
            tag = "acc/validate" if (stage, name) == ("validate", "acc") else name
            expected.setdefault(tag, []).append((step, float(np.float32(value))))
        if step % 40 == 0:
            writer.flush()
    writer.close()
    read = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    read.Reload()
    assert {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]} == expected
    assert read.Scalars("loss")[7].wall_time == pytest.approx(1_700_000_000.007, abs=1e-6)


def test_a_float_too_large_for_tensorboard_is_infinite_there(tmp_path: Path) -> None:
    """As protobuf has it, and without a warning."""
    writer = EventWriter(tmp_path)
    writer.write([Record("train", 0, 0, 0, 1, ("a", "b"), (1e300, -1e300))])
    writer.close()
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [read.Scalars(tag)[0].value for tag in ("a", "b")] == [math.inf, -math.inf]


def test_framing_is_tensorboards_own(tmp_path: Path) -> None:
    """One message as a record."""
    with (tmp_path / "records").open("wb") as file:
        RecordWriter(file).write(b"some bytes")
    assert framed(b"some bytes") == (tmp_path / "records").read_bytes()


def test_other_names_at_every_step_take_no_more_and_more_memory(tmp_path: Path) -> None:
    """As with a value for each class that a batch has: what is worked out for the names that come together is not kept for ever."""
    writer, names, random = EventWriter(tmp_path), [f"iou/{i:02d}" for i in range(40)], Random(0)  # noqa: S311 - no secret

    def write(steps: range) -> int:
        for step in steps:
            writer.write([Record("train", step, step, 0, 1_700_000_000_000_000, tuple(random.sample(names, 10)), [float(step)] * 10)])
            writer.flush()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = write(range(600))
        assert write(range(600, 1600)) < before + 300_000
    finally:
        tracemalloc.stop()
    writer.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    events.Reload()
    assert sum(len(events.Scalars(name)) for name in names) == 1600 * 10
