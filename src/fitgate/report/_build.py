"""From a stored run to a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fitgate.diagnosis import diagnose_evidence, goals_of_checks, read_evidence
from fitgate.gate import ARTIFACT, Judged
from fitgate.report._changes import champion_on_record, changes_of, judged_metrics
from fitgate.report._charts import charts_of
from fitgate.report._checks import check_rows, headline_of
from fitgate.report._files import previous_run, read_gate
from fitgate.report._model import Report, RunFacts
from fitgate.report._reproduce import reproduce_of
from fitgate.store import Run

__all__ = ["build_report"]


def build_report(
    run: Run,
    gate: Mapping[str, Any] | None = None,
    *,
    previous: Run | None = None,
    champion: Mapping[str, Any] | None = None,
    git: Mapping[str, Any] | None = None,
    classes: int | None = None,
) -> Report:
    """Gather what a report says, from a run's files alone.

    Args:
        run: from any store.
        gate: the content of gate.json, as `fitgate.gate.decision_as_dict` gives it; None reads the run's own. A run that
            nobody has judged gets a report without a verdict.
        previous: the run to compare with; None takes the newest that began before this one in the same store and has values of what is judged.
        champion: the manifest.json of the version to compare with; None takes what the gate says of the one that was live.
        git: `commit` and `dirty` of the code that trained; None takes what the run recorded.
        classes: how many classes the targets have; None takes it from the hyperparameters, where it stands.

    Raises:
        StoreError: a file of the run is damaged.

    Example:
        >>> import tempfile, fitgate
        >>> root = tempfile.mkdtemp()
        >>> with fitgate.start_run(root, tensorboard=False) as run:
        ...     run.log_metrics({"val_acc": 0.7, "val_loss": 0.9}, step=1)
        >>> report = build_report(fitgate.Store(root).latest())
        >>> report.verdict is None, [chart.title for chart in report.charts]
        (True, ['val_loss', 'val_acc'])
    """
    # As it is read from disk, where a NaN is null: what a fit writes and what is made later are then the same.
    content: dict[str, Any] | None = msgspec.json.decode(msgspec.json.encode(gate)) if gate is not None else read_gate(run)
    judged = msgspec.convert(content["judged"], Judged) if content and content.get("judged") else None
    evidence = read_evidence(
        run, goals_of_checks((content or {}).get("checks", ())), classes=classes, judged_step=judged.global_step if judged else None
    )
    diagnosis = diagnose_evidence(evidence)
    rows = check_rows(content, evidence)
    verdict = content.get("verdict") if content else None
    reasons = tuple((content or {}).get("reasons", ()))
    metrics = judged_metrics(run, content)
    previous = previous or previous_run(run, [row.metric for row in rows if not row.metric.startswith(ARTIFACT)])
    champion = champion or champion_on_record(content)
    charts = charts_of(evidence, diagnosis.findings)
    return Report(
        verdict=verdict,
        headline=headline_of(verdict, rows, reasons),
        run=_facts(run),
        reasons=reasons,
        warnings=tuple((content or {}).get("warnings", ())),
        judged=judged,
        checks=rows,
        diagnosis=diagnosis,
        charts=charts,
        changes=changes_of(run, metrics, evidence, previous=previous, champion=champion),
        reproduce=reproduce_of(run, charts, judged=judged, git=git),
    )


def _facts(run: Run) -> RunFacts:
    fit = run.info.fit
    return RunFacts(
        id=run.id,
        name=run.name,
        state=run.state,
        created=run.created.isoformat(timespec="seconds"),
        steps=fit.global_step if fit else None,
        epochs=fit.epoch if fit else None,
        attempts=len(run.info.attempts),
        failed=fit.failed if fit else None,
    )
