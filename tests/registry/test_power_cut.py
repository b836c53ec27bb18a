"""What survives a power cut: nothing is renamed into place before its bytes and names are on the disk."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitgate.registry import promote, rollback

Event = tuple[str, object]
Release = Callable[..., int]


def _identity(at: Any) -> tuple[int, int]:
    """Of a file or folder, by path or open handle: the same after it was renamed."""
    found = os.stat(at)
    return found.st_dev, found.st_ino


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """In order: `("synced", identity)` of what the system was asked to bring to the disk, `("renamed", path)` with the new name."""
    seen: list[Event] = []
    fsync = os.fsync

    def synced(handle: int) -> None:
        fsync(handle)
        seen.append(("synced", _identity(handle)))

    def renamed(rename: Callable[..., None]) -> Callable[..., None]:
        def rename_and_note(source: Any, target: Any, **options: Any) -> None:
            rename(source, target, **options)
            seen.append(("renamed", Path(target)))

        return rename_and_note

    monkeypatch.setattr(os, "fsync", synced)
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, renamed(getattr(os, name)))
    return seen


def _assert_moved_durably(events: list[Event], model_dir: Path, name: str) -> None:
    """The file's bytes were on the disk before it got its name, and the name afterwards, before anything else was renamed."""
    at = events.index(("renamed", model_dir / name))
    assert ("synced", _identity(model_dir / name)) in events[:at]
    later = next((index for index in range(at + 1, len(events)) if events[index][0] == "renamed"), len(events))
    assert ("synced", _identity(model_dir)) in events[at:later]


def test_a_version_is_on_the_disk_before_it_has_its_name_and_its_name_before_current_moves(
    events: list[Event], model_dir: Path, release: Release
) -> None:
    """Every file and folder in it, itself, and the names of the folders it lies in; then its own; then CURRENT, then history.jsonl."""
    release(onnx=True)
    version = model_dir / "1"
    named, live = (events.index(("renamed", model_dir / name)) for name in ("1", "CURRENT"))
    parts = [version, *version.rglob("*")]
    assert {"manifest.json", "model.bin", "extra", "words.txt"} <= {path.name for path in parts}
    for part in parts:
        assert ("synced", _identity(part)) in events[:named], part
    # A folder is on the disk with the names in it: the last one it got is that of the manifest.
    sealed = next(index for index, (what, path) in enumerate(events) if what == "renamed" and Path(str(path)).name == "manifest.json")
    assert ("synced", _identity(version / "manifest.json")) in events[:sealed]
    assert ("synced", _identity(version)) in events[sealed:named]
    assert named < live < events.index(("renamed", model_dir / "history.jsonl"))
    assert ("synced", _identity(model_dir)) in events[named:live]
    for above in (model_dir.parent, model_dir.parent.parent):  # neither the model's folder nor the deploy root was there before
        assert ("synced", _identity(above)) in events[:named]
    for name in ("CURRENT", "history.jsonl", "config.pbtxt"):
        _assert_moved_durably(events, model_dir, name)


@pytest.mark.parametrize("move", ["promote", "rollback"])
def test_a_move_by_hand_is_on_the_disk_once_it_returns(move: str, events: list[Event], model_dir: Path, release: Release) -> None:
    """CURRENT's bytes before its name, its name before the line in history.jsonl."""
    release(0.8)
    release(0.9)
    events.clear()
    if move == "promote":
        promote(model_dir, 1)
    else:
        rollback(model_dir)
    assert events.index(("renamed", model_dir / "CURRENT")) < events.index(("renamed", model_dir / "history.jsonl"))
    for name in ("CURRENT", "history.jsonl"):
        _assert_moved_durably(events, model_dir, name)
