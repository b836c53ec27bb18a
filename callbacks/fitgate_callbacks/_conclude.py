"""After the verdict: gate.json, the improve report, what TensorBoard shows of it, and the summary on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fitgate._files import encode_json, replace_file
from fitgate.gate import Decision, decision_as_dict
from fitgate.report import Report, build_report, render_markdown, report_as_dict, write_report
from fitgate.store import Store
from fitgate.store._recorder import Recorder
from fitgate.summary import print_summary

__all__ = ["conclude", "guarded", "show", "write_gate"]

T = TypeVar("T")
_log = logging.getLogger("fitgate")


def write_gate(recorder: Recorder, decision: Decision) -> dict[str, Any]:
    """Write the decision into the run's folder; returns what was written."""
    gate = decision_as_dict(decision, recorder.info.id)
    replace_file(recorder.run_dir / "gate.json", lambda file: file.write(encode_json(gate)))
    return gate


def conclude(recorder: Recorder, decision: Decision, *, model_dir: Path, version: int | None, is_new: bool = True) -> dict[str, Any] | None:
    """Say how a fit ended, everywhere people look. gate.json is written before.

    `version` is the live one that holds what was judged, and `is_new` whether this fit published it.
    What can't be written here is warned about and left out: the verdict stands, and a publication has already happened.

    Returns:
        The content of report.json where the verdict is improve; None otherwise.
    """
    run_dir, gate = recorder.run_dir, decision_as_dict(decision, recorder.info.id)
    report = guarded("the report", lambda: _report(run_dir, gate)) if decision.verdict == "improve" else None
    page = guarded("the report", lambda: write_report(report, run_dir / "improve")["html"]) if report is not None else None
    if any(run_dir.glob("events.out.tfevents.*")):
        guarded("the decision for TensorBoard", lambda: _mirror(recorder, gate, report))
    show(gate, run_dir=run_dir, model_dir=model_dir, version=version, is_new=is_new, page=page)
    return report_as_dict(report) if report is not None else None


def show(gate: dict[str, Any], *, run_dir: Path, model_dir: Path, version: int | None, is_new: bool, page: Path | None) -> None:
    """Print the summary; a terminal that can't show it is warned about."""
    folder = model_dir / str(version) if version is not None else None
    exported, live = (folder, None) if is_new else (None, folder)
    guarded("the summary", lambda: print_summary(gate, run_dir=run_dir, exported=exported, live=live, report=page))


def _report(run_dir: Path, gate: dict[str, Any]) -> Report:
    run = Store(str(run_dir.parent)).run(run_dir.name)
    return build_report(run, gate)


def _mirror(recorder: Recorder, gate: dict[str, Any], report: Report | None) -> None:
    from fitgate.tensorboard import write_decision  # noqa: PLC0415 - protobuf is only loaded by those who write events

    recorder.close()
    run = Store(str(recorder.run_dir.parent)).run(recorder.info.id)
    text = render_markdown(report) if report is not None else None
    write_decision(recorder.run_dir, gate, run.metrics(), state=recorder.info.state, report=text)


def guarded(what: str, action: Callable[[], T]) -> T | None:
    """Do something that a fit must not fail for; where it fails, warn."""
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - a fit must not fail for what only explains it
        _log.warning("GateCallback: %s could not be written: %s: %s", what, type(error).__name__, error)
        return None
