"""What is known of a run beside its points: run.json and gate.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fitgate.compare._record import Mode, RunFacts
from fitgate.errors import StoreError
from fitgate.report._changes import flat
from fitgate.report._files import read_gate
from fitgate.store import Run

__all__ = ["facts_of", "read_facts"]


def read_facts(run: Run) -> RunFacts:
    """Read a run's facts. A gate.json that is missing or damaged is one without a verdict."""
    try:
        gate = read_gate(run) or {}
    except StoreError:
        gate = {}
    return facts_of(run, gate)


def facts_of(run: Run, gate: Mapping[str, Any]) -> RunFacts:
    """A run's facts, from it and the content of its gate.json."""
    checks = [c for c in gate.get("checks") or () if isinstance(c, Mapping) and isinstance(c.get("metric"), str)]
    modes: dict[str, Mode | None] = {}
    for check in checks:
        mode: Mode = "max" if str(check.get("op", "")).startswith(">") else "min"
        metric = check["metric"]
        modes[metric] = mode if modes.get(metric, mode) == mode else None
    checkpoint = run.info.fit.checkpoint if run.info.fit else None
    mode_of_monitor = checkpoint.mode if checkpoint else None
    return RunFacts(
        id=run.id,
        name=run.name,
        state=run.state,
        created=run.created,
        path=run.path,
        verdict=gate.get("verdict") if gate.get("verdict") in ("deploy", "improve") else None,
        hparams=dict(flat(run.hparams)),
        gated=tuple(dict.fromkeys(c["metric"] for c in checks if not c.get("warn") and not c["metric"].startswith("artifact."))),
        modes=modes,
        thresholds={c["metric"]: str(c.get("threshold", "")) for c in reversed(checks)},
        monitor=checkpoint.monitor if checkpoint else None,
        monitor_mode="max" if mode_of_monitor == "max" else "min" if mode_of_monitor == "min" else None,
        seed=getattr(run.info, "seed", None),
    )
