"""How long the command line takes before it computes, and that torch is not imported for it.

    python benchmarks/start_up.py [--quick] [--json FILE]

Each command runs in a process of its own, several times (``--quick``: once); reported is the quickest by
processor time and by the clock. ``dewedge import`` lists a folder of 12 tilt series of 41 images with their
tilt angles. ``python -c "import numpy"`` and ``import torch`` are there to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from comparison.machine import measured_on

from dewedge.io.mrc import write_mrc

REPEATS = 7
N_SERIES = 12
TILTS_DEG = np.arange(-60, 61, 3)

# Runs the command line as the console script does, and tells on the last line of stderr what it imported.
COMMAND = "\n".join(
    [
        "import sys",
        "from dewedge.cli import main",
        "status = main()",
        "print('torch' in sys.modules, file=sys.stderr)",
        "sys.exit(status)",
    ]
)


def timed(arguments: list[str], repeats: int) -> tuple[dict[str, float], str]:
    """Least processor time and time by the clock of a process, in seconds, and what it wrote to stderr."""
    cpu, wall, errors = [], [], ""
    for _ in range(repeats):
        start, used = time.perf_counter(), os.times()
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
        wall.append(time.perf_counter() - start)
        now = os.times()
        cpu.append(now.children_user + now.children_system - used.children_user - used.children_system)
        errors = done.stderr
    return {"cpu_s": round(min(cpu), 3), "wall_s": round(min(wall), 3)}, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="run each command once")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else REPEATS
    figures: dict[str, dict[str, float | bool]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(N_SERIES):
            stack = folder / f"series_{i:02d}.mrc"
            write_mrc(stack, np.ones((TILTS_DEG.size, 32, 32), np.float32), 10.0, stack=True)
            stack.with_suffix(".rawtlt").write_text("\n".join(map(str, TILTS_DEG)))
        verbs = (
            ["--help"],
            ["--version"],
            ["run", "--help"],
            ["import", name, "--axis-angle", "0", "-o", str(folder / "dataset.star"), "--overwrite"],
        )
        for verb in verbs:
            times, errors = timed(["-c", COMMAND, *verb], repeats)
            label = f"dewedge {verb[0]} FOLDER" if verb[0] == "import" else f"dewedge {' '.join(verb)}"
            figures[label] = {**times, "torch": errors.splitlines()[-1] == "True"}
    for module in ("numpy", "torch"):
        times, _ = timed(["-c", f"import {module}"], min(repeats, 3))
        figures[f"import {module}"] = {**times, "torch": module == "torch"}
    text = json.dumps({**measured_on(), "commands": figures}, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
