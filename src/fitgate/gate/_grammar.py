"""The text of a threshold: how `"val_acc >= 0.8"` is read, and how a `Threshold` is written so that it can be read again."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, get_args

from fitgate.errors import ThresholdError
from fitgate.gate._confidence import KINDS

__all__ = ["OPERATORS", "Champion", "Operator", "number_text", "parse_bound", "percent_text", "read_text", "written"]

Operator = Literal[">=", ">", "<=", "<"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

_NAME = r"[A-Za-z_][\w./@:-]*"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_THRESHOLD = re.compile(rf"\s*(?P<metric>{_NAME}|{_QUOTED})\s*(?P<op>[<>]=?(?!=))\s*(?P<value>\S.*?)\s*", re.ASCII)
_CHAMPION = re.compile(rf"champion(?:\s*(?P<op>[+*-])\s*(?P<amount>{_NUMBER}))?", re.ASCII)
_ONE_NUMBER = re.compile(_NUMBER, re.ASCII)
_WRONG_OPERATOR = re.compile(r"=>|=<|==|!=|<>|=|≥|≤")
_RANGE = re.compile(rf"\s*({_NUMBER})\s*(<=?)\s*({_NAME})\s*(<=?)\s*({_NUMBER})\s*", re.ASCII)
_MENDED = {"=>": ">=", "=<": "<=", "≥": ">=", "≤": "<="}
_NOTES = re.compile(r"(?P<plain>.*\S)\s*\((?P<notes>[^()]*)\)\s*", re.ASCII | re.DOTALL)
_CONFIDENCE = re.compile(rf"(?P<percent>{_NUMBER})\s*% confidence", re.ASCII)
_WARN = "warn"
_EXAMPLE = 'Write it as "val_acc >= 0.8".'


@dataclass(frozen=True)
class Champion:
    """A bound relative to the live version's own value: `champion`, `champion + 0.005`, `champion * 0.98`.

    Example:
        >>> str(Champion("*", 0.98))
        'champion * 0.98'
        >>> Champion("+", 0.005).bound(0.90)
        0.905
    """

    op: Literal["+", "*"] = "+"
    amount: float = 0.0

    def bound(self, value: float) -> float:
        """The number to reach, given the champion's `value`."""
        return value + self.amount if self.op == "+" else value * self.amount

    def __str__(self) -> str:
        if self.op == "*":
            return f"champion * {number_text(self.amount)}"
        if self.amount == 0:
            return "champion"
        return f"champion {'+' if self.amount > 0 else '-'} {number_text(abs(self.amount))}"


def read_text(text: str) -> dict[str, Any]:
    """The arguments of the `Threshold` that a text means.

    In brackets may follow what a typed threshold has more, as its own text gives it: the confidence, the kind, `warn`.

    Raises:
        ThresholdError: the text is no threshold; the message says how to write it.

    Example:
        >>> read_text("val_loss <= 0.35 (95 % confidence, mean)")
        {'metric': 'val_loss', 'op': '<=', 'value': 0.35, 'confidence': 0.95, 'kind': 'mean'}
    """
    noted = _NOTES.fullmatch(text)
    plain = noted["plain"] if noted else text
    match = _THRESHOLD.fullmatch(plain)
    bound = parse_bound(match["value"]) if match else None
    metric = _name(match["metric"]) if match else None
    if match is None or bound is None or metric is None:
        message = f"can't read the threshold {text!r}: {_why_unreadable(plain)}"
        raise ThresholdError(message)
    found: dict[str, Any] = {"metric": metric, "op": match["op"], "value": bound}
    for key, value in _notes(text, noted["notes"]) if noted else ():
        if key in found:
            message = f"can't read the threshold {text!r}: {key} is given twice"
            raise ThresholdError(message)
        found[key] = value
    return found


