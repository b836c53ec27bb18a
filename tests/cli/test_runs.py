"""`fitgate runs`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import fitgate
from fitgate.cli._common import age_text
from fitgate.store._run_file import RunInfo, write_run_info
from fitgate.store._schema import Record
from fitgate.store._segments import SegmentWriter
from tests.registry._versions import publish_version


def test_runs_are_listed_newest_first_with_state_verdict_and_age(root: Path, invoke: Any) -> None:
    """One line a run, wide enough that ids stay whole."""
    lines = invoke("runs", root).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "net-20261123-100000-glad-hen",
        "net-20261123-090000-sad-fox",
        "net-20261123-080000-old-owl",
    ]
    assert lines[1].split() == ["net-20261123-100000-glad-hen", "deployed", "deploy", "val_acc", "0.8", "5", "min"]
    assert lines[2].split()[1:3] == ["improve", "improve"]
    assert lines[3].split()[1:3] == ["completed", "–"]
    assert lines[3].split()[-2:] == ["3", "d"]


def test_the_last_metrics_are_those_that_duckdb_finds(root: Path, invoke: Any) -> None:
    """Of the gate's metrics, in the gate's order; of all validation metrics where nobody judged."""
    query = (
        f"select run_id, name, arg_max(value, step) from read_parquet('{root}/*/metrics/*.parquet') where stage = 'validate' group by all"  # noqa: S608 - a path of our own
    )
    expected: dict[str, dict[str, float]] = {}
    for run_id, name, value in duckdb.execute(query).fetchall():
        expected.setdefault(run_id, {})[name] = value
    found = {run["id"]: run for run in json.loads(invoke("runs", root, "--json").stdout)}
    assert found["net-20261123-080000-old-owl"]["metrics"] == expected["net-20261123-080000-old-owl"]
    assert list(found["net-20261123-090000-sad-fox"]["metrics"]) == ["val_acc", "val_loss"]
    assert found["net-20261123-100000-glad-hen"]["metrics"] == {"val_acc": expected["net-20261123-100000-glad-hen"]["val_acc"]}
    assert found["net-20261123-100000-glad-hen"]["verdict"] == "deploy"
    assert found["net-20261123-100000-glad-hen"]["path"] == str(root / "net-20261123-100000-glad-hen")


def test_the_limit_leaves_older_runs_out_and_says_so(root: Path, invoke: Any) -> None:
    """Newest first; 0 lists all."""
    done = invoke("runs", root, "-n", "1")
    assert "glad-hen" in done.stdout
    assert "sad-fox" not in done.stdout
    assert "and 2 older" in done.stdout
    assert len(json.loads(invoke("runs", root, "-n", "0", "--json").stdout)) == 3


def test_the_gates_metrics_come_first_and_of_two_stages_the_validations_stands(tmp_path: Path, invoke: Any, judge_run: Any) -> None:
    """In the gate's order, whatever the alphabet says; a name that training has too is shown as validated."""
    writer = SegmentWriter(tmp_path / "r" / "metrics", run_id="r")
    for step, (train, validation) in enumerate(((0.1, 0.2), (0.3, 0.4))):
        writer.write([Record("train", 10 * step + 5, step, 0, step, ("acc", "loss"), (train, 1 - train))])
        writer.write([Record("validate", 10 * step, step, 0, step, ("acc", "loss"), (validation, 1 - validation))])
    writer.close()
    now = datetime.now(UTC)
    write_run_info(tmp_path / "r", RunInfo(id="r", name="r", state="completed", created=now, updated=now))
    judge_run(fitgate.Store(str(tmp_path)).latest(), ["loss <= 0.1", "acc >= 0.9"])
    (run,) = json.loads(invoke("runs", tmp_path, "--json").stdout)
    assert run["metrics"] == pytest.approx({"loss": 0.6, "acc": 0.4})
    assert "loss 0.6  acc 0.4" in invoke("runs", tmp_path).stdout


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200])
def test_every_id_stays_in_one_piece_at_any_width(root: Path, invoke: Any, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To be copied, also from a narrow terminal."""
    monkeypatch.setattr("fitgate.cli._common.PIPED_WIDTH", 1)
    text = invoke("runs", root, env={"COLUMNS": str(columns)}).stdout
    assert all(run.id in text for run in fitgate.Store(str(root)).runs())
    assert "val_acc 0.8" in text


def test_an_empty_store_and_a_run_without_points_are_no_errors(tmp_path: Path, invoke: Any) -> None:
    """Words instead of an empty table."""
    assert "No runs" in invoke("runs", tmp_path).stdout
    assert json.loads(invoke("runs", tmp_path, "--json").stdout) == []
    with fitgate.start_run(tmp_path, name="empty"):
        pass
    (run,) = json.loads(invoke("runs", tmp_path, "--json").stdout)
    assert run["metrics"] == {}
    assert invoke("runs", tmp_path).exit_code == 0


def test_not_a_number_is_null_in_json(tmp_path: Path, invoke: Any) -> None:
    """JSON has no NaN."""
    with fitgate.start_run(tmp_path, name="nan") as run:
        run.log_metric("loss", float("nan"))
    (found,) = json.loads(invoke("runs", tmp_path, "--json").stdout)
    assert found["metrics"] == {"loss": None}
    assert "loss nan" in invoke("runs", tmp_path).stdout


def test_ages_are_rough() -> None:
    """The largest unit that fits."""
    now = datetime(2026, 11, 23, tzinfo=UTC)
    ages = [timedelta(seconds=-3), timedelta(seconds=59), timedelta(minutes=59), timedelta(hours=23), timedelta(days=40)]
    assert [age_text(now - age, now) for age in ages] == ["0 s", "59 s", "59 min", "23 h", "40 d"]


def test_json_lists_every_run_unless_a_limit_is_given(tmp_path: Path, invoke: Any) -> None:
    """A program gets the whole list; 20 is for people."""
    for _ in range(22):
        fitgate.start_run(tmp_path, tensorboard=False).close()
    assert len(json.loads(invoke("runs", tmp_path, "--json").stdout)) == 22
    assert len(json.loads(invoke("runs", tmp_path, "--json", "--limit", "3").stdout)) == 3


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", b"{"])
def test_a_damaged_file_is_named_and_every_other_run_is_listed(root: Path, invoke: Any, damage: bytes) -> None:
    """A Parquet file or a gate.json: one line a run says which and what to do, its state still stands, and the others are as ever."""
    expected = {run["id"]: run for run in json.loads(invoke("runs", root, "--json").stdout)}
    fox, owl = root / "net-20261123-090000-sad-fox", root / "net-20261123-080000-old-owl"
    (segment,) = (fox / "metrics").glob("*.parquet")
    segment.write_bytes(damage)
    (owl / "gate.json").write_bytes(damage)
    done = invoke("runs", root)
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == list(expected)
    assert done.stdout.count("can't be read") == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"warning: {segment} can't be read")
    assert "move what is damaged out of its metrics folder" in first
    assert second.startswith(f"warning: {owl / 'gate.json'} can't be read")
    found = {run["id"]: run for run in json.loads(invoke("runs", root, "--json").stdout)}
    assert found[fox.name] == {**expected[fox.name], "metrics": {}, "problem": first.removeprefix("warning: ")}
    assert found[owl.name] == {**expected[owl.name], "problem": second.removeprefix("warning: ")}
    assert {name: run for name, run in found.items() if run["problem"] is None} == {
        name: run for name, run in expected.items() if name not in (fox.name, owl.name)
    }


@pytest.mark.parametrize(
    "command", [["runs"], ["show", "latest", "--root"], ["compare", "--root"], ["gate", "latest", "--root"], ["tensorboard"]]
)
def test_a_deploy_root_where_a_store_is_expected(command: list[str], tmp_path: Path, invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what it is and which command is meant."""
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("TensorBoard was started"))
    publish_version(tmp_path / "deploy" / "digits", 0.9)
    for folder, what in {
        tmp_path / "deploy": f"is a deploy root, which holds digits: fitgate models {tmp_path / 'deploy'}, or",
        tmp_path / "deploy" / "digits": "is a model's folder: fitgate verify",
    }.items():
        done = invoke(*command, folder, *(["-t", "a > 1"] if command[0] == "gate" else []))
        assert done.exit_code == 2
        assert done.stderr.startswith(f"fitgate: there are no runs in {folder}: {folder} {what}")
        assert done.stderr.count("\n") == 1


def test_one_runs_folder_where_a_store_is_expected(root: Path, invoke: Any) -> None:
    """The command for it works as it stands."""
    folder = root / "net-20261123-080000-old-owl"
    done = invoke("runs", folder)
    assert done.exit_code == 2
    _, _, command = done.stderr.strip().rpartition(": fitgate ")
    shown = invoke(*command.split())
    assert shown.exit_code == 0
    assert folder.name in shown.stdout
