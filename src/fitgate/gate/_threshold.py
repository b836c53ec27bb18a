"""Thresholds: one condition on one metric, typed or written as `"val_acc >= 0.8"`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from fitgate.errors import ThresholdError
from fitgate.gate._confidence import KINDS, Kind
from fitgate.gate._grammar import OPERATORS, Champion, Operator, parse_bound, percent_text, read_text, written
from fitgate.gate._rounding import settled

__all__ = ["ARTIFACT", "LIGHTNING_SUFFIX", "Threshold", "parse_thresholds"]

ARTIFACT = "artifact."
"""What the names of metrics of exported files begin with."""

# What Lightning appends to a name: the fork of on_step and on_epoch, the number of the dataloader.
LIGHTNING_SUFFIX = re.compile(r"(_step|_epoch)?(/dataloader_idx_\d+)?$")


@dataclass(frozen=True)
class Threshold:
    """One condition on one metric.

    Args:
        metric: the metric's name, exactly as it is recorded. Any non-empty text.
        op: `">="`, `">"`, `"<="` or `"<"`.
        value: a finite number, or what a relative bound is written as (`"champion + 0.005"`).
        confidence: ask that the metric's one-sided confidence bound pass, not only its value; from 0.5 up to but without 1.
        kind: what the metric is, for its bound: `"proportion"` of the validation samples (Wilson's bound) or `"mean"`
            over them (Student's t and a bootstrap over batches). Without it, a metric whose last name part is `acc` or `accuracy` is a proportion.
        warn: report a miss without blocking.

    Raises:
        ThresholdError: (a `ValueError`) one of them is not as described.

    Example:
        >>> threshold = Threshold("val_acc", ">=", 0.80)
        >>> str(threshold)
        'val_acc >= 0.8'
        >>> Threshold.parse("val_loss <= champion * 0.98").value
        Champion(op='*', amount=0.98)
        >>> str(Threshold("val_acc", ">=", 0.80, confidence=0.95))
        'val_acc >= 0.8 (95 % confidence)'
    """

    metric: str
    op: Operator
    value: float | Champion
    confidence: float | None = field(default=None, kw_only=True)
    kind: Kind | None = field(default=None, kw_only=True)
    warn: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric.strip():
            message = f"a threshold's metric must be a non-empty name, got {self.metric!r}"
            raise ThresholdError(message)
        if self.op not in OPERATORS:
            message = f"the threshold on {self.metric!r} has the operator {self.op!r}; expected one of {', '.join(OPERATORS)}"
            raise ThresholdError(message)
        object.__setattr__(self, "value", _bound(self.metric, self.value))
        _check_confidence(self)

    @property
    def bound_kind(self) -> Kind | None:
        """What the metric is, for a confidence bound: as given, else by its name; None when the name doesn't tell."""
        return self.kind or _kind_of(self.metric)

    @property
    def better_high(self) -> bool:
        """Whether a greater value of the metric is a better one."""
        return self.op in (">=", ">")

    @property
    def is_relative(self) -> bool:
        """Whether the bound depends on the champion."""
        return isinstance(self.value, Champion)

    def holds(self, value: float, bound: float) -> bool:
        """Whether `value` meets `bound` under this operator. NaN never does; the float32 nearest to the bound is the bound."""
        value = settled(value, bound)
        match self.op:
            case ">=":
                return value >= bound
            case ">":
                return value > bound
            case "<=":
                return value <= bound
            case "<":
                return value < bound

    @classmethod
    def parse(cls, text: str, *, warn: bool = False) -> Threshold:
        """Read a threshold as people write it, such as `"val_acc >= 0.8"`, or as `str` gives it.

        Raises:
            ThresholdError: the text is no threshold; the message says how to write it.

        Example:
            >>> Threshold.parse("val_loss <= 0.35 (95 % confidence, mean)").kind
            'mean'
        """
        if not isinstance(text, str):
            message = f'a threshold is a text such as "val_acc >= 0.8" or a Threshold, got {type(text).__name__}: {text!r}'
            raise ThresholdError(message)
        found = read_text(text)
        try:
            return cls(**{**found, "warn": warn or found.get("warn", False)})
        except ThresholdError as error:
            message = f"can't read the threshold {text!r}: {error}"
            raise ThresholdError(message) from error

    def __str__(self) -> str:
        confident = [f"{percent_text(self.confidence)} % confidence"] if self.confidence is not None else []
        kind = [self.kind] if confident and self.kind is not None and self.kind != _kind_of(self.metric) else []
        return written(self.metric, self.op, self.value, (*confident, *kind, *(["warn"] if self.warn else [])))


def is_relative(text: str) -> bool:
    """Whether a threshold, as gate.json has its text, has a bound that depends on the champion.

    Example:
        >>> is_relative("val_loss <= champion * 1.5"), is_relative("val_loss <= 0.3 (warn)")
        (True, False)
    """
    try:
        return Threshold.parse(text).is_relative
    except ThresholdError:  # by a later version's grammar
        return False


def parse_thresholds(thresholds: Iterable[str | Threshold]) -> tuple[Threshold, ...]:
    """Read a list of thresholds, texts and typed ones mixed.

    Raises:
        ThresholdError: the list is empty, is one bare text, holds the same condition twice, or one of them can't be read.

    Example:
        >>> [str(t) for t in parse_thresholds(["val_acc >= 0.8", Threshold("val_loss", "<", 0.5)])]
        ['val_acc >= 0.8', 'val_loss < 0.5']
    """
    if isinstance(thresholds, str | Threshold) or not isinstance(thresholds, Iterable):
        message = f'thresholds must be a list, such as ["val_acc >= 0.8"], got {thresholds!r}'
        raise ThresholdError(message)
    parsed = tuple(t if isinstance(t, Threshold) else Threshold.parse(t) for t in thresholds)
    if not parsed:
        message = 'thresholds is empty: with nothing to judge by, every model would pass. Give at least one, such as ["val_acc >= 0.8"].'
        raise ThresholdError(message)
    twice = {str(t) for i, t in enumerate(parsed) if t in parsed[:i]}
    if twice:
        message = f"the same threshold stands twice: {', '.join(sorted(twice))}"
        raise ThresholdError(message)
    return parsed


def _kind_of(metric: str) -> Kind | None:
    last = re.split(r"[^A-Za-z0-9]+|_", LIGHTNING_SUFFIX.sub("", metric))[-1]
    return "proportion" if last.lower() in ("acc", "accuracy") else None


def _check_confidence(threshold: Threshold) -> None:
    metric, confidence, kind = threshold.metric, threshold.confidence, threshold.kind
    if kind is not None and kind not in KINDS:
        message = f"the threshold on {metric!r} has the kind {kind!r}; expected {' or '.join(map(repr, KINDS))}"
        raise ThresholdError(message)
    if confidence is None:
        return
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0.5 <= confidence < 1:  # noqa: PLR2004
        message = (
            f"the threshold on {metric!r} has the confidence {confidence!r}; expected a number from 0.5 up to but without 1, such as 0.95"
        )
        raise ThresholdError(message)
    if threshold.bound_kind is None:
        message = (
            f'the threshold on {metric!r} asks for confidence, and its name does not tell what it is: give kind="proportion" '
            'for a share of the validation samples, or kind="mean" for an average over them'
        )
        raise ThresholdError(message)


def _bound(metric: str, value: object) -> float | Champion:
    if isinstance(value, Champion):
        return value
    if isinstance(value, str):
        bound = parse_bound(value)
        if isinstance(bound, Champion):
            return bound
    elif not isinstance(value, bool):
        try:
            number = float(value)  # type: ignore[arg-type]  # whatever has a float
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    message = f'the threshold on {metric!r} has the value {value!r}; expected a finite number, or "champion", "champion + 0.005", "champion * 0.98"'
    raise ThresholdError(message)
