"""gate.json: a decision on record, checked when it is read back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fitgate._files import decode_json
from fitgate.errors import StoreError
from fitgate.gate._decision import Judged, Verdict
from fitgate.gate._grammar import Operator

__all__ = ["read_gate_file"]

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class _Check:
    """What every reader of a check counts on; further keys may be there."""

    threshold: str
    metric: str
    op: Operator
    passed: bool
    reason: str
    required: float | None = None
    value: float | None = None
    margin: float | None = None
    warn: bool = False
    waived: bool = False
    confidence: float | None = None
    bound: float | None = None
    n: int | None = None
    n_needed: int | None = None


@dataclass(frozen=True, kw_only=True)
class _GateFile:
    verdict: Verdict
    run_id: str
    checks: tuple[_Check, ...]
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    metrics: dict[str, float | None] = field(default_factory=dict)
    judged: Judged = field(default_factory=Judged)
    format: int = FORMAT


def read_gate_file(data: bytes, source: str) -> dict[str, Any]:
    """The content of a gate.json, as `decision_as_dict` gives it.

    Args:
        data: the file's bytes.
        source: the file's name, for the message.

    Raises:
        StoreError: it is damaged, or of a later format than this version reads.

    Example:
        >>> read_gate_file(b'{"verdict": "perhaps"}', "gate.json")
        Traceback (most recent call last):
        fitgate.errors.StoreError: gate.json can't be read: Invalid enum value 'perhaps' - at `$.verdict`
    """
    known = decode_json(data, _GateFile, source=source)
    if known.format != FORMAT:
        message = f"{source} is of format {known.format}; this version of fitgate reads format {FORMAT}"
        raise StoreError(message)
    content: dict[str, Any] = json.loads(data)
    return content
