"""Markdown for a terminal, with commands that can be copied."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Markdown, MarkdownElement
from rich.syntax import Syntax

__all__ = ["DressedUp"]

_THEME = "ansi_dark"


class _WholeLines(CodeBlock):
    """Code whose lines are never broken: pasted, the rest of a broken one would run as a command of its own."""

    def __rich_console__(self, _: Console, __: ConsoleOptions) -> RenderResult:
        for line in str(self.text).rstrip().splitlines():
            code = Syntax("", self.lexer_name, theme=_THEME, background_color="default").highlight(line)
            code.rstrip()
            code.no_wrap, code.overflow = True, "ignore"
            yield code


class DressedUp(Markdown):
    """Markdown as rich shows it, but for code: its lines stay in one piece where it is printed with `crop=False`."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "fence": _WholeLines, "code_block": _WholeLines}
