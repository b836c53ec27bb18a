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

__all__ = ["Resumes", "effective"]

_MOST_ROWS = 1 << 20  # of one text array: its offsets are 32 bits wide


class Resumes:
    """Where later attempts went on from earlier ones, which tells what of those counts.

    An attempt that run.json doesn't list is masked as any other: its points may be there though run.json was lost and made anew.

    Attributes:
        steps: the number of each attempt that went on, and the `global_step` from which.

    Example:
        >>> from datetime import UTC, datetime
        >>> now = datetime.now(UTC)
        >>> resumes = Resumes([Attempt(number=0, started=now), Attempt(number=1, started=now, resumed_step=40)])
        >>> resumes.last_step(0), resumes.last_step(1)
        (40, None)
    """

    def __init__(self, attempts: Iterable[Attempt]) -> None:
        self.steps = [(attempt.number, attempt.resumed_step) for attempt in attempts if attempt.resumed_step is not None]

    def __bool__(self) -> bool:
        return bool(self.steps)

    def last_step(self, attempt: int) -> int | None:
        """The last `global_step` of an attempt whose points count; None where all do."""
        return min((step for number, step in self.steps if number > attempt), default=None)


def effective(pieces: Iterable[Piece], resumes: Resumes, columns: Sequence[str]) -> pa.Table:
    """One table of the points that count, sorted by name, stage and step.

    Args:
        pieces: in the order in which their points were written; each with `step`, and `global_step` where there are any `resumes`.
        resumes: what counts of each attempt.
        columns: which columns of the schema, in this order.
    """
    series: dict[tuple[str, str], list[Piece]] = defaultdict(list)
    for piece in pieces:
        series[piece.key["name"], piece.key["stage"]].append(piece)
    texts = _Repeated()
    tables = [_one_series(series[key], resumes, columns, texts) for key in sorted(series)]
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    return pa.concat_tables([empty_table(schema), *tables])


def _one_series(pieces: list[Piece], resumes: Resumes, columns: Sequence[str], texts: _Repeated) -> pa.Table:
    read, attempts = [], []
    for piece in sorted(pieces, key=lambda p: int(p.key["attempt"])):
        numbers, attempt = piece.numbers, int(piece.key["attempt"])
        last = resumes.last_step(attempt)
        if last is not None and pc.max(numbers["global_step"]).as_py() > last:
            numbers = numbers.filter(pc.field("global_step") <= last)
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
