"""Two processes: the bound of a mean rests on the batches of both, as if one process had seen them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from fitgate.store._evidence import WEIGHT
from tests.callbacks._mean_fit import fit


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both ranks have fitted, once for each case."""
    return tmp_path_factory.mktemp("ddp")


@pytest.fixture(scope="module")
def ranks(root: Path) -> list[dict[str, Any]]:
    """By rank, what the checks came to. Whoever waits for the other without end runs into the time limit."""
    top = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (top, top / "src", top / "callbacks"))), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("_mean_fit.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    files = [root / "rank0.json", root / "rank1.json"]
    assert all(file.exists() for file in files), done.stderr[-3000:]
    return [json.loads(file.read_text()) for file in files]


@pytest.mark.parametrize(
    ("name", "like", "n"),
    [
        ("even", "even", 24),
        ("all", "even", 24),
        ("two_loaders", "two_loaders", 24),
        ("padded", "padded", 21),
        ("none_on_one", "even", 24),
        ("alike", "even", 24),
        ("left_out", "even", 24),
    ],
)
def test_a_bound_rests_on_the_batches_of_both(ranks: list[dict[str, Any]], tmp_path: Path, name: str, like: str, n: int) -> None:
    """With the n and the width of one process over the same batches; what a sampler repeats, or gives to both alike, counts once."""
    zero, one = (rank[name] for rank in ranks)
    assert zero == one
    alone = fit(tmp_path, like, devices=1)
    assert zero["n"] == alone["n"] == n, zero["reason"]
    assert zero["bound"] - zero["value"] == pytest.approx(alone["bound"] - alone["value"], rel=1e-4)


def test_a_batch_that_repeats_some_of_its_samples_weighs_less(root: Path, ranks: list[dict[str, Any]]) -> None:
    """Twenty-three samples, twelve a rank, in batches of two: the last of rank 1 has one that was not seen, and one that was."""
    assert ranks[0]["partly"]["n"] == ranks[1]["partly"]["n"] == 23
    query = f"select max(value) from read_parquet('{root}/partly/*/validation/*.parquet') where name = 'mean{WEIGHT}'"  # noqa: S608 - a path of our own
    assert duckdb.execute(query).fetchall() == [(23.0,)]
