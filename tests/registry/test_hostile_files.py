"""Files that are not what they should be: links, pipes, absurd numbers, a damaged history, versions that are gone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fitgate import open_model
from fitgate.cli import app
from fitgate.errors import RegistryError
from fitgate.registry import (
    champion,
    live_content,
    promote,
    read_current,
    read_history,
    read_manifest,
    rollback,
    tidy,
    verify,
    version_numbers,
)
from fitgate.registry._manifest import encode_manifest

Release = Callable[..., int]


def _problems(model_dir: Path) -> dict[str, str]:
    return {problem.path: problem.what for problem in verify(model_dir).problems}


def test_a_damaged_history_stops_a_publisher_before_anything_is_published(release: Release, model_dir: Path) -> None:
    """No version without a line; told at the start too, and by verify."""
    release()
    (model_dir / "history.jsonl").write_text('{"what": "promote", "ver')
    with pytest.raises(RegistryError, match="fitgate promote"):
        release()
    assert version_numbers(model_dir) == (1,)
    with pytest.raises(RegistryError, match=r"history\.jsonl"):
        tidy(model_dir)
    assert set(_problems(model_dir)) == {"history.jsonl"}


def test_promote_begins_a_new_history_and_keeps_the_damaged_one(release: Release, model_dir: Path) -> None:
    """As it writes a damaged CURRENT anew; rollback points there."""
    release()
    release()
    (model_dir / "history.jsonl").write_bytes(b"\x00damaged")
    with pytest.raises(RegistryError, match="fitgate promote"):
        rollback(model_dir)
    promote(model_dir, 1)
    assert [(move.version, move.previous) for move in read_history(model_dir)] == [(2, 1), (1, 2)]
    (kept,) = model_dir.glob("history.jsonl.damaged-*")
    assert kept.read_bytes() == b"\x00damaged"
    assert verify(model_dir).problems == ()
    tidy(model_dir)
    assert release() == 3


def test_versions_that_are_gone_are_told(release: Release, model_dir: Path) -> None:
    """The history knows them; also where every one of them is gone."""
    for _ in range(3):
        release()
    shutil.rmtree(model_dir / "1")
    assert set(_problems(model_dir)) == {"1"}
    assert "gone" in _problems(model_dir)["1"]
    shutil.rmtree(model_dir / "2")
    shutil.rmtree(model_dir / "3")
    assert set(_problems(model_dir)) == {"1", "2", "3", "CURRENT"}


def test_links_are_not_what_was_published(release: Release, model_dir: Path, tmp_path: Path) -> None:
    """A version's folder, its manifest, CURRENT, the history: where a link leads may change."""
    release()
    release()
    (model_dir / "1").rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", model_dir / "1")
    (model_dir / "2" / "manifest.json").rename(tmp_path / "manifest.json")
    os.symlink(tmp_path / "manifest.json", model_dir / "2" / "manifest.json")
    found = _problems(model_dir)
    assert "is a link" in found["1/."]
    assert "is a link" in found["2/manifest.json"]
    with pytest.raises(RegistryError, match="is a link"):
        promote(model_dir, 1)
    with pytest.raises(RegistryError, match="is a link"):
        open_model(model_dir, version=1)
    for name in ("CURRENT", "history.jsonl"):
        (model_dir / name).rename(tmp_path / name)
        os.symlink(tmp_path / name, model_dir / name)
        assert "is a link" in _problems(model_dir)[name]


@pytest.mark.parametrize("name", ["1/manifest.json", "CURRENT", "history.jsonl", "1/model.bin", "config.pbtxt"])
def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(release: Release, model_dir: Path, name: str) -> None:
    """Whoever opened it to read would wait for a writer for good."""
    release(onnx=True)
    (model_dir / name).unlink()
    os.mkfifo(model_dir / name)
    code = f"import sys; from fitgate.cli import main; sys.argv[1:] = ['verify', {str(model_dir)!r}]; main()"
    done = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert name in done.stdout


