"""What changed since the last run and since the champion, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fitgate.diagnosis import Evidence, read_evidence
from fitgate.diagnosis._names import on_validation_data
from fitgate.diagnosis._pairs import better_high
from fitgate.gate import metrics_at
from fitgate.report._files import read_gate, sibling
from fitgate.report._model import Change, Changes
from fitgate.store import Run

__all__ = ["champion_on_record", "changes_of", "judged_metrics"]

_MOST_METRICS = 16


def changes_of(
    run: Run, metrics: Mapping[str, float], evidence: Evidence, *, previous: Run | None, champion: Mapping[str, Any] | None
) -> Changes:
    """Compare a run with the one before it and with the live version.

    Args:
        run: the run that is reported.
        metrics: its judged values.
        evidence: its curves, and what it is judged by.
        previous: the run before it.
        champion: the manifest.json of the live version, or what `champion_on_record` gives.
    """
    if previous is None and champion is None:
        return Changes()
    before = judged_metrics(previous) if previous is not None else {}
    live = dict((champion or {}).get("metrics") or {})
    champion_run = sibling(run, str(((champion or {}).get("source") or {}).get("run_id") or ""))
    sides = [dict(flat(side.hparams)) if side is not None else {} for side in (run, previous, champion_run)]
    there = [True, previous is not None, champion_run is not None]
    names = list(dict.fromkeys(name for side in sides for name in side))
    rows = [Change(name=name, this=sides[0].get(name), previous=sides[1].get(name), champion=sides[2].get(name)) for name in names]
    differ = [
        row for row in rows if len({repr(v) for v, shown in zip((row.this, row.previous, row.champion), there, strict=True) if shown}) > 1
    ]
    shown = _shown(metrics, evidence)
    return Changes(
        previous=previous.id if previous is not None else None,
        champion=_champion_words(champion) if champion is not None else None,
        hparams=tuple(differ),
        same_hparams=len(rows) - len(differ),
        metrics=tuple(
            Change(name=n, this=metrics[n], previous=before.get(n), champion=live.get(n), better_high=better_high(evidence, n))
            for n in shown
        ),
    )


def champion_on_record(gate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The version that was live when a run was judged, as gate.json has it, with the keys that a manifest has.

    Example:
        >>> gate = {"live": {"version": 3, "run_id": "a", "metrics": {"val_acc": 0.9}}, "champion": {"val_acc": 0.9}}
        >>> champion_on_record(gate)
        {'version': 3, 'source': {'run_id': 'a'}, 'metrics': {'val_acc': 0.9}}
        >>> champion_on_record({"champion": {"val_acc": 0.9}})
        {'version': None, 'source': {'run_id': None}, 'metrics': {'val_acc': 0.9}}
    """
    gate = gate or {}
    live = gate.get("live")
    if live:
        return {"version": live.get("version"), "source": {"run_id": live.get("run_id")}, "metrics": live.get("metrics") or {}}
    if not gate.get("champion"):
        return None
    # An earlier version of fitgate wrote the compared values alone.
    return {"version": None, "source": {"run_id": None}, "metrics": gate["champion"]}


def _shown(metrics: Mapping[str, float], evidence: Evidence) -> list[str]:
    """Those of thresholds first. A training value at one step is one batch's: it compares with nothing, where there is validation."""
    asked = [goal.metric for goal in evidence.goals]
    validated = {name for stage, name in evidence.curves if on_validation_data(name, stage)}
    names = [name for name in metrics if name in validated or name in asked] or list(metrics)
    return sorted(names, key=lambda name: (asked.index(name) if name in asked else len(asked), name))[:_MOST_METRICS]


def judged_metrics(run: Run, gate: Mapping[str, Any] | None = None) -> dict[str, float]:
    """A run's values to compare by, NaN included: those that were judged, else those of its checkpoint, else its last ones."""
    gate, fit = gate or read_gate(run), run.info.fit
    if gate and gate.get("metrics"):
        step = (gate.get("judged") or {}).get("global_step")
        # Null is a value that was no number; the points know which.
        found = metrics_at(run, step) if None in gate["metrics"].values() and step is not None else {}
        return {name: found.get(name, math.nan) if value is None else value for name, value in gate["metrics"].items()}
    if fit is not None:
        step = fit.checkpoint.global_step if fit.checkpoint else fit.global_step
        found = metrics_at(run, step) if step is not None else {}
        if found:
            return found
    return last_values(read_evidence(run))


def last_values(evidence: Evidence) -> dict[str, float]:
    """The last value of every curve, by name; `validate` stands before `train`."""
    ordered = sorted(evidence.curves.values(), key=lambda c: c.stage == "validate")
    return {c.name: float(c.value[-1]) for c in ordered if len(c)}


def flat(hparams: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested hyperparameters with dotted names.

    Example:
        >>> dict(flat({"lr": 0.1, "opt": {"momentum": 0.9}}))
        {'lr': 0.1, 'opt.momentum': 0.9}
    """
    for key, value in hparams.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _champion_words(champion: Mapping[str, Any]) -> str:
    run_id = (champion.get("source") or {}).get("run_id")
    version = champion.get("version")
    return f"version {version}" if version is not None else str(run_id or "the live version")
