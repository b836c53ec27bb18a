"""Two processes: the bound of a mean rests on the batches of both, as if one process had seen them."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from fitgate.store._evidence import WEIGHT
from tests._process import run_on_two_ranks
from tests.callbacks import _mean_fit


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both ranks have fitted, once for each case."""
    return tmp_path_factory.mktemp("ddp")


@pytest.fixture(scope="module")
def ranks(root: Path) -> list[dict[str, Any]]:
    """By rank, what the checks came to. Whoever waits for the other without end runs into the time limit."""
    return run_on_two_ranks(_mean_fit.main, root, folder=root)


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
    alone = _mean_fit.fit(tmp_path, like, devices=1)
    assert zero["n"] == alone["n"] == n, zero["reason"]
    assert zero["bound"] - zero["value"] == pytest.approx(alone["bound"] - alone["value"], rel=1e-4)


def test_a_batch_that_repeats_some_of_its_samples_weighs_less(root: Path, ranks: list[dict[str, Any]]) -> None:
    """Twenty-three samples, twelve a rank, in batches of two: the last of rank 1 has one that was not seen, and one that was."""
    assert ranks[0]["partly"]["n"] == ranks[1]["partly"]["n"] == 23
    query = f"select max(value) from read_parquet('{root}/partly/*/validation/*.parquet') where name = 'mean{WEIGHT}'"  # noqa: S608 - a path of our own
    assert duckdb.execute(query).fetchall() == [(23.0,)]
