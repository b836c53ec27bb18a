"""A report on the disk."""

from __future__ import annotations

import os
from pathlib import Path

from fitgate._files import encode_json, replace_file
from fitgate.report._json import report_as_dict
from fitgate.report._model import Report
from fitgate.report._render import render_html, render_markdown

__all__ = ["write_report"]


def write_report(report: Report, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write report.html, report.md and report.json, each whole or not at all.

    Args:
        report: what to write.
        folder: made where it is missing; of a run, `improve/`.

    Returns:
        The three paths, by `"html"`, `"md"` and `"json"`.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    contents = {
        "html": render_html(report).encode(),
        "md": render_markdown(report).encode(),
        "json": encode_json(report_as_dict(report)),
    }
    paths = {kind: target / f"report.{kind}" for kind in contents}
    for kind, data in contents.items():
        replace_file(paths[kind], lambda file, data=data: file.write(data))  # type: ignore[misc]  # mypy infers no type for a bound default
    return paths
