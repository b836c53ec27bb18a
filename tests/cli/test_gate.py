"""`fitgate gate` and `fitgate report`."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import fitgate
from fitgate._files import encode_json, sha256_of
from fitgate.export import publish, seal, stage
from fitgate.gate import decision_as_dict, judge

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
    staged = stage({"state_dict": {"weight": torch.zeros(1)}}, model, run_id="r", formats=["safetensors"])
    seal(staged, gate={"checks": []}, manifest={"metrics": {"val_acc": 0.89}})
    publish(staged, why="a test")
    for threshold, code in (("val_acc >= champion", 0), ("val_acc >= champion + 0.02", 1)):
        done = invoke("gate", RUN, "-t", threshold, "-t", "val_acc >= 0", "--champion", model, "--root", root)
        assert done.exit_code == code, done.output


@pytest.mark.parametrize(("run", "code"), [("net-20261123-100000-glad-hen", 0), ("net-20261123-090000-sad-fox", 1)])
def test_without_thresholds_a_run_is_judged_by_its_own(run: str, code: int, root: Path, invoke: Any) -> None:
    """Its gate.json comes out again, to the last key."""
    done = invoke("gate", run, "--root", root, "--json")
    assert done.exit_code == code, done.output
    assert json.loads(done.stdout) == json.loads((root / run / "gate.json").read_bytes())
    assert invoke("gate", run, "--root", root).exit_code == code


def test_without_thresholds_a_run_that_nobody_judged_is_wrong_use(root: Path, invoke: Any) -> None:
    """There is nothing to judge it by."""
    done = invoke("gate", RUN, "--root", root)
    assert done.exit_code == 2
    assert "was never judged" in done.stderr


def test_the_values_of_the_champion_of_then_are_on_record(root: Path, invoke: Any) -> None:
    """A relative threshold is held against them again, whatever is live by now; --champion asks for what is live now."""
    run = fitgate.Store(str(root)).run(RUN)
    thresholds = ["val_acc >= champion + 0.005", "val_acc >= 0.5"]
    decision = judge(run, thresholds, champion={"val_acc": 0.89, "val_loss": 0.4}, allow=("lost_points",))
    path = root / RUN / "gate.json"
    path.write_bytes(encode_json(decision_as_dict(decision, RUN)))
    assert json.loads(path.read_bytes())["champion"] == {"val_acc": 0.89}
    done = invoke("gate", RUN, "--root", root, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(path.read_bytes())
    earlier = {key: value for key, value in json.loads(path.read_bytes()).items() if key != "champion"}
    path.write_bytes(encode_json(earlier))
    done = invoke("gate", RUN, "--root", root)
    assert done.exit_code == 2
    assert "--champion MODEL_DIR" in done.stderr


@pytest.mark.parametrize(
    "reason",
    [
        "the champion can't be read: it is damaged",
        "artifact differs: model.onnx, 1 sample: 'y' differs",
    ],
)
def test_what_no_file_of_the_run_can_tell_again_is_taken_from_the_record(reason: str, root: Path, invoke: Any) -> None:
    """A champion that could not be read, or an export that was not proven, is not set right by asking again."""
    run = fitgate.Store(str(root)).run(RUN)
    decision = judge(run, ["val_acc >= 0.5", "val_acc >= champion"])
    assert decision.verdict == "deploy"
    decision = replace(decision, verdict="improve", reasons=(reason,), metrics={**decision.metrics, "artifact.size_mb": 1.0})
    (root / RUN / "gate.json").write_bytes(encode_json(decision_as_dict(decision, RUN)))
    done = invoke("gate", RUN, "--root", root, "--json")
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["reasons"] == [reason]


def test_a_run_by_hand_says_what_was_judged(tmp_path: Path, invoke: Any) -> None:
    """Exit code 0 or 1 as of any run, and one line that it was the last values."""
    with fitgate.start_run(tmp_path, name="by-hand") as run:
        run.log_metric("accuracy", 0.9)
    for threshold, code in (("accuracy >= 0.8", 0), ("accuracy >= 0.95", 1)):
        done = invoke("gate", "by-hand", "-t", threshold, "--root", tmp_path)
        assert done.exit_code == code, done.output
        assert "judged       the last value of each metric, logged by hand" in done.stdout


def test_what_was_not_exported_has_no_size_to_pass_with(root: Path, invoke: Any) -> None:
    """Also where nothing but that stands in the way."""
    decision = judge(fitgate.Store(str(root)).run(RUN), ["val_acc >= 0.5", "artifact.size_mb <= 20"])
    (root / RUN / "gate.json").write_bytes(encode_json(decision_as_dict(decision, RUN)))
    done = invoke("gate", RUN, "--root", root, "--json")
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["reasons"] == ["artifact.size_mb <= 20: not measured, since nothing was exported"]


def test_a_threshold_on_the_exported_files_is_judged_by_what_was_measured(root: Path, invoke: Any) -> None:
    """Typed too: by the record of the fit's export; without one it was not measured, and what is never measured is wrong use."""
    record = root / RUN / "gate.json"
    asked = ("gate", RUN, "--root", root, "--json", "-t", "val_acc >= 0.5", "-t", "artifact.size_mb <= 2")
    for size, code in ((1.0, 0), (3.0, 1), (None, 1)):
        decision = judge(fitgate.Store(str(root)).run(RUN), ["val_acc >= 0.5"])
        measured = {"artifact.size_mb": size} if size else {}
        record.write_bytes(encode_json(decision_as_dict(replace(decision, metrics={**decision.metrics, **measured}), RUN)))
        done = invoke(*asked)
        assert done.exit_code == code, done.output
        assert json.loads(done.stdout)["checks"][1]["value"] == size
    record.unlink()
    done = invoke(*asked)
    assert (done.exit_code, json.loads(done.stdout)["reasons"]) == (
        1,
        ["artifact.size_mb <= 2: not measured, since nothing was exported"],
    )
    done = invoke("gate", RUN, "--root", root, "-t", "artifact.size <= 2")
    assert done.exit_code == 2
    assert "did you mean artifact.size_mb?" in done.stderr


