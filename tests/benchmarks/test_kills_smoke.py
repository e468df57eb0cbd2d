"""The kill test, with two kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


def test_killed_runs_equal_the_unbroken_one(tmp_path: Path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "--kills", "2", "--json", str(figures)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found["kills"] == 2 and found["differing"] == {} and found["compared"] > 100
