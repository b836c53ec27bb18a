"""The list of written checkpoints: it knows a file again, and only that."""

import os
from pathlib import Path

import fsspec

from fitgate.store._checkpoints import WrittenCheckpoint, located, mark_of, settled, written_at


def _written(path: str, mark: str | None) -> WrittenCheckpoint:
    return WrittenCheckpoint(path=located(path), global_step=5, attempt=0, mark=mark)


def test_the_same_file_by_any_path(tmp_path: Path) -> None:
    """Through a link, and relative to where one stands."""
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"weights")
    (tmp_path / "last.ckpt").symlink_to(path)
    known = [_written(str(path), mark_of(str(path)))]
    assert written_at(known, str(tmp_path / "last.ckpt")) == known[0]
    assert written_at(known, os.path.relpath(path)) == known[0]


def test_another_file_in_its_place(tmp_path: Path) -> None:
    """Of the same size, or gone, or written again: not the one that is known."""
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"weights")
    known = [_written(str(path), mark_of(str(path)))]
    other = tmp_path / "other.ckpt"
    other.write_bytes(b"WEIGHTS")
    stat = path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    other.replace(path)
    assert written_at(known, str(path)) is None
    path.unlink()
    assert written_at(known, str(path)) is None


def test_a_file_that_is_being_written_is_not_known_yet(tmp_path: Path) -> None:
    """Only once writers are done, and only what this attempt wrote."""
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"weights")
    known = (_written(str(path), None),)
    assert written_at(known, str(path)) is None
    assert written_at(settled(known, 1), str(path)) is None
    assert written_at(settled(known, 0), str(path)) is not None


def test_a_file_at_a_url() -> None:
    """A remote file system says itself whether a file is the same."""
    url = "memory://checkpoints/best.ckpt"
    with fsspec.open(url, "wb") as file:
        file.write(b"weights")
    known = [_written(url, mark_of(url))]
    assert written_at(known, url) == known[0]
    with fsspec.open(url, "wb") as file:
        file.write(b"other weights")
    assert written_at(known, url) is None
    assert mark_of("memory://checkpoints/none.ckpt") is None
    assert mark_of("nosuch://checkpoints/none.ckpt") is None
