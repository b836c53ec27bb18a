"""run.json: read by every version that can, refused by those that can't."""

import json
import math
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import fitgate
from fitgate.store._run_file import FitFacts, RunInfo, read_run_info, write_run_info


def _json(tmp_path: Path, **changes: object) -> bytes:
    with fitgate.start_run(tmp_path) as run:
        pass
    content = json.loads((run.path / "run.json").read_bytes())
    return json.dumps({**content, **changes}).encode()


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    """On every level of the file."""
    attempt = {"number": 0, "started": "2026-11-23T08:40:01Z", "cluster": "x"}
    info = read_run_info(_json(tmp_path, mood="good", attempts=[attempt], fit={"global_step": 8, "weather": []}), "run.json")
    assert info.fit == FitFacts(global_step=8)
    assert info.attempts[0].number == 0


def test_a_later_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Even where its fields mean something else by then."""
    with pytest.raises(
        fitgate.StoreError, match=r"run.json is of format 2, and this version of fitgate reads formats up to 1; install a newer"
    ):
        read_run_info(_json(tmp_path, format=2, created=17, state=["new"]), "run.json")


@pytest.mark.parametrize("found", [0, -3])
def test_a_format_that_never_was_is_refused(tmp_path: Path, found: int) -> None:
    """Not taken for the first; no newer version would help."""
    with pytest.raises(fitgate.StoreError, match=rf"run.json is of format {found}, which there is not; .* reads format 1$"):
        read_run_info(_json(tmp_path, format=found), "run.json")


@pytest.mark.parametrize("run_id", ["../../etc", "..", "", ".hidden", "a/b", "a\\b", "a\x1b[2Jb", "a\nb"])
def test_an_id_that_no_folder_has_is_refused(tmp_path: Path, run_id: str) -> None:
    """It becomes part of paths, and is shown in terminals."""
    with pytest.raises(fitgate.StoreError, match=r"^some/run\.json can't be trusted: .* is no run's id"):
        read_run_info(_json(tmp_path, id=run_id), "some/run.json")


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, 10**30])
def test_a_number_beyond_all_counting_is_refused(tmp_path: Path, step: int) -> None:
    """No table has a place for such a step."""
    with pytest.raises(fitgate.StoreError, match=r"^run\.json can't be read: .*global_step"):
        read_run_info(_json(tmp_path, fit={"checkpoint": {"path": "a.ckpt", "global_step": step}}), "run.json")


@pytest.mark.parametrize("git", [{}, {"commit": 3}, {"commit": "x; rm -rf /"}, {"commit": "0123abcd", "dirty": "no"}])
def test_a_commit_that_is_none_is_refused(tmp_path: Path, git: dict[str, object]) -> None:
    """It is shown as a command to paste."""
    attempt = {"number": 0, "started": "2026-11-23T08:40:01Z"}
    with pytest.raises(fitgate.StoreError, match=r"^run\.json can't be trusted: attempt 0 has git"):
        read_run_info(_json(tmp_path, attempts=[{**attempt, "git": git}]), "run.json")
    known = {"commit": "0123abcd", "dirty": True}
    assert read_run_info(_json(tmp_path, attempts=[{**attempt, "git": known}]), "run.json").git == known


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"id": 3}', b'{"format": "x"}', b'{"hparams": ' + b"[" * 100_000])
def test_a_damaged_file_is_named(data: bytes) -> None:
    """One clear error."""
    with pytest.raises(fitgate.StoreError, match=r"some/run.json can't be read"):
        read_run_info(data, "some/run.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"created": "2026-11-23T08:40:01"},
        {"updated": "2026-11-23T08:40:01"},
        {"attempts": [{"number": 0, "started": "2026-11-23T08:40:01"}]},
        {"attempts": [{"number": 0, "started": "2026-11-23T08:40:01Z", "ended": "2026-11-23T08:40:01"}]},
        {"fit": {"ended": "2026-11-23T08:40:01"}},
    ],
)
def test_a_date_without_a_time_zone_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    """Nobody knows which instant it means, and it can't be compared with those that are known."""
    with pytest.raises(fitgate.StoreError, match=r"run\.json can't be read: .*timezone"):
        read_run_info(_json(tmp_path, **changes), "run.json")


@pytest.mark.parametrize("depth", [200, 900, 100_000])
def test_nesting_beyond_all_sense_is_one_error(tmp_path: Path, depth: int) -> None:
    """Also where the reader alone would bear it: hyperparameters are walked through and shown. Brackets in a text are none."""
    nested = _json(tmp_path, hparams={"x": "@"}).replace(b'"@"', b'{"a": [' * depth + b"]}" * depth)
    with pytest.raises(fitgate.StoreError, match=r"run\.json can't be read: .*nested"):
        read_run_info(nested, "run.json")
    brackets = '\\"[{' * depth
    assert read_run_info(_json(tmp_path, hparams={"x": brackets, "y": [[]] * 200}), "run.json").hparams["x"] == brackets


def test_half_a_character_is_written_as_its_escape(tmp_path: Path) -> None:
    """As in the name of a file that is no UTF-8; any JSON reader takes the file, and all else stands as it was."""
    now = datetime.now(UTC)
    fit = FitFacts(failed="OSError: \udcff.ckpt", limit_val_batches=0.5)
    info = RunInfo(id="r", name="caf\xe9", state="failed", created=now, updated=now, hparams={"\ud800": ["\udfff", 1, math.nan]}, fit=fit)
    write_run_info(tmp_path, info)
    written = json.loads((tmp_path / "run.json").read_bytes().decode())
    assert (written["fit"]["failed"], written["name"]) == ("OSError: \\udcff.ckpt", "caf\xe9")
    assert written["hparams"] == {"\\ud800": ["\\udfff", 1, None]}
    expected = replace(info, hparams=written["hparams"], fit=replace(fit, failed="OSError: \\udcff.ckpt"))
    assert read_run_info((tmp_path / "run.json").read_bytes(), "run.json") == expected


def test_asking_for_a_damaged_run_by_its_id_says_so(tmp_path: Path) -> None:
    """And not that there is no such run."""
    with fitgate.start_run(tmp_path) as run:
        pass
    (run.path / "run.json").write_text("{")
    with pytest.raises(fitgate.StoreError, match=r"run.json can't be read"):
        fitgate.Store(tmp_path).run(run.id)


def test_readers_see_a_whole_file_at_every_instant(tmp_path: Path) -> None:
    """While it is rewritten as quickly as possible."""
    now = datetime.now(UTC)
    info = RunInfo(id="r", name="r", state="running", created=now, updated=now, hparams={"text": "x" * 50_000})
    write_run_info(tmp_path, info)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            write_run_info(tmp_path, info)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(300):
            assert read_run_info((tmp_path / "run.json").read_bytes(), "run.json") == info
    finally:
        stop.set()
        writer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
