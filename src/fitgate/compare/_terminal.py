"""A comparison in the terminal: as wide as it is, and readable when it is narrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from fitgate.compare._baseline import BaselineCheck
from fitgate.compare._columns import columns_for
from fitgate.compare._model import Comparison, Row
from fitgate.compare._text import differences_text, groups_cells, metric_text, unranked_text

__all__ = ["print_comparison"]

MOST_ROWS = 30
MOST_GROUPS = 10
_ASCII = str.maketrans({**dict(zip("▁▂▃▄▅▆▇█", "_.-~=+*#", strict=True)), "★": "*", "…": "~", "–": "-", "−": "-", "±": "+-", "≠": "!="})

Say = Callable[[str], str]


def print_comparison(comparison: Comparison, console: Console, check: BaselineCheck | None = None, *, most_rows: int = MOST_ROWS) -> None:
    """Print the leaderboard, the seed groups and what is to be known about both.

    Args:
        comparison: what to print.
        console: where to; its width decides which columns are shown, and its encoding which signs.
        check: the outcome against a baseline; said last.
        most_rows: runs to show at most, the best ones.
    """
    say = str if console.encoding.lower().startswith("utf") else _plain
    for part in _parts(comparison, console.width, most_rows, say):
        # In a file, a line of text stays a line; a terminal would wrap it amid a word.
        console.print(part, soft_wrap=not (isinstance(part, Table) or console.is_terminal))
    if check is not None:
        console.print()
        console.print(Text(say(check.reason), style="bold red" if check.worse else "bold green"), soft_wrap=not console.is_terminal)


def _parts(comparison: Comparison, width: int, most_rows: int, say: Say) -> Iterator[RenderableType]:
    title, *whys = metric_text(comparison.metric)
    yield Text(title, style="bold")
    yield from (Text(why, style="dim") for why in whys)
    ranked = [row for row in comparison.rows if row.rank is not None]
    if ranked:
        yield ""
        yield from _leaderboard(comparison, ranked[:most_rows], width, say)
    if len(ranked) > most_rows:
        yield Text(f"{len(ranked) - most_rows} more with a value are not shown; --top {len(ranked)} shows all", style="dim")
    if len(unranked := unranked_text(comparison.rows)):
        yield ""
        yield from (Text(line, style="yellow") for line in unranked)
    if comparison.groups:
        yield ""
        yield Text("Seed groups: the same hyperparameters but the seed", style="bold")
        yield _groups(comparison, say)
        if len(comparison.groups) > MOST_GROUPS:
            yield Text(f"{len(comparison.groups) - MOST_GROUPS} more groups; --json has all", style="dim")
        yield from (Text(say(f"{mark} {line}"), style="" if mark == "≠" else "dim") for mark, line in differences_text(comparison))
    if comparison.notes:
        yield ""
        yield from (Text(note, style="dim") for note in comparison.notes)


def _leaderboard(comparison: Comparison, rows: list[Row], width: int, say: Say) -> Iterator[RenderableType]:
    columns, left_out = columns_for(comparison, rows, width)
    table = _table()
    for column in columns:
        table.add_column(Text(column.title), justify="right" if column.right else "left", no_wrap=True, overflow="ellipsis")
    for index, row in enumerate(rows):
        cells = [Text(say(column.cells[index]), style="cyan" if column.title == "curve" else "") for column in columns]
        table.add_row(*cells, style="bold green" if row.rank == 1 else "")
    yield table
    if left_out:
        yield Text(f"left out in {width} columns: {', '.join(left_out)}; a wider terminal shows more, and --json all", style="dim")


def _groups(comparison: Comparison, say: Say) -> RenderableType:
    head, *rows = groups_cells(comparison, MOST_GROUPS)
    table = _table()
    for index, title in enumerate(head):
        table.add_column(Text(title), justify="left" if index <= 1 else "right", no_wrap=index != 1, overflow="fold")
    for row in rows:
        table.add_row(*(Text(say(cell)) for cell in row))
    return table


def _plain(text: str) -> str:
    """For a terminal that shows ASCII only."""
    return text.translate(_ASCII)


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
