"""Records as arrays: nothing changes place that must not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitgate.store._batch import Batch, blocks_of
from fitgate.store._schema import Record


def _record(step: int, names: tuple[str, ...], stage: str = "train", value: float | None = None) -> Record:
    return Record(stage, step, step + 1, step // 2, 1_000_000 * step, names, [float(step) if value is None else value] * len(names))


def test_records_of_one_kind_become_one_block() -> None:
    """Also where two kinds alternate, as when each step is followed by a learning rate."""
    blocks = Batch([_record(s, names) for s in range(50) for names in (("loss", "acc"), ("lr",))]).blocks
    assert [(b.names, b.values.shape) for b in blocks] == [(("loss", "acc"), (50, 2)), (("lr",), (50, 1))]
    assert blocks[0].axes[0].tolist() == list(range(50))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([("a",), ("a", "b"), ("b", "c"), ("c",)]), st.integers(0, 99))))
def test_what_was_logged_last_stands(logged: list[tuple[int, tuple[str, ...], int]]) -> None:
    """One metric now alone, now among others: going through the blocks in order gives what going through the records gives."""
    records = [_record(step, names, value=float(value)) for step, names, value in logged]
    expected = {(name, r.step): v for r in records for name, v in zip(r.names, r.values, strict=True)}
    found = {}
    for block in blocks_of(records):
        for column, name in enumerate(block.names):
            found.update({(name, int(step)): float(v) for step, v in zip(block.axes[0], block.values[:, column], strict=True)})
    assert found == expected
    assert Batch(records).points == sum(len(names) for _, names, _ in logged)


def test_times_are_kept_to_the_millisecond_and_never_before_the_fact() -> None:
    """1.0004 s becomes 1.001 s."""
    (block,) = Batch([Record("train", 0, 0, 0, time, ("a",), [0.0]) for time in (1_000_000, 1_000_400, 1_000_999)]).blocks
    assert block.axes[3].tolist() == [1_000_000, 1_001_000, 1_001_000]


def test_any_kind_of_number_is_taken() -> None:
    """Python's, numpy's; NaN and infinities stay what they are."""
    values = [1, 0.5, np.float32(0.25), np.int64(3), float("nan"), float("inf"), True]
    (block,) = Batch([Record("train", i, i, 0, 0, ("a",), [v]) for i, v in enumerate(values)]).blocks
    np.testing.assert_array_equal(block.values[:, 0], [1, 0.5, 0.25, 3, np.nan, np.inf, 1])


def test_names_and_values_must_match() -> None:
    """A record that is off is refused as a whole."""
    with pytest.raises(ValueError, match="2 names and 1 values"):
        _ = Batch([Record("train", 0, 0, 0, 0, ("a", "b"), [1.0])]).blocks


def test_a_slice_of_a_batch_is_a_batch() -> None:
    """For a writer that has no room for all."""
    batch = Batch([_record(s, ("a",)) for s in range(10)])
    assert batch[2:4].blocks[0].axes[0].tolist() == [2, 3]
    assert [r.step for r in batch] == list(range(10))
    assert batch[-1].step == 9
