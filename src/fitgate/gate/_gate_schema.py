"""What a gate.json must hold to be read: shapes and numbers, and checks that do not contradict themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from fitgate._files import decode_json, encodable
from fitgate.errors import StoreError, ThresholdError
from fitgate.gate._confidence import Kind
from fitgate.gate._decision import Judged, LiveVersion, Verdict
from fitgate.gate._grammar import Champion, Operator
from fitgate.gate._threshold import Threshold

__all__ = ["CheckOnFile", "GateFile", "decode_gate_file"]

FORMAT = 1
_Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, kw_only=True)
class CheckOnFile:
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
    kind: Kind | None = None
    bound: float | None = None
    n: _Count | None = None
    n_needed: _Count | None = None


@dataclass(frozen=True, kw_only=True)
class GateFile:
    """What every reader of the file counts on."""

    verdict: Verdict
    run_id: str
    checks: tuple[CheckOnFile, ...]
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    champion: dict[str, float | None] | None = None
    live: LiveVersion | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    judged: Judged = field(default_factory=Judged)
    format: int = FORMAT


_DECODER = msgspec.json.Decoder(GateFile)


def decode_gate_file(data: bytes, source: str) -> GateFile:
    """Read and check the bytes of a gate.json.

    A text that this version can't read as a threshold is let through: a later version may have written it by a grammar of its own,
    and it can be shown.

    Raises:
        StoreError: it is damaged, makes no sense, or is of another format.
    """
    known = decode_json(data, _DECODER, source=source)
    if known.format != FORMAT:
        message = f"{source} is of format {known.format}; this version of fitgate reads format {FORMAT}"
        raise StoreError(message)
    for check in known.checks:
        if complaint := _complaint(check):
            message = f"{source} can't be trusted: {complaint}"
            raise StoreError(message)
    return known


def _complaint(check: CheckOnFile) -> str | None:
    """In words, what makes no sense in a check; None where all does."""
    try:
        Threshold(check.metric, check.op, 0.0, confidence=check.confidence, kind=check.kind)
    except ThresholdError as error:
        return str(error)
    try:
        said = Threshold.parse(check.threshold)
    except ThresholdError:
        return None
    # A name that is no UTF-8 stands as its escape in the file, while its text gives it back.
    if encodable(said.metric) != check.metric or said.op != check.op:
        return f"the threshold {check.threshold!r} stands beside the metric {check.metric!r} and the operator {check.op!r}"
    if check.required is not None and not isinstance(said.value, Champion) and said.value != check.required:
        return f"the threshold {check.threshold!r} stands beside the bound {check.required!r}"
    return None
