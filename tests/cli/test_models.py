"""`fitgate models`, `verify`, `promote` and `rollback`."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.registry._versions import publish_version


@pytest.fixture
def told(invoke: Any) -> Any:
    """Run a command that must end with this exit code; what it wrote to standard output, or to standard error where it fails so."""

    def run(*arguments: object, code: int = 0) -> str:
        done = invoke(*arguments)
        assert done.exit_code == code, done.output
        text: str = done.stderr if code == 2 else done.stdout
        return text

    return run


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """Two models: one with three versions, one with one."""
    for accuracy in (0.8, 0.9, 0.95):
        publish_version(tmp_path / "deploy" / "digits", accuracy)
    publish_version(tmp_path / "deploy" / "letters", 0.7)
    return tmp_path / "deploy"


def test_models_shows_versions_metrics_and_what_is_live(deploy: Path, told: Any) -> None:
    """The newest first, each on a line, the live one marked; only metrics that were gated."""
    lines = [line.split() for line in told("models", deploy).splitlines() if line.strip()]
    assert lines[0][:5] == ["digits", "version", "3", "is", "live"]
    assert [line[:2] for line in lines[2:5]] == [["live", "3"], ["2", "0"], ["1", "0"]]
    assert lines[2][-3:] == ["run", "val_acc", "0.95"]
    assert lines[5][:5] == ["letters", "version", "1", "is", "live"]


@pytest.mark.parametrize("columns", [40, 50, 60, 80, 90, 100, 120, 160])
def test_no_word_of_a_version_is_broken_at_any_width(deploy: Path, told: Any, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's id is there to be copied; nothing else goes beyond the terminal's edge but a path."""
    monkeypatch.setattr("fitgate.cli._common.PIPED_WIDTH", 1)
    monkeypatch.setenv("COLUMNS", str(columns))
    metrics = {"val_acc": 0.95, "val_loss": 0.123456, "val_f1_of_the_rarest_class": 0.87654}
    run_id = "digits-20261125-143354-mindful-bittern"
    checks = [{"metric": name} for name in metrics]
    publish_version(deploy / "digits", metrics=metrics, checks=checks, source={"run_id": run_id})
    lines = told("models", deploy).splitlines()
    for word in (run_id, "val_acc 0.95", "val_loss 0.1235", "val_f1_of_the_rarest_class"):
        assert word in " ".join(" ".join(lines).split()), word
    assert any(run_id in line for line in lines)
    assert all(len(line.rstrip()) <= max(columns, 9 + len(run_id)) for line in lines if str(deploy) not in line)


def test_models_as_json_is_what_the_manifests_say(deploy: Path, told: Any) -> None:
    """Every version with all its metrics and files."""
    digits, letters = json.loads(told("models", deploy, "--json"))
    assert (digits["name"], digits["live"], digits["path"]) == ("digits", 3, str(deploy / "digits"))
    assert [version["live"] for version in digits["versions"]] == [False, False, True]
    for version in digits["versions"]:
        manifest = json.loads((deploy / "digits" / str(version["version"]) / "manifest.json").read_bytes())
        assert version["metrics"] == manifest["metrics"]
        assert version["created"] == manifest["created"]
        assert version["files"] == [entry["path"] for entry in manifest["files"]]
        assert version["size"] == sum(entry["size"] for entry in manifest["files"])
    assert [version["version"] for version in letters["versions"]] == [1]


def test_models_names_what_it_can_not_read(deploy: Path, told: Any) -> None:
    """A damaged manifest and a damaged CURRENT, beside all else; no such folder is wrong use; an empty one is empty."""
    (deploy / "digits" / "2" / "manifest.json").write_text("{")
    (deploy / "letters" / "CURRENT").write_text("[]")
    text = " ".join(told("models", deploy).split())
    assert "2/manifest.json can't be read" in text
    assert "letters no version is live" in text
    assert "CURRENT can't be read" in text
    assert "val_acc 0.8" in text
    assert told("models", deploy / "none", code=2).startswith(
        f"fitgate: no models are deployed in '{deploy / 'none'}': there is no such folder; GateCallback makes it"
    )
    (deploy / "digits" / "nothing").mkdir()
    assert "No models in" in told("models", deploy / "digits" / "nothing")


def test_verify_says_which_file_is_off(deploy: Path, told: Any) -> None:
    """Exit 0 while all is as published; 1 with the file's name for a changed byte, an added file and a removed one; 2 for no model."""
    model = deploy / "digits"
    assert told("verify", model) == "9 files in 3 versions of digits: all as published.\n"
    assert json.loads(told("verify", model, "--json")) == {"model": "digits", "versions": [1, 2, 3], "files": 9, "problems": []}
    (model / "1" / "model.bin").write_bytes(b"weights 0.9")
    (model / "2" / "added").write_text("")
    (model / "3" / "extra" / "words.txt").unlink()
    found = told("verify", model, code=1)
    assert "1/model.bin: has other bytes than were published (SHA-256 differs)" in found
    assert "2/added: is not in the manifest: it was added later" in found
    assert "3/extra/words.txt: is missing" in found
    problems = json.loads(told("verify", model, "--json", code=1))["problems"]
    assert [(problem["version"], problem["path"]) for problem in problems] == [(1, "1/model.bin"), (2, "2/added"), (3, "3/extra/words.txt")]


