"""verify finds any changed byte, an added file and a removed one."""

import hashlib
import json
import os
import random
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fitgate.cli import app
from fitgate.errors import RegistryError
from fitgate.registry import model, read_current, read_history, read_manifest, verify, version_numbers
from fitgate.registry._manifest import encode_manifest

Release = Callable[..., int]


def test_every_changed_byte_is_found(release: Release, model_dir: Path) -> None:
    """Each byte of each file of a version that is not live, the manifest's own included."""
    release()
    release()
    for path in sorted((model_dir / "1").rglob("*")):
        if path.is_dir():
            continue
        data = path.read_bytes()
        for index in range(len(data)):
            path.write_bytes(data[:index] + bytes([data[index] ^ random.Random(index).randint(1, 255)]) + data[index + 1 :])  # noqa: S311 - no secret
            problems = verify(model_dir).problems
            assert [p.path for p in problems] == [f"1/{path.relative_to(model_dir / '1').as_posix()}"], (path, index)
            assert problems[0].version == 1
        path.write_bytes(data)
    assert verify(model_dir).problems == ()


def test_added_and_removed_files_are_found(release: Release, model_dir: Path) -> None:
    """Files, hidden ones, folders, and links in the place of files."""
    release()
    folder = model_dir / "1"
    (folder / ".hidden").write_text("")
    (folder / "extra" / "more.txt").write_text("")
    (folder / "empty").mkdir()
    original = (folder / "model.bin").read_bytes()
    (model_dir.parent / "elsewhere").write_bytes(original)
    (folder / "model.bin").unlink()
    os.symlink(model_dir.parent / "elsewhere", folder / "model.bin")
    (folder / "extra" / "words.txt").unlink()
    found = {p.path: p.what for p in verify(model_dir).problems}
    assert set(found) == {"1/.hidden", "1/extra/more.txt", "1/empty", "1/model.bin", "1/extra/words.txt"}
    assert found["1/extra/words.txt"] == "is missing"
    assert "link" in found["1/model.bin"]


def test_what_current_names_must_be_what_was_published(release: Release, model_dir: Path) -> None:
    """A manifest replaced by another valid one, and a version that is gone."""
    release()
    release()
    content = json.loads((model_dir / "2" / "manifest.json").read_bytes())
    (model_dir / "2" / "manifest.json").write_bytes(encode_manifest({**content, "metrics": {"val_acc": 1.0}}))
    assert [p.path for p in verify(model_dir).problems] == ["CURRENT"]
    for path in sorted((model_dir / "2").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (model_dir / "2").rmdir()
    assert {p.path: p.what for p in verify(model_dir).problems} == {
        "CURRENT": "names version 2, which is not there",
        "2": "is gone: it was live once, by history.jsonl",
    }
    with pytest.raises(RegistryError, match="is a deploy root, which holds digits"):
        verify(model_dir.parent)


UNKNOWN = "is missing: how the versions went live is not known any more"


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["CURRENT"], {"CURRENT": "is missing: by history.jsonl version 2 went live; `fitgate promote {} 2` writes it anew"}),
        (["history.jsonl"], {"history.jsonl": f"{UNKNOWN}; `fitgate promote {{}} 2` begins a new one"}),
        (["CURRENT", "history.jsonl"], {"history.jsonl": f"{UNKNOWN}; `fitgate promote {{}} VERSION` begins a new one"}),
    ],
)
def test_what_stands_beside_the_versions_is_missed(release: Release, model_dir: Path, names: list[str], what: dict[str, str]) -> None:
    """CURRENT, the history, or both: no version is off then, and something was removed all the same."""
    release()
    release()
    for name in names:
        (model_dir / name).unlink()
    assert {p.path: p.what for p in verify(model_dir).problems} == {path: text.format(model_dir) for path, text in what.items()}
    done = CliRunner().invoke(app, ["verify", str(model_dir), "--json"])
    assert done.exit_code == 1
    assert {p["path"] for p in json.loads(done.stdout)["problems"]} == what.keys()
    assert (model(model_dir).problem is not None) is ("CURRENT" in names)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")], ids=["removed", "damaged"])
