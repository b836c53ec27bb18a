"""What the store does to the disk, cut short at every system call."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SWEEP = Path(__file__).with_name("fault_sweep.py")
MEMORY = "/dev/shm"  # noqa: S108 - a thousand small runs; what a killed process leaves is the same on a disk in memory


@pytest.mark.parametrize(
    "scenario",
    ["flush", "close", "run_file", "seal", "resume", pytest.param("late", marks=pytest.mark.stress)],
)
@pytest.mark.timeout(300)
def test_cut_short_at_every_system_call(scenario: str) -> None:
    """Killed in and after each call, or told that the disk is full: no point twice, none gone, run.json whole."""
    with tempfile.TemporaryDirectory(dir=MEMORY if Path(MEMORY).is_dir() else None) as root:
        done = subprocess.run([sys.executable, str(SWEEP), root, scenario], capture_output=True, text=True, check=False, timeout=280)
        assert done.returncode == 0, done.stderr[-3000:]
        calls, tried = map(int, done.stdout.split())
        assert tried > 2 * calls > 0
