"""The end of a fit on one screen: verdict, checks, and where everything lies.

Built from the content of gate.json, so that the callback, the demo and `fitgate show` say the same.

Example:
    >>> from rich.console import Console
    >>> check = {"threshold": "val_acc >= 0.8", "value": 0.9, "passed": True, "reason": "val_acc >= 0.8: got 0.9, passes by 0.1"}
    >>> Console(width=60).print(checks_table([check], encoding="ascii"))
      +   val_acc >= 0.8   0.9   passes by 0.1
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from fitgate._command_line import command_line, shown_path
from fitgate._digits import apart
from fitgate._layout import INDENT, indented
from fitgate._words import plural
from fitgate.gate import beside_checks, is_relative

__all__ = [
    "alone_text",
    "checks_table",
    "command_line",
    "decision_part",
    "judged_text",
    "labelled",
    "print_summary",
    "shown_path",
    "summary",
]

END_OF_FIT = "end of fit"
_CUT_SHORT = ("interrupted:", "failed:")
_LABEL_WIDTH = 13
_NARROW = 56
# Reversed: the letters have the colour of the terminal's ground, which a theme made for contrast.
_BADGES = {"deploy": "bold green reverse", "improve": "bold yellow reverse"}
_STYLES = {"passed": "green", "missed": "red", "warned": "yellow", "waived": "dim"}
_MARKS = {"passed": "✓", "missed": "✗", "warned": "!", "waived": "·"}
_ASCII_MARKS = {"passed": "+", "missed": "x", "warned": "!", "waived": "-"}


def print_summary(
    gate: Mapping[str, Any],
    *,
    run_dir: str | os.PathLike[str],
    exported: str | os.PathLike[str] | None = None,
    live: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    console: Console | None = None,
) -> None:
    """Print the summary of a fit. Arguments as for `summary`; `console` is where it goes, by default standard output."""
    console = console or Console(highlight=False)
    # Not cropped: a path or a command that is longer than the line stays whole, and the terminal wraps it.
    console.print(summary(gate, run_dir=run_dir, exported=exported, live=live, report=report, encoding=console.encoding), crop=False)


def summary(
    gate: Mapping[str, Any],
    *,
    run_dir: str | os.PathLike[str],
    exported: str | os.PathLike[str] | None = None,
    live: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    encoding: str = "utf-8",
) -> RenderableType:
    """What a fit came to, for a terminal.

    Args:
        gate: the content of gate.json, as `fitgate.gate.decision_as_dict` gives it.
        run_dir: the run's folder.
        exported: the folder of the version that was published, such as `deploy/digits/1`.
        live: that of the version that holds these weights, where it was published before.
        report: the improve report's page.
        encoding: of the terminal; marks are ASCII where it isn't UTF-8.
    """
    run_path = Path(run_dir)
    lines = [decision_part(gate, run_path.name, encoding=encoding)]
    for label, folder in (("exported", exported), ("live", live)):
        if folder is not None:
            lines.append(labelled(label, f"{shown_path(folder)}  ({_files_text(Path(folder))})"))
    if report is not None:
        lines.append(labelled("report", shown_path(report)))
    lines.append(labelled("record", shown_path(run_path)))
    lines.append(labelled("TensorBoard", command_line("tensorboard", "--logdir", shown_path(run_path.parent))))
    return Group(*lines)


def decision_part(gate: Mapping[str, Any], run_id: str, *, encoding: str = "utf-8") -> RenderableType:
    """The verdict, why the numbers could not be trusted if so, each check, and which weights were judged.

    Args:
        gate: the content of gate.json.
        run_id: the run that was judged.
        encoding: of the terminal.
    """
    content: dict[str, Any] = msgspec.to_builtins(gate)
    verdict = content["verdict"]
    badge = Text(f" {verdict.upper()} ", _BADGES.get(verdict, "bold"))
    lines: list[RenderableType] = ["", Text.assemble(" " * INDENT, badge, "  ", (run_id, "bold"), no_wrap=True, overflow="ignore"), ""]
    checks = content.get("checks", ())
    blocking = beside_checks(content.get("reasons", ()), (check["reason"] for check in checks))
    marks = _marks(encoding)
    lines += [indented(Text(f"{marks['missed']} {reason}", _STYLES["missed"])) for reason in blocking]
    if blocking and any(check["passed"] for check in checks):
        lines.append(indented(Text(alone_text(len(blocking)), "dim")))
    lines += [""] * bool(blocking)
    warnings = content.get("warnings", ())
    lines += [indented(Text(f"{marks['warned']} {warning}", _STYLES["warned"])) for warning in warnings] + [""] * bool(warnings)
    if not _was_cut_short(blocking) or any(check.get("value") is not None for check in checks):
        lines += [checks_table(checks, encoding=encoding), ""]
    weights = content.get("judged") or {}
    judged = judged_text(weights.get("source", END_OF_FIT), weights.get("global_step"), weights.get("epoch"))
    if judged:
        lines.append(labelled("judged", judged))
    return Group(*lines)


def _was_cut_short(reasons: Iterable[str]) -> bool:
    """Whether the fit did not come to its end: that nobody validated the weights which it left says nothing more."""
    return any(reason.startswith(_CUT_SHORT) for reason in reasons)


def checks_table(checks: Iterable[Mapping[str, Any]], *, encoding: str = "utf-8") -> RenderableType:
    """One line a check: whether it passed, the condition, the value, the margin.

    Args:
        checks: as gate.json has them.
        encoding: of the terminal.
    """
    return _Checks([_said(check) for check in checks], _marks(encoding))


@dataclass(frozen=True)
class _Said:
    """One check in words."""

    outcome: str
    threshold: str
    value: str
    text: str


class _Checks:
    """A row a check; where the terminal is too narrow for that, a few lines each."""

    def __init__(self, checks: Sequence[_Said], marks: Mapping[str, str]) -> None:
        self._checks, self._marks = checks, marks

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        yield indented(self._lines() if options.max_width < _NARROW else self._table())

    def _table(self) -> RenderableType:
        table = Table.grid(padding=(0, 3, 0, 0))
        table.add_column()
        table.add_column(overflow="fold")
        table.add_column(justify="right", no_wrap=True)
        table.add_column(overflow="fold")
        for said in self._checks:
            style = _STYLES[said.outcome]
            cells = (self._marks[said.outcome], style), (said.threshold, ""), (said.value, "bold"), (said.text, style)
            table.add_row(*(Text(text, how) for text, how in cells))
        return table

    def _lines(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column()
        grid.add_column(overflow="fold")
        for said in self._checks:
            style = _STYLES[said.outcome]
            value = f"{said.value}: " if said.value else ""
            grid.add_row(Text(self._marks[said.outcome], style), Text.assemble(said.threshold, "\n", (value, "bold"), (said.text, style)))
        return grid


def _said(check: Mapping[str, Any]) -> _Said:
    value = check.get("value")
    text = str(check["reason"]).removeprefix(f"{check['threshold']}: ")
    if value is not None:
        text = text.removeprefix(f"got {value:.6g}, ").removeprefix(f"got {value:.9g}, ")
    needed = check.get("required")
    if value is not None and needed is not None and is_relative(str(check["threshold"])):
        text = f"needed {apart(needed, value)}: {text}"
    return _Said(_outcome(check), str(check["threshold"]), "" if value is None else f"{value:.6g}", text)


def labelled(label: str, value: str) -> RenderableType:
    """A line of a label and a value that stays in one piece, to be copied (printed with `crop=False`)."""
    line = Text.assemble(" " * INDENT, (label.ljust(_LABEL_WIDTH), "dim"), value, no_wrap=True, overflow="ignore")
    # In a group: a text that is printed by itself loses `no_wrap`, since rich joins it with what stands beside it.
    return Group(line)


def alone_text(reasons: int) -> str:
    """What reasons that no check gives mean for the checks that pass; empty where there are none.

    Example:
        >>> alone_text(1)
        "This alone is an improve: checks that pass don't change it."
        >>> alone_text(2)
        "Each of these alone is an improve: checks that pass don't change it."
    """
    if not reasons:
        return ""
    return f"{'This' if reasons == 1 else 'Each of these'} alone is an improve: checks that pass don't change it."


def judged_text(source: str, global_step: int | None, epoch: int | None) -> str:
    """Which weights were judged: of a checkpoint the epoch in which it was saved, of the end of fit how many epochs came before.

    Args:
        source: as gate.json has it, such as `"best by val_acc"` or `"end of fit"`.
        global_step: optimizer steps that those weights had seen; None when there are none.
        epoch: as gate.json has it; epochs count from 0.

    Example:
        >>> judged_text("best by val_acc", 30, 2), judged_text("end of fit", 104, 3)
        ('best by val_acc: epoch 2, step 30', 'end of fit: step 104, after 3 epochs')
        >>> judged_text("end of fit", None, None), judged_text("the last value of each metric, logged by hand", None, None)
        ('', 'the last value of each metric, logged by hand')
    """
    if global_step is None:
        return "" if source == END_OF_FIT else source
    if source == END_OF_FIT:
        after = f", after {epoch} {plural('epoch', epoch)}" if epoch else ""
        return f"{source}: step {global_step}{after}"
    return f"{source}: {'' if epoch is None else f'epoch {epoch}, '}step {global_step}"


def _marks(encoding: str) -> Mapping[str, str]:
    return _MARKS if encoding.lower().startswith("utf") else _ASCII_MARKS


def _outcome(check: Mapping[str, Any]) -> str:
    if check.get("waived"):
        return "waived"
    if check["passed"]:
        return "passed"
    return "warned" if check.get("warn") else "missed"


def _files_text(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("model.*"))
    return ", ".join(names) if names else "version " + folder.name
