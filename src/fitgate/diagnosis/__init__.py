"""What a run's curves show: findings with their numbers, and what to try.

Pure functions over plain arrays; only `diagnose` and `read_evidence` read, a stored run. A rule that has too
little evidence says so and nothing else.
"""

from fitgate.diagnosis._diagnose import diagnose, diagnose_evidence
from fitgate.diagnosis._evidence import Curve, Evidence, Goal
from fitgate.diagnosis._finding import Diagnosis, Finding, Rule, Suggestion
from fitgate.diagnosis._pairs import better_high
from fitgate.diagnosis._read import curves_of, goals_of, goals_of_checks, read_evidence
from fitgate.diagnosis._training import training_warnings
from fitgate.diagnosis.rules import RULES

__all__ = [
    "RULES",
    "Curve",
    "Diagnosis",
    "Evidence",
    "Finding",
    "Goal",
    "Rule",
    "Suggestion",
    "better_high",
    "curves_of",
    "diagnose",
    "diagnose_evidence",
    "goals_of",
    "goals_of_checks",
    "read_evidence",
    "training_warnings",
]