def test_what_was_measured_of_the_export_is_told_whatever_is_asked(root: Path, invoke: Any) -> None:
    """By thresholds that say nothing of the files too: the metrics of gate.json, and that the export differs. A damaged record is not needed then."""
    record = root / RUN / "gate.json"
    decision = judge(fitgate.Store(str(root)).run(RUN), ["val_acc >= 0.5"])
    decision = replace(decision, metrics={**decision.metrics, "artifact.size_mb": 1.5})
    record.write_bytes(encode_json(decision_as_dict(decision, RUN)))
    asked = ("gate", RUN, "--root", root, "--json", "-t", "val_loss <= 0.5")
    done = invoke(*asked)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["metrics"] == json.loads(record.read_bytes())["metrics"]
    differs = "artifact differs: model.onnx, 1 sample: 'y' differs"
    record.write_bytes(encode_json(decision_as_dict(replace(decision, verdict="improve", reasons=(differs,)), RUN)))
    done = invoke(*asked)
    assert (done.exit_code, json.loads(done.stdout)["reasons"]) == (1, [differs])
    record.write_text("[]")
    assert invoke(*asked).exit_code == 0
    assert invoke(*asked, "-t", "artifact.size_mb <= 2").exit_code == 2


@pytest.mark.parametrize(
    ("text", "code"), [("val_acc >= 0.9 (warn)", 1), ("val_acc >= 0.2 (95 % confidence)", 1), ("val_acc 0.2 (95 %)", 2)]
)
def test_a_typed_threshold_can_be_typed(text: str, code: int, root: Path, invoke: Any) -> None:
    """As it is printed. One that only warns is none to stand on, and of this run no samples are on record."""
    done = invoke("gate", RUN, "-t", text, "--root", root, "--json")
    assert done.exit_code == code, done.output
    if code == 1:
        assert json.loads(done.stdout)["checks"][0]["threshold"] == text


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


def test_on_a_terminal_no_command_of_the_report_is_broken(root: Path, invoke: Any) -> None:
    """Pasted, the rest of a broken line would run as a command of its own."""
    run = "net-20261123-090000-sad-fox"
    source = invoke("report", run, "--root", root).stdout
    terminal = {"FORCE_COLOR": "1", "COLUMNS": "60", "TERM": "xterm-256color"}
    dressed = re.sub(r"\x1b\[[0-9;]*m", "", invoke("report", run, "--root", root, env=terminal).stdout)
    commands = [line for line in source.split("```sh\n")[1].split("\n```")[0].splitlines() if line]
    assert len(commands) > 3
    for line in commands:
        assert line in dressed.splitlines()


def test_a_piped_report_reads_as_it_was_written(root: Path, invoke: Any) -> None:
    """No entities where a threshold has an angle bracket."""
    done = invoke("report", "net-20261123-090000-sad-fox", "--root", root)
    assert "val_acc >= 0.95" in done.stdout
    assert "&gt;" not in done.stdout
    assert "&lt;" not in done.stdout