def written(metric: str, op: str, value: float | Champion, notes: tuple[str, ...]) -> str:
    """The text that `read_text` reads again. A name that isn't plain stands in quotes.

    Example:
        >>> written("top 1", ">=", 0.8, ("95 % confidence", "proportion"))
        '"top 1" >= 0.8 (95 % confidence, proportion)'
    """
    name = metric if re.fullmatch(_NAME, metric, re.ASCII) else json.dumps(metric, ensure_ascii=False)
    bound = str(value) if isinstance(value, Champion) else number_text(value)
    return f"{name} {op} {bound}" + (f" ({', '.join(notes)})" if notes else "")


def number_text(value: float) -> str:
    """A number in as few digits as give it back.

    Example:
        >>> number_text(0.8), number_text(3.0), number_text(0.1 + 0.2)
        ('0.8', '3', '0.30000000000000004')
    """
    short = f"{value:.12g}"
    return short if float(short) == value else repr(float(value))


def percent_text(share: float) -> str:
    """A share as per cent, in as few digits as give it back.

    Example:
        >>> percent_text(0.95), percent_text(0.999)
        ('95', '99.9')
    """
    short = f"{100 * share:.12g}"
    return short if _share(short) == share else f"{Decimal(repr(float(share))) * 100:f}"


def _share(percent: str) -> float:
    return float(Decimal(percent) / 100)


def _name(text: str) -> str | None:
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return None


def _notes(text: str, notes: str) -> Iterator[tuple[str, Any]]:
    for note in notes.split(","):
        name = note.strip()
        confident = _CONFIDENCE.fullmatch(name)
        if confident:
            yield "confidence", _share(confident["percent"])
        elif name in KINDS:
            yield "kind", name
        elif name == _WARN:
            yield "warn", True
        else:
            message = (
                f"can't read the threshold {text!r}: {name!r} in brackets is none of "
                f'"95 % confidence", {", ".join(map(repr, KINDS))}, {_WARN!r}. {_EXAMPLE}'
            )
            raise ThresholdError(message)


def parse_bound(text: str) -> float | Champion | None:
    """The right side of a threshold; None where it is none."""
    if _ONE_NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    match = _CHAMPION.fullmatch(text)
    if match is None:
        return None
    if match["op"] is None:
        return Champion()
    amount = float(match["amount"])
    if not math.isfinite(amount):
        return None
    return Champion("*", amount) if match["op"] == "*" else Champion("+", -amount if match["op"] == "-" else amount)


def _with_own(text: str, separator: str) -> str:
    """How to write it, with the user's own name and number where the text is a name, something and a bound."""
    metric, _, bound = (part.strip() for part in text.strip().partition(separator))
    if not re.fullmatch(f"{_NAME}|{_QUOTED}", metric, re.ASCII) or parse_bound(bound) is None:
        return _EXAMPLE
    return f'Write it as "{metric} >= {bound}" where high is good, "{metric} <= {bound}" where low is.'


def _why_unreadable(text: str) -> str:
    between = _RANGE.fullmatch(text)
    if between:
        low, low_op, metric, high_op, high = between.groups()
        return f'one threshold has one operator; write two: "{metric} {low_op.replace("<", ">")} {low}", "{metric} {high_op} {high}".'
    wrong = _WRONG_OPERATOR.search(re.sub(r">=|<=", "", text))
    if wrong:
        mended = _MENDED.get(wrong[0])
        if mended:
            return f'{wrong[0]!r} is not an operator. Write it as "{text.replace(wrong[0], mended).strip()}".'
        return f"{wrong[0]!r} is not an operator; use one of {', '.join(OPERATORS)}. {_with_own(text, wrong[0])}"
    if not re.search(r"[<>]", text):
        return f"it has no operator. {_with_own(text, ' ')}"
    match = _THRESHOLD.fullmatch(text)
    if match:
        return f'{match["value"]!r} is neither a finite number nor "champion", "champion + 0.005" or "champion * 0.98". {_EXAMPLE}'
    return f"expected a metric's name, an operator ({', '.join(OPERATORS)}) and a number. {_EXAMPLE}"