@pytest.mark.parametrize("command", ["verify", "rollback", "promote"])
def test_a_folder_of_another_kind_is_told_with_the_command_for_it(command: str, deploy: Path, root: Path, told: Any) -> None:
    """A deploy root, one version, a store and nothing of ours, where a model's folder is expected."""
    more = ["1"] if command == "promote" else []
    for folder, what in {
        deploy: f"is a deploy root, which holds digits, letters: fitgate models {deploy}, or fitgate verify {deploy / 'digits'}",
        deploy / "digits" / "1": f"is one version of a model: fitgate verify {deploy / 'digits'}",
        root: f"is a store of runs: fitgate runs {root}",
        deploy / "digits" / "1" / "extra": "holds no versions; expected a model's folder, DIRPATH/MODEL_NAME, into which GateCallback "
        "publishes a model that passes its thresholds",
        deploy / "nowhere": "is no folder; expected a model's folder: GateCallback makes DIRPATH/MODEL_NAME when a model passes its "
        "thresholds, and `fitgate models DIRPATH` lists those there are",
    }.items():
        assert told(command, folder, *more, code=2) == f"fitgate: {folder} {what}\n"


def test_models_of_a_store_of_runs_says_which_command_is_meant(deploy: Path, root: Path, told: Any) -> None:
    """And of one model's folder."""
    assert told("models", root, code=2) == f"fitgate: there are no models in {root}: {root} is a store of runs: fitgate runs {root}\n"
    digits = deploy / "digits"
    assert f"is a model's folder: fitgate verify {digits}, or fitgate models {deploy}" in told("models", digits, "--json", code=2)


def test_promoting_what_is_live_changes_nothing(deploy: Path, told: Any) -> None:
    """No line in the history, and what was live before it is still known."""
    model = deploy / "digits"
    before = {path: path.read_bytes() for path in model.iterdir() if path.is_file()}
    assert told("promote", model, "3") == f"{model}: version 3 was live already: its files are whole, and nothing has changed.\n"
    assert {path: path.read_bytes() for path in model.iterdir() if path.is_file()} == before
    (model / "history.jsonl").write_text("{")
    assert told("promote", model, "3") == f"{model}: version 3 is live; before it was 2.\n"
    assert told("verify", model).endswith("all as published.\n")


def test_promote_as_json_is_what_current_says(deploy: Path, told: Any) -> None:
    """One JSON document, equal to the file, whether something moved or was live already; what can't be done prints none."""
    model = deploy / "digits"
    moved = json.loads(told("promote", model, "1", "--json"))
    assert moved == json.loads((model / "CURRENT").read_bytes())
    assert (moved["version"], moved["previous"]) == (1, 3)
    assert moved["manifest_sha256"] == hashlib.sha256((model / "1" / "manifest.json").read_bytes()).hexdigest()
    assert json.loads(told("promote", model, "1", "--json")) == moved
    assert told("promote", model, "9", "--json", code=2) == f"fitgate: {model} has no version 9; it has 1, 2, 3\n"
    assert json.loads((model / "CURRENT").read_bytes()) == moved


def test_promote_and_rollback_move_current(deploy: Path, told: Any) -> None:
    """With the reason in the history; what can't be done is wrong use, and changes nothing."""
    model = deploy / "digits"
    assert told("promote", model, "1", "--why", "wet roads") == f"{model}: version 1 is live; before it was 3.\n"
    assert json.loads((model / "history.jsonl").read_text().splitlines()[-1])["why"] == "wet roads"
    moved = json.loads(told("rollback", model, "--json"))
    assert moved == json.loads((model / "CURRENT").read_bytes())
    assert (moved["version"], moved["previous"]) == (3, 1)
    assert told("rollback", model) == f"{model}: version 2 is live; before it was 3.\n"
    assert "has no version 9; it has 1, 2, 3" in told("promote", model, "9", code=2)
    for words in ("two", "1.0", ""):
        told_of = told("promote", model, words, code=2)
        assert told_of == f"fitgate: {model} has no version {words!r}; a version is a whole number; it has 1, 2, 3\n"
    (model / "1" / "model.bin").write_bytes(b"")
    assert "1 is not what was published: model.bin" in told("promote", model, "1", code=2)
    assert "is not what was published: model.bin" in told("rollback", model, code=2)
    assert json.loads((model / "CURRENT").read_bytes())["version"] == 2
