"""The one door: what `make` says while it sets up, and that it says it once."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_setting_up_says_how_far_it_is_and_a_second_call_is_silent(tmp_path: Path) -> None:
    """In a folder with a space in its name; what would install is `true` here."""
    folder = tmp_path / "a folder"
    (folder / ".venv").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}

    def make() -> list[str]:
        command = ["make", "setup", "PYTHON=true", "PIP=true"]
        return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=True).stdout.splitlines()

    first = make()
    assert [line.split()[0] for line in first] == ["Setting", "1/4", "2/4", "3/4", "4/4"]
    assert "PyTorch" in first[2]
    assert make() in ([], ["make: Nothing to be done for 'setup'."])
