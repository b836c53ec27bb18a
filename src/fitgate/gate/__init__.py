"""The verdict: thresholds, and what follows from them and a run's numbers.

Pure functions over frozen dataclasses; nothing here reads a file or knows Lightning.
"""

from fitgate.gate._decision import Check, Decision, Judged, Verdict
from fitgate.gate._evaluate import evaluate, nearest_names
from fitgate.gate._threshold import Champion, Threshold, parse_thresholds

__all__ = ["Champion", "Check", "Decision", "Judged", "Threshold", "Verdict", "evaluate", "nearest_names", "parse_thresholds"]
