"""A store that is no folder: any fsspec URL."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

RUN = "net-20261123-090000-sad-fox"


@pytest.fixture
def url(root: Path) -> Iterator[str]:
    """The store of the other tests, in fsspec's memory file system."""
    memory = fsspec.filesystem("memory")
    memory.put(str(root), "/fitgate-runs", recursive=True)
    yield "memory://fitgate-runs"
    memory.rm("/fitgate-runs", recursive=True)


def test_reading_commands_say_the_same_of_a_remote_store(root: Path, url: str, invoke: Any) -> None:
    """Save for the place where it lies."""
    listed, remote = (json.loads(invoke("runs", where, "--json").stdout) for where in (root, url))
    assert [{**run, "path": ""} for run in remote] == [{**run, "path": ""} for run in listed]
    for command in (["show", RUN, "--json"], ["gate", RUN, "-t", "val_acc >= 0.95", "--json"]):
        here, there = (json.loads(invoke(*command, "--root", where).stdout) for where in (root, url))
        assert {**here, "path": ""} == {**there, "path": ""}
    assert invoke("show", RUN, "--root", url).exit_code == 0
    assert json.loads(invoke("report", RUN, "--root", url, "--json").stdout)["verdict"] == "improve"


def test_event_files_are_remade_in_a_folder_only(url: str, invoke: Any) -> None:
    """One clear line."""
    done = invoke("tensorboard", url, "--rebuild")
    assert done.exit_code == 2
    assert "local store only" in done.stderr
