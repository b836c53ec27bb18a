"""Each example runs as it stands, from any folder."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import torch

import fitgate
from fitgate.gate import judge
from tests._process import run_script

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = {
    "digits.py": ["digits.py"],
    "digits_cli.py": ["digits_cli.py", "fit", "--config", "digits_cli.yaml"],
    "by_hand.py": ["by_hand.py"],
    "optuna_search.py": ["optuna_search.py"],
    "until_deployed.py": ["until_deployed.py"],
}
AS_A_USER_DOES = ("digits.py", "by_hand.py")  # started anew; for each other one Lightning needn't be loaded again

pytestmark = pytest.mark.timeout(300)


def _run(folder: Path, example: str) -> str:
    script, *arguments = [str(EXAMPLES / part) if part.endswith((".py", ".yaml")) else part for part in COMMANDS[example]]
    if example in AS_A_USER_DOES:
        done = subprocess.run([sys.executable, script, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    else:
        done = run_script(Path(script), *arguments, folder=folder, timeout_s=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_example_is_left_out() -> None:
    """Every script is run below, or imported by one that is."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(COMMANDS)


@pytest.mark.parametrize("example", ["digits.py", "digits_cli.py"])
def test_the_digits_net_is_recorded_judged_and_exported(example: str, tmp_path: Path) -> None:
    """Both callbacks on a Trainer, and the same from YAML: every step is there, and the version loads."""
    _run(tmp_path, example)
    query = "select name, count(*) from read_parquet('runs/*/metrics/*.parquet') group by name".replace("runs", str(tmp_path / "runs"))
    counts = dict(duckdb.execute(query).fetchall())
    assert counts == {"loss": 345, "train_loss": 345, "train_acc": 345, "val_loss": 15, "val_acc": 15}
    version = tmp_path / "deploy" / "digits" / "1"
    assert (version.parent / "CURRENT").exists()
    assert "net.0.weight" in torch.load(version / "model.ckpt", weights_only=True)["state_dict"]


def test_the_api_by_hand(tmp_path: Path) -> None:
    """No Lightning: fifty points of each metric, and the end of the example's own story."""
    text = _run(tmp_path, "by_hand.py")
    query = f"select name, count(*), last(value order by step) from read_parquet('{tmp_path}/runs/*/metrics/*.parquet') group by name order by name"  # noqa: S608 - a path of our own
    (loss, position) = duckdb.execute(query).fetchall()
    assert loss == ("loss", 50, pytest.approx((4 * 0.8**49) ** 2))
    assert position[:2] == ("position", 50)
    assert "50 points" in text
    assert text.splitlines()[-1] == "deploy"


def test_the_loop_ends_deployed(tmp_path: Path) -> None:
    """The first rounds fail their gate, the suggestions of their reports change the next, and the last is published."""
    text = _run(tmp_path, "until_deployed.py")
    assert "Deployed as version 1" in text
    states = [run.state for run in reversed(fitgate.Store(str(tmp_path / "runs")).runs())]
    assert len(states) > 1
    assert states == ["improve"] * (len(states) - 1) + ["deployed"]
    assert (tmp_path / "deploy" / "digits" / "CURRENT").exists()


def test_optuna_maximises_the_margin(tmp_path: Path) -> None:
    """Each trial is a run, and the best trial's margin is that of its decision."""
    text = _run(tmp_path, "optuna_search.py")
    runs = fitgate.Store(str(tmp_path / "runs")).runs()
    assert sorted(run.name for run in runs) == ["trial-0", "trial-1", "trial-2", "trial-3"]
    margins = [fitgate.margin(judge(run, ["val_acc >= 0.95", "val_loss <= 0.2"])) for run in runs]
    assert f"margin {max(margins):+.1%}" in text
