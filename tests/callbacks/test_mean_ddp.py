"""Two processes: the bound of a mean rests on the batches of both, as if one process had seen them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.callbacks._mean_fit import fit


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """By rank, what the checks came to. Whoever waits for the other without end runs into the time limit."""
    root = tmp_path_factory.mktemp("ddp")
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


def test_a_batch_that_repeats_some_of_its_samples_weighs_less(ranks: list[dict[str, Any]]) -> None:
    """Twenty-one samples in batches of two: the last of rank 1 has one that was seen, and one that was not."""
    assert ranks[0]["partly"]["n"] == ranks[1]["partly"]["n"] == 21
