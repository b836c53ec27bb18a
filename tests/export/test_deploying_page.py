"""docs/deploying.md: its code runs, its commands are there, its names are those in the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from markdown_it import MarkdownIt

from fitgate.callbacks import GateCallback
from fitgate.cli import COMMANDS
from fitgate.export import ARTIFACT_METRICS, all_formats, publish, seal, stage

PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text()


def _blocks(language: str) -> list[str]:
    return [token.content for token in MarkdownIt().parse(PAGE) if token.type == "fence" and token.info == language]


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a deployed model called digits."""
    monkeypatch.chdir(tmp_path)
    net = torch.nn.Linear(4, 3)
    images = torch.randn(6, 4)
    formats = ["safetensors", "torch_export"]
    staged = stage({"state_dict": net.state_dict()}, Path("deploy/digits"), run_id="r", formats=formats, module=net, example_input=images)
    seal(staged, gate={"checks": []}, manifest={"metrics": {"val_acc": 0.9}, "source": {}})
    publish(staged, why="test")
    names: dict[str, Any] = {"GateCallback": GateCallback, "images": images}
    for block in _blocks("python"):
        exec(compile(block, "deploying.md", "exec"), names)  # noqa: S102 - our own page
    assert names["logits"].shape == (6, 3)


def test_it_names_what_there_is() -> None:
    """Formats with their files, what is measured, commands, files of a version."""
    assert dict(re.findall(r"^\| `(\w+)` \| (model\.\w+)", PAGE, flags=re.MULTILINE)) == {f.name: f.file for f in all_formats().values()}
    assert set(re.findall(r"`(artifact\.\w+)`", PAGE)) == set(ARTIFACT_METRICS)
    named = set(re.findall(r"^fitgate (\w+)", PAGE, flags=re.MULTILINE))
    assert named == {"models", "verify", "promote", "rollback"} <= {command.name for command in COMMANDS}
