"""What a report holds, before it is written in any form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fitgate.diagnosis import Diagnosis
from fitgate.gate import Judged, Verdict, beside_checks
from fitgate.report._text import change_text
from fitgate.summary import alone_text, judged_text

__all__ = ["Change", "Changes", "Chart", "CheckRow", "Line", "Mark", "Report", "Reproduce", "RunFacts"]


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """A check of the gate, with the best value that the run ever saw.

    Attributes:
        non_finite: "nan", "inf" or "-inf" where that was recorded, for which `value` is None as in gate.json; "not finite" where it
            can't be told which.
        best: the best finite value of the metric's curve; None where there is none.
        best_step: the `global_step` of it.
        best_passes: whether that value would have passed; None where it can't be told.
        The others are those of gate.json.
    """

    threshold: str
    metric: str
    op: str
    required: float | None
    value: float | None
    passed: bool
    margin: float | None
    reason: str
    warn: bool = False
    waived: bool = False
    non_finite: str | None = None
    best: float | None = None
    best_step: int | None = None
    best_passes: bool | None = None
    confidence: float | None = None
    bound: float | None = None
    n: int | None = None
    n_needed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve, thinned to what a chart can show.

    Attributes:
        role: `"validation"` or `"train"`.
        stage, name: the metric.
        steps: `global_step`. Shape (n,).
        values: means, where several points stand for one. Shape (n,).
        low, high: between which four fifths of the points lie; empty where each point stands for itself.
        points: how many were recorded.
    """

    role: Literal["validation", "train"]
    stage: str
    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    points: int = 0


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A finding's place in a chart: its number in the list, and its steps."""

    number: int
    first: int
    last: int
    severity: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One picture: a quantity on validation data and in training.

    Attributes:
        title: the metric's name.
        better_high: whether greater is better.
        lines: training first, validation over it.
        required: the thresholds' numbers, with the text of each.
        judged_step: the `global_step` of the judged weights.
        judged_value: what was judged there.
        best_step, best_value: of the validation line.
        non_finite_step: the first step with a NaN or an infinity.
        marks: findings about this quantity.
    """

    title: str
    better_high: bool
    lines: tuple[Line, ...]
    required: tuple[tuple[float, str], ...] = ()
    judged_step: int | None = None
    judged_value: float | None = None
    best_step: int | None = None
    best_value: float | None = None
    non_finite_step: int | None = None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Which run it is.

    Attributes:
        id, name, state: as the store has them.
        created: ISO 8601, UTC.
        steps, epochs: how far it got; None where no fit came to its end.
        attempts: how often it was started.
        failed: the error that ended the fit; None where there was none.
    """

    id: str
    name: str
    state: str
    created: str
    steps: int | None = None
    epochs: int | None = None
    attempts: int = 1
    failed: str | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing side by side: in this run, in the one before, in the champion; None where it isn't there.

    Attributes:
        name: of the metric or the hyperparameter.
        this, previous, champion: the values; of a metric NaN and infinities too, which JSON has as null.
        better_high: of a metric, whether greater is better; None of a hyperparameter.
    """

    name: str
    this: Any
    previous: Any = None
    champion: Any = None
    better_high: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs from the last run and from the champion.

    Attributes:
        previous: the id of the last run; None when this is the first.
        champion: the live version, in words; None when there is none.
        hparams: those that differ.
        same_hparams: how many are the same everywhere.
        metrics: the judged values of this run, those of thresholds first; of a run that validates, validation's only.
    """

    previous: str | None = None
    champion: str | None = None
    hparams: tuple[Change, ...] = ()
    same_hparams: int = 0
    metrics: tuple[Change, ...] = ()

    @property
    def has_moved(self) -> bool:
        """Whether some metric is shown with what this run gained or lost."""
        return any(change_text(row.this, other) for row in self.metrics for other in (row.previous, row.champion))


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """How to come to the same numbers, and to look closer.

    Attributes:
        commands: command lines, each with what it does.
        cwd: the folder in which the run was started; None where it isn't known.
        checkpoint: the judged checkpoint's path; None for the weights at the end of fit.
        hparams: all of the run's.
        versions: of python and of the libraries that matter.
        git: `commit` and `dirty`, where they are known.
    """

    commands: tuple[tuple[str, str], ...] = ()
    cwd: str | None = None
    checkpoint: str | None = None
    hparams: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    git: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run, judged and explained.

    Attributes:
        verdict: None when nobody has judged the run.
        headline: the verdict in one sentence.
        reasons: why it is not a deploy; empty when it is, or when nobody has judged.
        warnings: what did not decide and should be known.
        judged: which weights.
        checks: in the gate's order.
        diagnosis: findings, strongest first.
        charts: the curves that matter.
        changes, reproduce, run: see there.
    """

    verdict: Verdict | None
    headline: str
    run: RunFacts
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    judged: Judged | None = None
    checks: tuple[CheckRow, ...] = ()
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    charts: tuple[Chart, ...] = ()
    changes: Changes = field(default_factory=Changes)
    reproduce: Reproduce = field(default_factory=Reproduce)

    @property
    def other_reasons(self) -> tuple[str, ...]:
        """Reasons that no check gives: each alone makes an improve, whatever the numbers are."""
        return beside_checks(self.reasons, (row.reason for row in self.checks))

    @property
    def alone_text(self) -> str:
        """What those reasons mean for the checks that pass; empty where there are none of either."""
        return alone_text(len(self.other_reasons)) if any(row.passed for row in self.checks) else ""

    def has_line(self, role: str) -> bool:
        """Whether some chart has a line of that role."""
        return any(line.role == role for chart in self.charts for line in chart.lines)

    @property
    def has_band(self) -> bool:
        """Whether some training line is drawn as means with a band."""
        return any(line.low for chart in self.charts for line in chart.lines if line.role == "train")

    @property
    def judged_text(self) -> str:
        """Which weights were judged, in words; empty where none were."""
        judged = self.judged
        return "" if judged is None else judged_text(judged.source, judged.global_step, judged.epoch)
