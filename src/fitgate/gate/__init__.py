"""The verdict: thresholds, and what follows from them and a run's numbers.

Pure functions over frozen dataclasses; only `judge` reads, a stored run. Nothing here knows Lightning.
"""

from fitgate.gate._check import nearest_names
from fitgate.gate._confidence import Samples
from fitgate.gate._decision import CHAMPION_UNREADABLE, DIFFERS, NOT_COMPARED, Check, Decision, Judged, LiveVersion, Verdict, beside_checks
from fitgate.gate._eligibility import check_allow, ineligible
from fitgate.gate._evaluate import evaluate, nothing_stands
from fitgate.gate._gate_file import OnRecord, on_record, read_gate_file
from fitgate.gate._grammar import Champion
from fitgate.gate._judge import decision_as_dict, judge, metrics_at
from fitgate.gate._margin import margin
from fitgate.gate._rounding import settled
from fitgate.gate._threshold import ARTIFACT, LIGHTNING_SUFFIX, Threshold, is_relative, parse_thresholds

__all__ = [
    "ARTIFACT",
    "CHAMPION_UNREADABLE",
    "DIFFERS",
    "LIGHTNING_SUFFIX",
    "NOT_COMPARED",
    "Champion",
    "Check",
    "Decision",
    "Judged",
    "LiveVersion",
    "OnRecord",
    "Samples",
    "Threshold",
    "Verdict",
    "beside_checks",
    "check_allow",
    "decision_as_dict",
    "evaluate",
    "ineligible",
    "is_relative",
    "judge",
    "margin",
    "metrics_at",
    "nearest_names",
    "nothing_stands",
    "on_record",
    "parse_thresholds",
    "read_gate_file",
    "settled",
]
