"""One value of one metric: what is taken, and what is refused with a clear word."""

from __future__ import annotations

import operator
import threading
from numbers import Real
from typing import Any, get_args

from fitgate.store._schema import STAGES, Stage

__all__ = ["check_encodable", "check_flag", "check_name", "check_seconds", "check_stage", "check_step", "check_text", "to_float"]

_LARGEST_STEP = 2**63 - 1


def check_name(name: object) -> str:
    """A metric's name: any non-empty text.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or holds half a character, as names of files can.
    """
    if not isinstance(name, str):
        message = f"a metric's name must be a text such as 'accuracy', got {type(name).__name__}: {name!r}"
        raise TypeError(message)
    if not name.strip():
        message = f"a metric's name must not be empty, got {name!r}"
        raise ValueError(message)
    return check_encodable(name)


def check_text(argument: str, text: object) -> str:
    """A text that files can hold.

    Args:
        argument: whose argument it is and its name, for the message.
        text: what came.

    Raises:
        TypeError: it is no text.
        ValueError: it holds half a character, as names of files can.
    """
    if not isinstance(text, str):
        message = f"{argument} must be a text, got {type(text).__name__}: {text!r}"
        raise TypeError(message)
    return _utf8(argument, text)


def check_flag(argument: str, flag: object) -> bool:
    """True or False.

    Raises:
        TypeError: it is neither: a text such as "no" would count as True.
    """
    if not isinstance(flag, bool):
        message = f"{argument} must be True or False, got {type(flag).__name__}: {flag!r}"
        raise TypeError(message)
    return flag


def check_stage(stage: object) -> str:
    """One of Lightning's words for what a value was logged in.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(stage, str) or stage not in STAGES:
        message = f"stage must be {', '.join(map(repr, get_args(Stage)))}, or None for all, got {stage!r}"
        raise ValueError(message)
    return stage


def check_encodable(name: str) -> str:
    """A metric's name that files can hold.

    Raises:
        ValueError: it holds half a character, as names of files can.
    """
    return _utf8("a metric's name", name)


def _utf8(what: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"{what} must be text that can be written as UTF-8, got {text!r}"
        raise ValueError(message) from error
    return text


def check_step(name: str, step: object) -> int:
    """A step: a whole number from 0.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is negative, or beyond 64 bits.
    """
    try:
        number = operator.index(step)  # type: ignore[arg-type]  # refused below
    except TypeError:
        number = None
    if number is None or isinstance(step, bool):
        message = f"metric {name!r}: step must be a whole number, got {type(step).__name__}: {step!r}"
        raise TypeError(message)
    if number < 0:
        message = f"metric {name!r}: step must not be negative, got {number}"
        raise ValueError(message)
    if number > _LARGEST_STEP:
        message = f"metric {name!r}: step must be at most {_LARGEST_STEP}, got {number}"
        raise ValueError(message)
    return number


def check_seconds(argument: str, seconds: object) -> float:
    """A time to wait between two doings: more than 0 and finite.

    Raises:
        TypeError: it is no number.
        ValueError: it is not more than 0, not finite, or longer than a thread can wait.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, Real):
        message = f"{argument} must be a number of seconds such as 1.0, got {type(seconds).__name__}: {seconds!r}"
        raise TypeError(message)
    number = float(seconds)
    if not 0 < number <= threading.TIMEOUT_MAX:
        message = f"{argument} must be more than 0 seconds and finite, got {seconds!r}"
        raise ValueError(message)
    return number


def to_float(name: str, value: Any) -> float:  # noqa: ANN401 - whatever has one number in it
    """The number in a float, an int, a numpy scalar or a one-element array or tensor. NaN and infinities are kept.

    Raises:
        TypeError: the value is missing, a text, or nothing with a number in it.
        ValueError: it holds several numbers, or one beyond what a float can hold.

    Example:
        >>> to_float("loss", 1)
        1.0
    """
    if value is None or isinstance(value, str | bytes):
        message = f"metric {name!r}: the value must be a number, got {type(value).__name__}: {value!r}"
        raise TypeError(message)
    shape = getattr(value, "shape", ())
    count = 1
    for length in shape:
        count *= length
    if count != 1:
        message = f"metric {name!r}: the value must be one number, got {type(value).__name__} of shape {tuple(shape)}"
        raise ValueError(message)
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except OverflowError as error:
        message = f"metric {name!r}: the value is beyond what a float can hold, got {type(value).__name__}"
        raise ValueError(message) from error
    except (TypeError, ValueError) as error:
        message = f"metric {name!r}: the value must be a number, got {type(value).__name__}: {value!r}"
        raise TypeError(message) from error
