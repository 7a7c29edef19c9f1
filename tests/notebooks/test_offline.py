"""``scripts/offline.py`` before there is anything to pack."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_without_a_run_it_says_what_is_missing_and_writes_nothing(tmp_path):
    command = [sys.executable, "scripts/offline.py", "--data-root", tmp_path / "empty", "--output", tmp_path / "out"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "there is no submission.final.cascade" in done.stderr
    assert "kedro run" in done.stderr
    assert list(tmp_path.iterdir()) == []
