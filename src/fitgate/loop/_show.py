"""The rounds of a loop on one screen: a table, and a chart of the metric that decided."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fitgate.gate import Check, margin
from fitgate.loop._rounds import Round, Rounds

__all__ = ["print_rounds", "rounds_part"]

_STYLES = {"deploy": "green", "improve": "yellow", "failed": "red", "interrupted": "red"}
_BAR_WIDTH = 40


def print_rounds(done: Rounds, console: Console | None = None) -> None:
    """Print the table and the chart; a sign that the terminal can't show becomes a question mark."""
    target = console or Console(highlight=False)
    with target.capture() as drawn:
        target.print(rounds_part(done))
    encoding = getattr(target.file, "encoding", None) or "utf-8"
    target.file.write(drawn.get().encode(encoding, "replace").decode(encoding))
    target.file.flush()


def rounds_part(done: Rounds) -> RenderableType:
    """What a loop came to, for a terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("round", "run", "verdict", "margin", "changed", "time"):
        table.add_column(heading, justify="right" if heading in ("margin", "time") else "left", overflow="fold")
    before: Mapping[str, Any] = {}
    for each in done.rounds:
        verdict = Text(each.verdict, _STYLES.get(each.verdict, ""))
        changed = _changed(before, each.hparams) if each.number and each.hparams else ""
        cells = (str(each.number), each.run_id or "none", verdict, _margin(each), changed, f"{each.seconds:.0f} s")
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))  # a name may hold what rich reads as markup
        before = each.hparams
    parts: list[RenderableType] = ["", Text(_headline(done), "bold"), "", table, ""]
    parts += [Text(f"round {each.number} raised {each.error}", "red") for each in done.rounds if each.error and done.ended == "failed"]
    return Padding(Group(*parts, *_chart(done.rounds)), (0, 0, 0, 2), expand=False)


def _headline(done: Rounds) -> str:
    count = len(done.rounds)
    rounds = f"{count} round{'' if count == 1 else 's'}"
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


def _chart(rounds: tuple[Round, ...]) -> Iterator[RenderableType]:
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
    mark = round(_BAR_WIDTH * (required - low) / size)
    grid.add_row("", Text(" " * (mark - 1) + "▼" if mark else "▼", "red"), Text(f"{required:.4g} needed", "red"))
    for each, check in drawn:
        value = check.value
        if value is None or not math.isfinite(value):
            grid.add_row(f"round {each.number}", Text("not recorded" if value is None else str(value), "red"), "")
            continue
        bar = Bar(size, 0, value - low, width=_BAR_WIDTH, color="green" if check.passed else "yellow")
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
