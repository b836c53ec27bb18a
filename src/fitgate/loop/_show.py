"""The rounds of a loop on one screen: a table, and a chart of the metric that decided."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.bar import Bar
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from fitgate._layout import INDENT, indented, least_width
from fitgate._words import plural
from fitgate.gate import Check, margin
from fitgate.loop._rounds import Round, Rounds

__all__ = ["print_rounds", "rounds_part"]

_STYLES = {"deploy": "green", "improve": "yellow", "failed": "red", "interrupted": "red"}
_BAR_WIDTH = 40
_BESIDE_BAR = 32
_HEADINGS = ("round", "run", "verdict", "margin", "changed", "time")
_FOLDS = "changed"
_LEAST_CHANGED = 24


def print_rounds(done: Rounds, console: Console | None = None) -> None:
    """Print the table and the chart; a sign that the terminal can't show becomes a question mark."""
    target = console or Console(highlight=False)
    with target.capture() as drawn:
        target.print(rounds_part(done, width=target.width), crop=False)
    encoding = getattr(target.file, "encoding", None) or "utf-8"
    target.file.write(drawn.get().encode(encoding, "replace").decode(encoding))
    target.file.flush()


def rounds_part(done: Rounds, *, width: int) -> RenderableType:
    """What a loop came to, for a terminal of that many columns."""
    errors = [Text(f"round {each.number} raised {each.error}", "red") for each in done.rounds if each.error and done.ended == "failed"]
    below = indented(Group("", *errors, *_chart(done.rounds, min(_BAR_WIDTH, max(width - _BESIDE_BAR, 1)))))
    return Group("", indented(Text(_headline(done), "bold")), "", _Table(done.rounds), below)


class _Table:
    """A row a round; where the terminal is too narrow for that, a few lines each, so that run ids stay in one piece."""

    def __init__(self, rounds: Sequence[Round]) -> None:
        befores: list[Mapping[str, Any]] = [{}, *(each.hparams for each in rounds)]
        self._rows = [_row(each, before) for each, before in zip(rounds, befores, strict=False)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = indented(self._table())
        yield table if least_width(console, table) <= options.max_width else self._lines()

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        changes = [row[_HEADINGS.index(_FOLDS)].cell_len for row in self._rows]
        least = min(_LEAST_CHANGED, max(changes, default=0))
        for heading in _HEADINGS:
            right, folds = heading in ("margin", "time"), heading == _FOLDS
            table.add_column(heading, justify="right" if right else "left", no_wrap=not folds, min_width=least if folds else None)
        for row in self._rows:
            table.add_row(*row)
        return table

    def _lines(self) -> RenderableType:
        parts: list[RenderableType] = []
        for number, run, verdict, inside, changed, seconds in self._rows:
            parts.append(Text.assemble(" " * INDENT, "round ", number, "  ", run, no_wrap=True, overflow="ignore"))
            facts = Text(", ").join((verdict, Text.assemble("margin ", inside), seconds, *([changed] if changed else [])))
            parts.append(indented(facts, 2 * INDENT))
        return Group(*parts)


def _row(each: Round, before: Mapping[str, Any]) -> tuple[Text, ...]:
    verdict = Text(each.verdict, _STYLES.get(each.verdict, ""))
    changed = _changed(before, each.hparams) if each.number and each.hparams else ""
    # As texts: a name may hold what rich reads as markup.
    return (Text(str(each.number)), Text(each.run_id or "none"), verdict, Text(_margin(each)), Text(changed), Text(f"{each.seconds:.0f} s"))


def _headline(done: Rounds) -> str:
    count = len(done.rounds)
    rounds = f"{count} {plural('round', count)}"
    return {
        "deployed": f"Deployed as version {done.version} after {rounds}.",
        "max_rounds": f"Not deployed: {rounds} ended in improve.",
        "failed": f"Stopped: round {count - 1} raised an error.",
        "interrupted": f"Interrupted in round {count - 1}.",
    }[done.ended]


def _margin(each: Round) -> str:
    value = margin(each.decision) if each.decision is not None else math.nan
    return f"{100 * value:+.2f} %" if math.isfinite(value) else "none"


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {_short(before.get(name))} → {_short(now.get(name))}" for name in names)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def _chart(rounds: tuple[Round, ...], width: int) -> Iterator[RenderableType]:
    """The metric of the threshold that was missed most often, round by round; a bar each, and where it has to reach."""
    chosen = _deciding(rounds)
    if chosen is None:
        return
    drawn = [(each, check) for each in rounds for check in _checks(each) if str(check.threshold) == chosen]
    values = [check.value for _, check in drawn if check.value is not None and math.isfinite(check.value)]
    required = next((check.required for _, check in reversed(drawn) if check.required is not None), None)
    if not values or required is None:
        return
    low, high = min(0.0, *values, required), max(0.0, *values, required)
    size = (high - low) or 1.0
    grid = Table.grid(padding=(0, 2, 0, 0))
    mark = round(width * (required - low) / size)
    grid.add_row("", Text(" " * (mark - 1) + "▼" if mark else "▼", "red"), Text(f"{required:.4g} needed", "red"))
    for each, check in drawn:
        value = check.value
        if value is None or not math.isfinite(value):
            grid.add_row(f"round {each.number}", Text("not recorded" if value is None else str(value), "red"), "")
            continue
        bar = Bar(size, 0, value - low, width=width, color="green" if check.passed else "yellow")
        grid.add_row(f"round {each.number}", bar, f"{value:.4g} {'✓' if check.passed else '✗'}")
    yield Text(chosen, "bold")
    yield grid


def _deciding(rounds: tuple[Round, ...]) -> str | None:
    missed: dict[str, int] = {}
    for each in rounds:
        for check in _checks(each):
            missed[str(check.threshold)] = missed.get(str(check.threshold), 0) + check.blocks
    return max(missed, key=lambda name: missed[name]) if missed else None


def _checks(each: Round) -> tuple[Check, ...]:
    return each.decision.checks if each.decision is not None else ()
