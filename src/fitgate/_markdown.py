"""Text that Markdown takes literally, and that still reads well where nobody renders it."""

from __future__ import annotations

import re

__all__ = ["markdown"]

_SPECIAL = re.compile(r"[\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_])")
"""An underscore between letters is one, in every dialect; at the end of a word it begins emphasis."""
_START = re.compile(r"^([#+-]+|\d{1,9}[.)])(?=\s|$)")
"""What makes a heading or a list of a line that begins so."""
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#?\w+;)")


def markdown(text: object) -> str:
    r"""Text that Markdown takes literally, also in a table's cell.

    Only what would be taken for markup is escaped: comparisons and metrics' names stay as they are.

    Example:
        >>> print(markdown("a|b *c*"))
        a\|b \*c\*
        >>> print(markdown("val_loss <= 0.1"))
        val_loss <= 0.1
        >>> print(markdown("_loss <b>"))
        \_loss &lt;b>
    """
    line = " ".join(str(text).split())
    line = _SPECIAL.sub(r"\\\g<0>", _ENTITY.sub("&amp;", line))
    line = _START.sub(lambda start: f"{start[0][:-1]}\\{start[0][-1]}", line)
    # As entities: not every Markdown knows angle brackets behind a backslash (TensorBoard's doesn't).
    line = _TAG.sub("&lt;", line)
    return f"&gt;{line[1:]}" if line.startswith(">") else line
