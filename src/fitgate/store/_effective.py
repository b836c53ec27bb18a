"""Which points count: later attempts win, and what a resume went back behind is masked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fitgate.store._arrow import empty_table, number_array, numpy_of, repeated_text
from fitgate.store._run_file import Attempt
from fitgate.store._schema import SCHEMA
from fitgate.store._segment_file import Piece

__all__ = ["effective", "last_steps"]

_MOST_ROWS = 1 << 20  # of one text array: its offsets are 32 bits wide


def last_steps(attempts: Sequence[Attempt]) -> dict[int, int]:
    """By attempt, the last `global_step` whose points count, where a later attempt went on from an earlier one.

    Example:
        >>> from datetime import UTC, datetime
        >>> now = datetime.now(UTC)
        >>> last_steps([Attempt(number=0, started=now), Attempt(number=1, started=now, resumed_step=40)])
        {0: 40}
    """
    found: dict[int, int] = {}
    lowest: int | None = None
    for attempt in sorted(attempts, key=lambda a: a.number, reverse=True):
        if lowest is not None:
            found[attempt.number] = lowest
        if attempt.resumed_step is not None:
            lowest = attempt.resumed_step if lowest is None else min(lowest, attempt.resumed_step)
    return found


def effective(pieces: Iterable[Piece], last: dict[int, int], columns: Sequence[str]) -> pa.Table:
    """One table of the points that count, sorted by name, stage and step.

    Args:
        pieces: in the order in which their points were written; each with `step`, and `global_step` where `last` has anything.
        last: the last global step that counts, by attempt.
        columns: which columns of the schema, in this order.
    """
    series: dict[tuple[str, str], list[Piece]] = defaultdict(list)
    for piece in pieces:
        series[piece.key["name"], piece.key["stage"]].append(piece)
    texts = _Repeated()
    tables = [_one_series(series[key], last, columns, texts) for key in sorted(series)]
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    return pa.concat_tables([empty_table(schema), *tables])


def _one_series(pieces: list[Piece], last: dict[int, int], columns: Sequence[str], texts: _Repeated) -> pa.Table:
    read, attempts = [], []
    for piece in sorted(pieces, key=lambda p: int(p.key["attempt"])):
        numbers, attempt = piece.numbers, int(piece.key["attempt"])
        if attempt in last and pc.max(numbers["global_step"]).as_py() > last[attempt]:
            numbers = numbers.filter(pc.field("global_step") <= last[attempt])
        if numbers.num_rows:
            read.append((piece.key, numbers))
            attempts.append(np.full(numbers.num_rows, attempt))
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    if not read:
        return empty_table(schema)
    table = pa.concat_tables([_with_constants(key, numbers, columns, texts) for key, numbers in read])
    steps = np.concatenate([numpy_of(numbers["step"]) for _, numbers in read])
    if np.all(steps[1:] > steps[:-1]):
        return table
    order = np.lexsort((np.concatenate(attempts), steps))  # stable: of equal keys, what was written last comes last
    is_last = np.append(steps[order][1:] != steps[order][:-1], True)
    return table.take(number_array(order[is_last], pa.int64()))


def _with_constants(key: dict[str, Any], numbers: pa.Table, columns: Sequence[str], texts: _Repeated) -> pa.Table:
    rows = numbers.num_rows
    arrays: list[Any] = []
    for name in columns:
        kind = SCHEMA.field(name).type
        if name not in key:
            arrays.append(numbers[name])
        elif pa.types.is_string(kind):
            arrays.append(texts.array(key[name], rows))
        else:
            arrays.append(number_array(np.full(rows, key[name]), kind))
    return pa.Table.from_arrays(arrays, schema=pa.schema([SCHEMA.field(name) for name in columns]))


class _Repeated:
    """Arrays that hold one text many times, made once and shared: a run's id stands in every row."""

    def __init__(self) -> None:
        self._arrays: dict[str, pa.StringArray] = {}

    def array(self, text: str, rows: int) -> Any:  # noqa: ANN401 - an array, or a chunked one where one can't be so long
        if rows > _MOST_ROWS:
            whole, rest = divmod(rows, _MOST_ROWS)
            full = self.array(text, _MOST_ROWS)
            return pa.chunked_array([*[full] * whole, self.array(text, rest)])
        if text not in self._arrays or len(self._arrays[text]) < rows:
            self._arrays[text] = repeated_text(text, rows)
        return self._arrays[text].slice(0, rows)
