"""gate.json: a decision on record, checked when it is read back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fitgate._files import JSON_OBJECT, decode_json
from fitgate.errors import StoreError, ThresholdError
from fitgate.gate._decision import CHAMPION_UNREADABLE, DIFFERS, NOT_COMPARED, Check, Decision
from fitgate.gate._gate_schema import CheckOnFile, GateFile, decode_gate_file
from fitgate.gate._threshold import ARTIFACT, Threshold, parse_thresholds

__all__ = ["OnRecord", "on_record", "read_gate_file"]


@dataclass(frozen=True, kw_only=True)
class OnRecord:
    """How a run was judged.

    Attributes:
        decision: what it came to; a value that was no number is NaN.
        lacks_champion: it was held against a champion's values that this file doesn't keep, as an earlier version of fitgate wrote it.
        artifact: what was measured of the export; empty where nothing was exported.
        differs, champion_unreadable: reasons that no file of the run can tell again: what was not proven of the export, and why there
            was nothing to hold it against.
        not_compared: warnings that no file of the run can tell again: why only the export's weights were proven.
    """

    decision: Decision
    lacks_champion: bool
    artifact: dict[str, float]
    differs: tuple[str, ...]
    champion_unreadable: tuple[str, ...]
    not_compared: tuple[str, ...]

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """As they were given."""
        return tuple(check.threshold for check in self.decision.checks)


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
    decode_gate_file(data, source)
    return decode_json(data, JSON_OBJECT, source=source)


def on_record(data: bytes, source: str) -> OnRecord:
    """What a gate.json says of how its run was judged, to judge it so again.

    Raises:
        StoreError: it is damaged, of a later format, or holds a threshold that this version can't read.
    """
    known = decode_gate_file(data, source)
    try:
        decision = _decision(known)
        parse_thresholds(check.threshold for check in decision.checks)
    except ThresholdError as error:
        message = f"{source} can't be judged by: {error}"
        raise StoreError(message) from error
    compared = any(check.threshold.is_relative and check.required is not None for check in decision.checks)
    return OnRecord(
        decision=decision,
        lacks_champion=decision.champion is None and compared,
        artifact={name: value for name, value in known.metrics.items() if name.startswith(ARTIFACT) and value is not None},
        differs=tuple(reason for reason in known.reasons if reason.startswith(DIFFERS)),
        champion_unreadable=tuple(reason for reason in known.reasons if reason.startswith(CHAMPION_UNREADABLE)),
        not_compared=tuple(warning for warning in known.warnings if warning.startswith(NOT_COMPARED)),
    )


def _decision(known: GateFile) -> Decision:
    return Decision(
        verdict=known.verdict,
        checks=tuple(_check(check) for check in known.checks),
        reasons=known.reasons,
        metrics={name: math.nan if value is None else value for name, value in known.metrics.items()},
        judged=known.judged,
        allowed=known.allowed,
        champion=_numbers(known.champion),
        live=known.live,
        warnings=known.warnings,
    )


def _check(check: CheckOnFile) -> Check:
    return Check(
        threshold=_threshold(check),
        value=check.value,
        required=check.required,
        passed=check.passed,
        margin=check.margin,
        reason=check.reason,
        waived=check.waived,
        bound=check.bound,
        n=check.n,
        n_needed=check.n_needed,
    )


def _numbers(values: dict[str, float | None] | None) -> dict[str, float] | None:
    return None if values is None else {name: value for name, value in values.items() if value is not None}


def _threshold(check: CheckOnFile) -> Threshold:
    """The threshold of a check: its bound as it is written, all else as it is kept beside."""
    try:
        value = Threshold.parse(check.threshold).value
    except ThresholdError:
        if check.required is None:
            raise
        value = check.required
    by_name = Threshold(check.metric, check.op, value).bound_kind  # as it was given: a kind that the name tells was none
    kind = None if check.kind == by_name else check.kind
    return Threshold(check.metric, check.op, value, confidence=check.confidence, kind=kind, warn=check.warn)