@pytest.mark.parametrize("version", [0, -1, 10**9, 9_999_999_999])
def test_numbers_that_no_version_has_are_refused(release: Release, model_dir: Path, version: int) -> None:
    """A version whose number has too many digits would not be seen again: the live model would be gone."""
    release()
    current = json.loads((model_dir / "CURRENT").read_bytes())
    (model_dir / "history.jsonl").write_text(json.dumps({"what": "promote", "version": version}) + "\n")
    with pytest.raises(RegistryError, match=f"names version {version}"):
        read_history(model_dir)
    (model_dir / "CURRENT").write_text(json.dumps({**current, "version": version}))
    with pytest.raises(RegistryError, match=f"names version {version}"):
        read_current(model_dir)


def test_the_last_number_is_not_passed(release: Release, model_dir: Path) -> None:
    """Where no number is left, the start says so, and nothing is published."""
    release()
    (model_dir / "999999999").mkdir()
    with pytest.raises(RegistryError, match="999,999,999"):
        tidy(model_dir)
    with pytest.raises(RegistryError, match="999,999,999"):
        release()
    assert version_numbers(model_dir) == (1, 999_999_999)


def test_a_manifest_without_a_time_zone_is_refused(release: Release, model_dir: Path) -> None:
    """Even under a right digest; the list of models tells it of that one and shows the rest."""
    release()
    path = model_dir / "1" / "manifest.json"
    path.write_bytes(encode_manifest({**json.loads(path.read_bytes()), "created": "2026-11-23T08:40:01"}))
    with pytest.raises(RegistryError, match=r"manifest\.json can't be read: .*timezone"):
        read_manifest(model_dir / "1")
    done = CliRunner().invoke(app, ["models", str(model_dir.parent)])
    assert (done.exit_code, "timezone" in done.output) == (0, True), done.exception


@pytest.mark.parametrize(("name", "read"), [("CURRENT", read_current), ("history.jsonl", read_history)])
def test_nesting_beyond_all_sense_is_one_error(release: Release, model_dir: Path, name: str, read: Callable[[Path], object]) -> None:
    """Even under a key that nobody reads; told with what mends it."""
    release()
    (model_dir / name).write_bytes(b'{"later": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    with pytest.raises(RegistryError, match=rf"{name} can't be read: .*nest.*fitgate promote"):
        read(model_dir)


@pytest.mark.parametrize("depth", [200, 900])
def test_a_manifest_nested_beyond_all_sense_is_refused(release: Release, model_dir: Path, depth: int) -> None:
    """Before it is written again to compare."""
    release()
    path = model_dir / "1" / "manifest.json"
    path.write_bytes(b'{"later": ' + b"[" * depth + b"]" * depth + b"," + path.read_bytes().lstrip()[1:])
    with pytest.raises(RegistryError, match=r"manifest\.json can't be read: .*nest"):
        read_manifest(model_dir / "1")


@pytest.mark.parametrize("name", ["CURRENT", "history.jsonl", "1/manifest.json"])
def test_a_file_of_absurd_size_is_not_read(release: Release, model_dir: Path, name: str) -> None:
    """It would fill the memory; sparse, so that it takes no disk here. The largest that is read is 64 MiB."""
    release()
    readers: dict[str, Callable[[], object]] = {
        "CURRENT": lambda: read_current(model_dir),
        "history.jsonl": lambda: read_history(model_dir),
        "1/manifest.json": lambda: read_manifest(model_dir / "1"),
    }
    os.truncate(model_dir / name, 2**40)
    with pytest.raises(RegistryError, match=rf"{name} has 1,099,511,627,776 bytes, which it never has"):
        readers[name]()
    assert "which it never has" in _problems(model_dir)[name]
    os.truncate(model_dir / name, 64 * 2**20 + 1)
    with pytest.raises(RegistryError, match=r"67,108,865 bytes"):
        readers[name]()
    os.truncate(model_dir / name, 64 * 2**20)
    with pytest.raises(RegistryError, match="can't be read"):  # zeros are no JSON
        readers[name]()


def test_a_champion_with_another_manifest_is_none(release: Release, model_dir: Path) -> None:
    """Its numbers would decide who may replace it; one that carries its own right digest must be the one that went live, too."""
    release()
    path = model_dir / "1" / "manifest.json"
    path.write_bytes(encode_manifest({**json.loads(path.read_bytes()), "metrics": {"val_acc": 0.01}}))
    for read in (champion, live_content, open_model):
        with pytest.raises(RegistryError, match="another manifest"):
            read(model_dir)
