"""What the README shows, run as it stands, in its order."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import pytorch_lightning as pl
import torch
from markdown_it import MarkdownIt
from torch.utils.data import DataLoader
from typer.testing import CliRunner

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback
from fitgate.cli import COMMANDS, app
from fitgate_callbacks.demo import DigitsNet, digits_loaders
from tests.compare.test_points import random_run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

pytestmark = pytest.mark.timeout(300)


def _blocks(language: str) -> list[str]:
    return [token.content for token in MarkdownIt().parse(README) if token.type == "fence" and token.info == language]


class Digits(pl.LightningDataModule):
    """The data of the README's reader."""

    def train_dataloader(self) -> DataLoader[Any]:
        return digits_loaders()[0]

    def val_dataloader(self) -> DataLoader[Any]:
        return digits_loaders()[1]


def _trainer(**options: Any) -> pl.Trainer:
    """A short fit that anything passes."""
    callbacks: list[Any] = [MetricsCallback("runs"), GateCallback(["val_acc >= 0"], dirpath="deploy", model_name="digits", **options)]
    return pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu", callbacks=callbacks)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where every Python block of the README has run, in one session."""
    folder = tmp_path_factory.mktemp("readme")
    pl.seed_everything(0, verbose=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many times quicker for a net this small
    data = Digits()
    names: dict[str, Any] = {"model": DigitsNet(), "data": data, "make_trainer": _trainer, "Net": lambda lr: DigitsNet(lr=lr)}
    names["images"] = digits_loaders()[1].dataset[:][0].numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("main", "wide", "narrow"):  # runs that the reader has, with names of their own
            with fitgate.start_run("runs", name=name) as run:
                run.log_metrics({"val_acc": 0.9, "val_loss": 0.3}, step=1)
        for block in _blocks("python"):
            if "open_model" in block:
                _trainer(formats=("torch_export",)).fit(DigitsNet(), datamodule=data)
            exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own page
    assert names["gate"].decision.verdict == "deploy"
    assert names["decision"].reasons == ("loss <= 0.3: got 0.35, misses by 0.05",)
    yield folder
    torch.set_num_threads(threads)


def test_the_python_of_the_readme_runs_and_leaves_what_it_says(folder: Path) -> None:
    """A recorded, judged and exported fit, and a run by hand; the comment on the reasons is true."""
    assert 'decision.reasons  # ("loss <= 0.3: got 0.35, misses by 0.05",)' in README
    assert {run.state for run in fitgate.Store(str(folder / "runs")).runs()} == {"deployed", "completed"}
    assert (folder / "deploy" / "digits" / "1" / "model.safetensors").exists()
    assert not (folder / "lightning_logs").exists()


@pytest.mark.parametrize("seed", range(3))
def test_the_view_of_the_points_that_count_is_what_metrics_gives(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs that were resumed, with several ranks, files and values that are not finite; a masked point counts in the plain query."""
    run = random_run(tmp_path / "runs", seed)
    (view,) = re.findall(r'duckdb\.sql\("""(.*?)"""\)', README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    connection = duckdb.connect()
    connection.execute(view)
    columns = ["name", "stage", "step", "attempt", "global_step", "value"]
    found = connection.sql(f"select {', '.join(columns)} from points order by name, stage, step").fetchall()  # noqa: S608 - columns of our own
    expected = [tuple(row[name] for name in columns) for row in run.metrics().to_pylist()]
    assert list(map(repr, found)) == list(map(repr, expected))
    rows = connection.sql("select 1 from 'runs/*/metrics/*.parquet' where rank = 0").fetchall()
    assert len(rows) > len(found)


def test_the_commands_of_the_readme_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of `fitgate …`, save TensorBoard, which would not end; each command is one that there is."""
    monkeypatch.chdir(folder)
    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, arguments: started.append([program, *arguments]))
    lines = [re.split(r"\s{2,}|\s#", line)[0] for block in _blocks("") for line in block.splitlines() if line.startswith("fitgate ")]
    named = {shlex.split(line)[1] for line in lines}
    assert (
        {"runs", "show", "gate", "report", "tensorboard", "models", "verify", "rollback"} <= named <= {command.name for command in COMMANDS}
    )
    # The run by hand is the latest here; a reader's is the one that was fitted and judged.
    fitted = next(run.id for run in fitgate.Store("runs").runs() if run.state == "deployed")
    for line in (line.replace("latest", fitted) if line == "fitgate gate latest" else line for line in lines):
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code in {0, 1}, (line, done.output)
        assert done.exception is None or isinstance(done.exception, SystemExit), line
    assert [arguments[0] for arguments in started] == [sys.executable]
    assert (folder / "report.html").exists()


def test_every_link_and_picture_of_the_pages_is_there() -> None:
    """Of README and CONTRIBUTING; relative ones."""
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            assert "://" in target or (ROOT / target).exists(), (page, target)


def test_every_make_target_of_the_pages_is_there() -> None:
    """`make demo` and the others."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:^|`)make ([a-z]+)(?=`|\s{2,})", (ROOT / page).read_text(), flags=re.MULTILINE))
        assert named
        assert named <= targets
