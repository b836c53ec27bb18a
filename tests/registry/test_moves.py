"""Publish, promote, roll back: what is live, and what is remembered."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitgate.errors import RegistryError
from fitgate.registry import champion, live_content, models, promote, read_current, read_history, rollback, verify

Release = Callable[..., int]


def _lines(model_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (model_dir / "history.jsonl").read_text().splitlines()]


def test_versions_count_up_and_the_newest_is_live(release: Release, model_dir: Path) -> None:
    """CURRENT names version, digest, previous and time; history has a line each."""
    assert [release(0.8), release(0.9, why="better"), release(0.95)] == [1, 2, 3]
    current = json.loads((model_dir / "CURRENT").read_bytes())
    assert (current["version"], current["previous"]) == (3, 2)
    assert len(current["manifest_sha256"]) == 64
    assert [(line["what"], line["version"], line["previous"]) for line in _lines(model_dir)] == [
        ("promote", 1, None),
        ("promote", 2, 1),
        ("promote", 3, 2),
    ]
    assert _lines(model_dir)[1]["why"] == "better"
    assert not verify(model_dir).problems
    live = champion(model_dir)
    assert live is not None
    assert live.metrics == {"val_acc": 0.95, "loss": 0.5}


def test_rollback_goes_back_step_by_step_and_is_remembered(release: Release, model_dir: Path) -> None:
    """3, then 2, then 1, then nothing more; a promote in between starts from there."""
    for accuracy in (0.8, 0.9, 0.95):
        release(accuracy)
    assert rollback(model_dir).version == 2
    assert rollback(model_dir).version == 1
    with pytest.raises(RegistryError, match=r"only the first is left, that of version 1; .* makes another one live: 2, 3"):
        rollback(model_dir)
    assert promote(model_dir, 3, why="fixed").previous == 1
    assert rollback(model_dir).version == 1
    assert [(line["what"], line["version"]) for line in _lines(model_dir)] == [
        ("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 2), ("rollback", 1), ("promote", 3), ("rollback", 1),
    ]  # fmt: skip
    live = champion(model_dir)
    assert live is not None
    assert live.metrics == {"val_acc": 0.8, "loss": 0.5}
    assert release(0.99) == 4


def test_the_only_version_has_nothing_to_go_back_to(release: Release, model_dir: Path) -> None:
    """And there is no other one to name."""
    release(0.8)
    with pytest.raises(RegistryError, match=r"only the first is left, that of version 1$"):
        rollback(model_dir)


def test_a_number_is_never_given_twice(release: Release, model_dir: Path) -> None:
    """Also where the newest version was removed by hand."""
    import shutil  # noqa: PLC0415 - for this test alone

    release()
    release()
    rollback(model_dir)
    shutil.rmtree(model_dir / "2")
    assert release() == 3


def test_only_whole_versions_go_live(release: Release, model_dir: Path) -> None:
    """Promote and rollback read every file first; the message says which one is off, and what is whole."""
    for accuracy in (0.8, 0.9, 0.95):
        release(accuracy)
    (model_dir / "2" / "model.bin").write_bytes(b"weights 0.8")
    with pytest.raises(RegistryError, match=r"model\.bin: has other bytes.*SHA-256|model\.bin: has .* bytes where"):
        promote(model_dir, 2)
    with pytest.raises(
        RegistryError, match=r"version 2, live before this one, is not what was published: model\.bin.*whole are 1, 3: fitgate promote"
    ):
        rollback(model_dir)
    shutil.move(model_dir / "2", model_dir.parent / "away")
    with pytest.raises(RegistryError, match=r"version 2, live before this one, is not there any more; whole are 1, 3: fitgate promote"):
        rollback(model_dir)
    shutil.move(model_dir.parent / "away", model_dir / "2")
    assert read_current(model_dir).version == 3  # type: ignore[union-attr]
    with pytest.raises(RegistryError, match="has no version 9; it has 1, 2, 3"):
        promote(model_dir, 9)
    with pytest.raises(RegistryError, match="other is no folder; expected a model's folder"):
        rollback(model_dir.parent / "other")
    (model_dir / "CURRENT").unlink()
    with pytest.raises(RegistryError, match="no live version to go back from"):
        rollback(model_dir)


def test_a_damaged_current_is_named_and_mended_by_promote(release: Release, model_dir: Path) -> None:
    """Not guessed at: the message says how to write it anew."""
    release()
    release()
    (model_dir / "CURRENT").write_text('{"version": "2"}')
    with pytest.raises(RegistryError, match=r"CURRENT can't be read: .*fitgate promote .* VERSION"):
        rollback(model_dir)
    assert [p.path for p in verify(model_dir).problems] == ["CURRENT"]
    assert promote(model_dir, 1).version == 1
    assert not verify(model_dir).problems


def test_the_line_that_a_killed_process_could_not_write_is_made_good(release: Release, model_dir: Path) -> None:
    """CURRENT moved and history.jsonl lags one line behind: the next move puts it in, and a rollback knows of it."""
    for _ in range(3):
        release()
    lines = (model_dir / "history.jsonl").read_text().splitlines(keepends=True)
    (model_dir / "history.jsonl").write_text("".join(lines[:-1]))
    assert rollback(model_dir).version == 2
    assert [move.version for move in read_history(model_dir)] == [1, 2, 3, 2]
    assert "stopped right after it" in read_history(model_dir)[2].why


def test_models_lists_everything_and_what_is_wrong(release: Release, model_dir: Path) -> None:
    """Versions with metrics and sizes, which one is live; a damaged one doesn't hide the others."""
    release(0.8)
    release(0.9)
    (model_dir / "1" / "manifest.json").write_text("{}")
    (model_dir.parent / "not-a-model").mkdir()
    (found,) = models(model_dir.parent)
    assert (found.name, found.live, [v.number for v in found.versions]) == ("digits", 2, [1, 2])
    assert found.versions[0].problem is not None
    two = found.versions[1]
    assert (two.live, dict(two.metrics), two.run_id) == (True, {"val_acc": 0.9, "loss": 0.5}, "run")
    assert dict(two.gated) == {"val_acc": 0.9}
    assert two.size == sum((model_dir / "2" / file).stat().st_size for file in two.files)
    with pytest.raises(RegistryError, match="there is no such folder"):
        models(model_dir / "nowhere")


def test_the_live_version_is_read_through_current(release: Release, model_dir: Path) -> None:
    """None where nothing is live; the manifest with its version and the keys that this version of fitgate doesn't know."""
    assert live_content(model_dir) is None
    release()
    release(0.95, later={"key": 1})
    content = live_content(model_dir)
    assert content is not None
    assert content == {**json.loads((model_dir / "2" / "manifest.json").read_bytes()), "version": 2}
    assert content["later"] == {"key": 1}
    (model_dir / "2" / "manifest.json").write_text("{")
    with pytest.raises(RegistryError, match="another manifest"):
        live_content(model_dir)
