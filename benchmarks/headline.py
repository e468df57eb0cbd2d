"""How long is the whole job, from two half-tomograms of 464 x 928 x 928 voxels to the refined tomogram?

    python benchmarks/headline.py [--quick] [--budget 10min] [--structures FOLDER] [--json FILE]

The half-tomograms are tiled from four simulated specimens of 96 x 160 x 160 voxels in turn (those of the
comparison: tilts -60 to 60 by 2, SNR 1/4). `dewedge run` does the job; the log of the run tells where the
time goes. The scores are those of one specimen away from the sides, cut out of the result, beside those of a
run on that specimen alone with the budget of the comparison, 300 seconds of one core; its gold, which is
painted over in the half-sets, is given back to all of them first, as a run on the images does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison.machine import measured_on
from numpy.typing import NDArray

from dewedge.geometry import TiltRange
from dewedge.io.mrc import create_mrc, read_mrc
from dewedge.scores import evaluate

SHAPE_ZYX = (464, 928, 928)
QUICK_SHAPE_ZYX = (96, 320, 160)
SPECIMEN_ZYX = (96, 160, 160)
SEEDS = (51, 52, 53, 54)
VOXEL_SIZE_A = 10.0
TILT_RANGE = TiltRange(-60, 60)
ALONE_CORE_S = 300
STRUCTURES = Path(__file__).resolve().parents[2] / "shared" / "data" / "structures-10A"

Volume = NDArray[np.float32]


def dewedge(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "dewedge", *map(str, arguments)], check=True)


def simulate(folder: Path, seed: int, molecules: list[Path]) -> dict[str, Path]:
    """Half-sets, whole, truth and gold of one specimen."""
    dewedge(
        "simulate", "-o", folder, "--name", f"s{seed}", "--shape", *SPECIMEN_ZYX, "--tilt-step", 2,
        "--seed", seed, *[word for path in molecules for word in ("--molecule", path)],
    )  # fmt: skip
    full = folder / f"s{seed}_full.mrc"
    dewedge("reconstruct", folder / f"s{seed}.mrc", "--thickness", SPECIMEN_ZYX[0], "--halves", "-o", full)
    halves = {part: folder / f"s{seed}_full_{part}.mrc" for part in ("half0", "half1", "beads")}
    return {"full": full, "truth": folder / f"s{seed}_truth.mrc", **halves}


def tile(path: Path, parts: list[Volume], shape: tuple[int, int, int]) -> None:
    """Fill a volume with copies of ``parts`` in turn, cut at its ends."""
    with create_mrc(path, shape, VOXEL_SIZE_A) as writer:
        starts = [range(0, n, step) for n, step in zip(shape, SPECIMEN_ZYX, strict=True)]
        for number, (z, y, x) in enumerate(
            (z, y, x) for z in starts[0] for y in starts[1] for x in starts[2]
        ):
            target = writer.data[z : z + SPECIMEN_ZYX[0], y : y + SPECIMEN_ZYX[1], x : x + SPECIMEN_ZYX[2]]
            target[...] = parts[number % len(parts)][tuple(slice(n) for n in target.shape)]


def run(folder: Path, files: dict[str, Path], budget: str) -> tuple[float, dict[str, float]]:
    """Wall-clock seconds of a run, and those of its steps by its log."""
    start = time.perf_counter()
    dewedge(
        "run", "--half0", files["half0"], "--half1", files["half1"], "--full", files["full"],
        "--tilt-range", *TILT_RANGE[:2], "-o", folder, "--budget", budget, "--overwrite",
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return seconds, steps(folder / "dewedge.log")


def steps(log: Path) -> dict[str, float]:
    """Seconds of each step that a log records."""
    found: dict[str, float] = {}
    for name, clock in re.findall(r"(\w+): ([\d:.]+) (?:s|min|h), peak memory", log.read_text()):
        seconds = 0.0
        for part in clock.split(":"):
            seconds = 60 * seconds + float(part)
        found[name] = found.get(name, 0.0) + seconds
    return found


def scored(estimate: Volume, truth: Volume) -> dict[str, Any]:
    return evaluate(estimate, truth, TILT_RANGE, VOXEL_SIZE_A).as_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small volume, half a minute of fit")
    parser.add_argument("--budget", help="of the fit; 10min if not given")
    parser.add_argument("--structures", type=Path, default=STRUCTURES, help="density maps of the molecules")
    parser.add_argument("--folder", type=Path, help="where the volumes go; 10 GB")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    shape = QUICK_SHAPE_ZYX if arguments.quick else SHAPE_ZYX
    budget = arguments.budget or ("30s" if arguments.quick else "10min")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        molecules = sorted(arguments.structures.glob("*.mrc"))
        specimens = [simulate(folder, seed, molecules) for seed in SEEDS]
        large = {}
        for kind in ("half0", "half1", "full"):
            large[kind] = folder / f"large_{kind}.mrc"
            tile(large[kind], [np.asarray(read_mrc(files[kind]).data) for files in specimens], shape)
        seconds, by_step = run(folder / "large", large, budget)
        # The last specimen that lies whole within the volume, but for those at its beginning.
        counts = [n // step for n, step in zip(shape, SPECIMEN_ZYX, strict=True)]
        place = [max(0, count - 2) for count in counts]
        per_axis = [-(-n // step) for n, step in zip(shape, SPECIMEN_ZYX, strict=True)]
        number = (place[0] * per_axis[1] + place[1]) * per_axis[2] + place[2]
        files = specimens[number % len(specimens)]
        truth, gold = (np.asarray(read_mrc(files[kind]).data) for kind in ("truth", "beads"))
        begin = [p * step for p, step in zip(place, SPECIMEN_ZYX, strict=True)]
        box = tuple(slice(b, b + n) for b, n in zip(begin, SPECIMEN_ZYX, strict=True))
        refined = np.array(read_mrc(folder / "large" / "refined.mrc").data[box])
        alone_budget = budget if arguments.quick else f"{ALONE_CORE_S / torch.get_num_threads()}s"
        alone_s, _ = run(folder / "alone", files, alone_budget)
        alone = np.asarray(read_mrc(folder / "alone" / "refined.mrc").data)
        figures = {
            "shape_zyx": shape,
            "budget": budget,
            **measured_on(),
            "cores": os.cpu_count(),
            "seconds": round(seconds, 1),
            "steps_s": by_step,
            "fbp": scored(np.asarray(read_mrc(files["full"]).data) + gold, truth),
            "large": scored(refined + gold, truth),
            "alone": scored(alone + gold, truth) | {"budget": alone_budget, "seconds": round(alone_s, 1)},
        }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
