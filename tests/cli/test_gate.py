"""`fitgate gate` and `fitgate report`."""

import json
from pathlib import Path
from typing import Any

import pytest

from fitgate._files import encode_json, sha256_of

RUN = "net-20261123-080000-old-owl"


@pytest.mark.parametrize(
    ("thresholds", "code"),
    [(["val_acc >= 0.9"], 0), (["val_acc > 0.9"], 1), (["val_acc >= 0.9", "val_loss <= 0.2"], 1), (["val_f1 >= 0"], 1)],
)
def test_the_exit_code_is_the_verdict(thresholds: list[str], code: int, root: Path, invoke: Any) -> None:
    """0 deploy, 1 improve; judged at the best checkpoint's 0.9, not at the last epoch's 0.8. Nothing is written."""
    before = {path: sha256_of(path) for path in root.rglob("*") if path.is_file()}
    options = [part for text in thresholds for part in ("-t", text)]
    done = invoke("gate", RUN, *options, "--root", root)
    assert done.exit_code == code
    assert ("DEPLOY" if code == 0 else "IMPROVE") in done.stdout
    content = json.loads(invoke("gate", RUN, *options, "--root", root, "--json").stdout)
    assert content["verdict"] == ("deploy" if code == 0 else "improve")
    assert [check["threshold"] for check in content["checks"]] == thresholds
    assert {path: sha256_of(path) for path in root.rglob("*") if path.is_file()} == before


def test_a_champion_is_the_live_version_of_the_model_that_is_named(root: Path, tmp_path: Path, invoke: Any) -> None:
    """Its metrics are those of its manifest."""
    model = tmp_path / "deploy" / "net"
    (model / "2").mkdir(parents=True)
    (model / "CURRENT").write_bytes(encode_json({"version": 2}))
    (model / "2" / "manifest.json").write_bytes(encode_json({"metrics": {"val_acc": 0.89}}))
    for threshold, code in (("val_acc >= champion", 0), ("val_acc >= champion + 0.02", 1)):
        done = invoke("gate", RUN, "-t", threshold, "-t", "val_acc >= 0", "--champion", model, "--root", root)
        assert done.exit_code == code, done.output


def test_a_report_is_printed_written_or_given_as_json(root: Path, tmp_path: Path, invoke: Any) -> None:
    """Markdown through a pipe, the page in a file, one JSON document."""
    run = "net-20261123-090000-sad-fox"
    assert invoke("report", run, "--root", root).stdout.startswith("# Improve")
    page = tmp_path / "sub" / "report.html"
    done = invoke("report", run, "--root", root, "--html", page)
    assert done.stdout.strip().endswith("report.html")
    assert "val_acc &gt;= 0.95" in page.read_text()
    content = json.loads(invoke("report", run, "--root", root, "--json").stdout)
    assert content["verdict"] == "improve"
    assert [check["passed"] for check in content["checks"]] == [False, True]
    assert json.loads(invoke("report", RUN, "--root", root, "--json").stdout)["verdict"] is None


def test_on_a_terminal_the_report_is_dressed_up(root: Path, invoke: Any) -> None:
    """Headings and tables instead of Markdown's signs."""
    done = invoke(
        "report", "net-20261123-090000-sad-fox", "--root", root, env={"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm-256color"}
    )
    assert done.exit_code == 0
    assert "\x1b[" in done.stdout
    assert "# Improve" not in done.stdout
    assert "Improve: net" in done.stdout