@pytest.mark.parametrize("name", ["CURRENT", "history.jsonl"])
def test_the_command_that_is_told_mends_it_as_it_stands(
    release: Release, model_dir: Path, tmp_path: Path, damage: Callable[[Path], object], name: str
) -> None:
    """Also where the folder's name has a space in it."""
    release()
    elsewhere = tmp_path / "my models" / "digits"
    shutil.copytree(model_dir, elsewhere)
    damage(elsewhere / name)
    (problem,) = verify(elsewhere).problems
    program, *arguments = shlex.split(problem.what.split("`")[1].replace("VERSION", "1"))
    assert program == "fitgate"
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert verify(elsewhere).problems == ()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"files": [{"path": "../../secret", "sha256": "0" * 64, "size": 1}]}, r"'\.\./\.\./secret' is not one inside"),
        ({"files": [{"path": "/etc/passwd", "sha256": "0" * 64, "size": 1}]}, "'/etc/passwd' is not one inside"),
        ({"files": [{"path": "a/./b", "sha256": "0" * 64, "size": 1}]}, "is not one inside"),
        ({"files": [{"path": "C:\\x", "sha256": "0" * 64, "size": 1}]}, "is not one inside"),
        ({"files": [{"path": "a", "sha256": "0" * 64, "size": -1}]}, "can't have -1 bytes"),
        ({"files": [{"path": "a", "sha256": "0" * 64, "size": 2**60}]}, "can't have"),
        ({"files": [{"path": "a", "sha256": "../../x", "size": 1}]}, "is no SHA-256"),
        ({"files": [{"path": "a", "sha256": "0" * 64, "size": 1}] * 2}, "not twice"),
        ({"files": []}, "lists 0 files"),
        ({"files": "model.bin"}, "Expected `array`, got `str` - at `\\$.files`"),
        ({"metrics": {"a": "high"}}, "at `\\$.metrics"),
        ({"source": []}, "Expected `object`, got `array` - at `\\$.source`"),
        ({"proof": []}, "Expected `object`, got `array` - at `\\$.proof`"),
        ({"format": 2}, "is of format 2; this version of fitgate reads format 1"),
    ],
)
def test_manifests_are_not_trusted(release: Release, model_dir: Path, change: dict[str, object], what: str) -> None:
    """Paths that lead out, absurd sizes, wrong types, other formats: one clear error, though their digests are right."""
    release()
    path = model_dir / "1" / "manifest.json"
    path.write_bytes(encode_manifest({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(RegistryError, match=what):
        read_manifest(path.parent)


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.sampled_from(["version", "files", "path", "what", "format"]) | st.text(), inner)
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(), _JSON.map(lambda value: json.dumps(value).encode())))
def test_readers_end_in_one_error(tmp_path: Path, data: bytes) -> None:
    """Whatever stands in CURRENT, history.jsonl or manifest.json: it is read, or RegistryError says what is wrong."""
    model_dir = tmp_path / "fuzz"
    (model_dir / "1").mkdir(parents=True, exist_ok=True)
    for path in (model_dir / "CURRENT", model_dir / "history.jsonl", model_dir / "1" / "manifest.json"):
        path.write_bytes(data)
    for reader in (read_current, read_history, lambda folder: read_manifest(folder / "1")):
        try:
            reader(model_dir)
        except RegistryError as error:
            assert str(model_dir) in str(error)
    assert all(problem.what for problem in verify(model_dir).problems)


def test_version_folders_are_numbers_as_we_write_them(tmp_path: Path) -> None:
    """Not 01, not 0, not another script's digits, not a file."""
    for name in ("1", "12", "01", "0", "٣", "-1", ".staging-1", "x"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("")
    assert version_numbers(tmp_path) == (1, 12)


def test_digests_are_sha256(release: Release, model_dir: Path) -> None:
    """As anyone can compute them; also the one in CURRENT."""
    release()
    manifest = json.loads((model_dir / "1" / "manifest.json").read_bytes())
    for entry in manifest["files"]:
        data = (model_dir / "1" / entry["path"]).read_bytes()
        assert (entry["sha256"], entry["size"]) == (hashlib.sha256(data).hexdigest(), len(data))
    current = json.loads((model_dir / "CURRENT").read_bytes())
    assert current["manifest_sha256"] == hashlib.sha256((model_dir / "1" / "manifest.json").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["CURRENT", "history.jsonl"])
@pytest.mark.parametrize("damage", [shutil.rmtree, lambda folder: (folder / "model.bin").write_bytes(b"another")], ids=["gone", "damaged"])
def test_no_version_is_told_to_promote_that_is_not_whole(
    release: Release, model_dir: Path, name: str, damage: Callable[[Path], object]
) -> None:
    """The one that was live last is off, too: any other may be named."""
    release()
    release()
    (model_dir / name).unlink()
    damage(model_dir / "2")
    told = {problem.path: problem.what for problem in verify(model_dir).problems}[name]
    assert f"`fitgate promote {model_dir} VERSION`" in told
