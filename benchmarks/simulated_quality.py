"""Does a run with a given budget beat the noise-free reconstruction of the same series?

    python benchmarks/simulated_quality.py [--quick] [--budget 10min] [--json FILE]

Specimens of 96 x 160 x 160 voxels at 10 A, tilts -60 to 60 by 3, SNR 1/4. Each is simulated, run, and scored
by the commands a user would type: `simulate`, `run`, `reconstruct` (of the series without noise), `evaluate`.
A row of the result is one volume of one specimen.
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
from typing import Any

from comparison.machine import machine

SPECIMENS = {
    "built-in 21": ["--seed", "21"],
    "built-in 22": ["--seed", "22"],
    "vesicles 23": ["--seed", "23", "--membranes", "4", "--particles", "40"],
    "crowded 24": ["--seed", "24", "--membranes", "0", "--gold", "0", "--particles", "250"],
}


def dewedge(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "dewedge", *map(str, arguments)], check=True)


def measure(name: str, options: list[str], budget: str, folder: Path) -> list[dict[str, Any]]:
    """Rows for the specimen: the FBP, the noise-free FBP, and what the run made of the former."""
    data, run, clean = folder / "data", folder / "run", folder / "noise_free.mrc"
    dewedge("simulate", "-o", data, "--name", "s", "--shape", 96, 160, 160, *options)
    start = time.perf_counter()
    dewedge("run", data / "s.mrc", "--thickness", 96, "-o", run, "--budget", budget)
    seconds = time.perf_counter() - start
    dewedge("reconstruct", data / "s_clean.mrc", "--angles", data / "s.tlt", "--thickness", 96, "-o", clean)
    volumes = {"fbp": run / "full.mrc", "noise-free fbp": clean, "dewedge": run / "refined.mrc"}
    scores = folder / "scores.json"
    truth, particles = data / "s_truth.mrc", data / "s_particles.star"
    dewedge(
        "evaluate", *volumes.values(), "--truth", truth, "--particles", particles,
        "--tilt-range", -60, 60, "--json", scores,
    )  # fmt: skip
    measured = json.loads(scores.read_text())
    return [
        {"specimen": name, "method": method, "seconds": round(seconds, 1), **measured[str(path)]}
        for method, path in volumes.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one specimen, half a minute")
    parser.add_argument("--budget", default="10min", help="of the fit")
    parser.add_argument("--specimen", action="append", choices=SPECIMENS, help="repeat for more")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    names = ["built-in 21"] if arguments.quick else arguments.specimen or list(SPECIMENS)
    budget = "30s" if arguments.quick else arguments.budget
    rows: list[dict[str, Any]] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(name, SPECIMENS[name], budget, Path(folder))
        figures = {"budget": budget, "cores": os.cpu_count(), "machine": machine(), "rows": rows}
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
