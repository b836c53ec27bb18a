"""`kill -9` at any instant: what a plain Parquet reader finds is whole and complete."""

import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).with_name("kill_storm.py")


def _storm(root: Path, kills: int, seed: int, timeout_s: float) -> None:
    command = [sys.executable, str(STORM), str(root), str(kills), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    assert done.returncode == 0, done.stderr
    killed, promised = map(int, done.stdout.split())
    assert killed == kills
    assert promised > 0, "some lives were long enough for points that had to be there"


def test_a_dozen_kills(tmp_path: Path) -> None:
    """Runs killed and resumed: files whole, no point twice or gone, none missing that is older than promised."""
    _storm(tmp_path, kills=12, seed=1, timeout_s=110)


@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_two_hundred_kills(tmp_path: Path, seed: int) -> None:
    """The same, fifty times four."""
    _storm(tmp_path, kills=50, seed=100 + seed, timeout_s=1700)
