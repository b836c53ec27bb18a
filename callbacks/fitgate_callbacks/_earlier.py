"""A fit that had nothing left to do: what the fit before came to stands, on record and for whoever asks the callback."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fitgate._files import JSON_OBJECT, decode_json
from fitgate.errors import FitgateError, StoreError
from fitgate.gate import Decision, decision_as_dict, on_record
from fitgate.registry import live_content
from fitgate_callbacks._conclude import show

__all__ = ["Earlier", "earlier_outcome", "show_earlier"]

_log = logging.getLogger("fitgate")
_NOTHING_TRAINED = "nothing was trained: this run had come to its end before, and the decision of that fit stands"


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """How the fit before ended.

    Attributes:
        decision: as gate.json has it, with a warning that it is of an earlier fit.
        run_dir: the run's folder.
        version: the live version, where it is this run's and holds what was judged; None otherwise.
        report: the content of report.json, when the verdict is improve and it can be read; None otherwise.
    """

    decision: Decision
    run_dir: Path
    version: int | None
    report: dict[str, Any] | None


def earlier_outcome(run_dir: Path | None, model_dir: Path) -> Earlier | None:
    """What is on record of a run; None where nobody has judged it, or the record can't be read."""
    path = run_dir / "gate.json" if run_dir is not None else None
    if run_dir is None or path is None or not path.exists():
        return None
    try:
        decision = on_record(path.read_bytes(), str(path)).decision
    except (FitgateError, OSError) as error:
        _log.warning("GateCallback: what was decided before can't be read: %s", error)
        return None
    version = _version(run_dir.name, decision, model_dir) if decision.verdict == "deploy" else None
    report = _report(run_dir) if decision.verdict == "improve" else None
    warned = replace(decision, warnings=(*decision.warnings, _NOTHING_TRAINED))
    return Earlier(decision=warned, run_dir=run_dir, version=version, report=report)


def show_earlier(earlier: Earlier, model_dir: Path) -> None:
    """Print the summary again. No file is written: all is there already."""
    page = earlier.run_dir / "improve" / "report.html"
    report = page if earlier.report is not None and page.exists() else None
    gate = decision_as_dict(earlier.decision, earlier.run_dir.name)
    show(gate, run_dir=earlier.run_dir, model_dir=model_dir, version=earlier.version, is_new=False, page=report)


def _version(run_id: str, decision: Decision, model_dir: Path) -> int | None:
    try:
        live = live_content(model_dir) or {}
    except FitgateError:
        return None
    source = live.get("source", {})
    same = source.get("run_id") == run_id and source.get("global_step") == decision.judged.global_step
    return int(live["version"]) if same else None


def _report(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / "improve" / "report.json"
    try:
        return decode_json(path.read_bytes(), JSON_OBJECT, source=str(path))
    except (OSError, StoreError):
        return None
