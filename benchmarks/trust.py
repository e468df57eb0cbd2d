"""Is what `dewedge trust` estimates true? Held against specimens whose truth is known, fits good and bad.

    python benchmarks/trust.py run [--data FOLDER] [--json FILE] [--case NAME ...] [--seeds 1 2]
    python benchmarks/trust.py report [--json FILE] [--docs FOLDER]

A case is a realistic specimen (`dewedge simulate --realistic`, 100 x 220 x 220 voxels of 20 A), an exposure
and a fit. Each runs as a user would run it, in a process of one thread; then the correlation of the refined
tomogram with the truth inside the wedge is measured as `dewedge trust` means it. Rows that are there are not
computed again, and runs that lie in the data folder are only judged again. ``report`` draws the estimates
against the truth; `python benchmarks/notebook.py` writes the table of docs/notebook/trust.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from comparison.machine import measured_on
from notebook_tables.calibration import told

from dewedge.geometry import TiltRange
from dewedge.io.angles import read_tilt_angles
from dewedge.io.files import write_text_atomic
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.particles import read_particles
from dewedge.learn.extra_wedge import inside_cut
from dewedge.pipeline.trust.wedge import EDGES
from dewedge.scores.spectra import listed, parted_by_wedge, shell_sums, tapered_spectrum
from dewedge.simulate.gold import Beads, bead_mask

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "trust.json"
DOCS = ROOT / "docs" / "notebook"
SHAPE_ZYX = (100, 220, 220)
GOLD_MARGIN_A = 60.0
# Of a fit as long as those of the comparison, of one that has learnt next to nothing, and of one that has
# seen a tenth of the specimen all too often.
LONG, SHORT = ("--epochs", "20"), ("--epochs", "1")
OVER = ("--epochs", "60", "--held-out", "0", "--patience", "none")
PUBLISHED = ("--recipe", "deepdewedge", "--preset", "default", "--optimiser", "muon",
             "--learning-rate", "0.003", "--cube-size", "48", "--batch-size", "4",
             "--epochs", "20")  # fmt: skip
TENTH = 70  # edge of that part in voxels


@dataclass(frozen=True)
class Case:
    """A specimen and a fit.

    Parameters
    ----------
    specimen
        Flags of `dewedge simulate --realistic`.
    fit
        Flags of `dewedge run`.
    bad
        Whether the estimate must be low, or none: the fit or its input is wrong.
    stretch
        Factor by which the tilt angles given to the run are wrong.
    of_part
        Whether the fit sees a corner of `TENTH` voxels alone.
    """

    specimen: tuple[str, ...]
    fit: tuple[str, ...] = LONG
    bad: bool = False
    stretch: float = 1.0
    of_part: bool = False


CASES = {
    **{
        f"{kind}, {exposure:g} e/A2": Case(("--specimen", kind, "--exposure", str(exposure)))
        for kind in ("cell", "lamella", "purified")
        for exposure in (3.0, 1.0, 6.0)
    },
    **{
        f"{kind}, short fit": Case(("--specimen", kind), SHORT, bad=True)
        for kind in ("cell", "lamella", "purified")
    },
    **{
        f"{kind}, over-fitted": Case(("--specimen", kind), OVER, bad=True, of_part=True)
        for kind in ("cell", "purified")
    },
    "purified, few particles": Case(("--specimen", "purified", "--particles", "8", "--membranes", "0")),
    "purified, one particle": Case(("--specimen", "purified", "--particles", "1", "--membranes", "0")),
    "cell, angles 15 % too small": Case(("--specimen", "cell"), bad=True, stretch=0.85),
    "lamella, angles 15 % too large": Case(("--specimen", "lamella"), bad=True, stretch=1.15),
    # The published network takes hours on a CPU.
    "lamella, published loss": Case(("--specimen", "lamella"), PUBLISHED),
}


def run(arguments: argparse.Namespace) -> None:
    rows = read_rows(arguments.json)
    there = {(row["case"], row["seed"]) for row in rows}
    for seed in arguments.seeds:
        for name in arguments.case or CASES:
            if (name, seed) in there:
                continue
            row = computed(name, seed, arguments.data)
            rows = [*read_rows(arguments.json), row]
            write_text_atomic(arguments.json, json.dumps({"rows": rows}, indent=1) + "\n")
            print(name, seed, row["correlation"], row["truth"], flush=True)


def computed(name: str, seed: int, data: Path) -> dict[str, Any]:
    """Simulate, run, judge, and measure the truth."""
    case = CASES[name]
    series = data / re.sub(r"\W+", "_", f"{' '.join(case.specimen)} {seed}")
    if not (series / "TS_beads.star").exists():
        shape = ("--shape", *map(str, SHAPE_ZYX))
        dewedge("simulate", "--realistic", *case.specimen, *shape, "--seed", str(seed), "--name", "TS",
                "-o", str(series), "--overwrite")  # fmt: skip
    output = data / "runs" / re.sub(r"\W+", "_", f"{name} {seed}")
    angles = series / "TS.tlt"
    if case.stretch != 1:
        angles = series / f"times_{case.stretch}.tlt"
        angles.write_text(
            "\n".join(f"{tilt * case.stretch:.2f}" for tilt in read_tilt_angles(series / "TS.tlt"))
        )
    fit = case.fit
    if case.of_part:
        part = np.zeros(SHAPE_ZYX, dtype=np.float32)
        part[:, :TENTH, :TENTH] = 1
        write_mrc(series / "part.mrc", part, read_mrc(series / "TS_truth.mrc").voxel_size_A, what="part")
        fit = (*fit, "--mask", str(series / "part.mrc"))
    if not (output / "refined.mrc").exists():
        dewedge("run", str(series / "TS.mrc"), "--angles", str(angles), "--thickness", str(SHAPE_ZYX[0]),
                *fit, "--seed", str(seed), "--no-check", "-o", str(output), "--overwrite")  # fmt: skip
    dewedge("trust", str(output), "--only", "wedge", "--device", "cpu")
    found = json.loads((output / "trust.json").read_text())
    return {
        "case": name,
        "seed": seed,
        **measured_on(),
        "bad": case.bad,
        "verdict": found["verdict"]["level"],
        **{key: [shell[key] for shell in found["wedge"]] for key in ("correlation", "low", "high", "reason")},
        "truth": listed(true_correlation(output / "refined.mrc", series)),
    }


def true_correlation(refined: Path, series: Path) -> np.ndarray[Any, Any]:
    """``(s,)`` of a tomogram with the truth inside the true wedge, gold left out of both."""
    volume, truth = (np.array(read_mrc(path).data) for path in (refined, series / "TS_truth.mrc"))
    beads = read_particles(series / "TS_beads.star")
    voxel_A = read_mrc(refined).voxel_size_A
    gold = bead_mask(truth.shape, Beads(beads.centre_zyx, beads.radii_A), voxel_A, GOLD_MARGIN_A)
    tilts = read_tilt_angles(series / "TS.tlt")
    tilt_range = TiltRange(float(min(tilts)), float(max(tilts)))
    # Parted before the taper, as the estimate's are.
    spectra = [
        tapered_spectrum(inside_cut(np.where(gold, np.median(v), v), tilt_range), "tomogram", EDGES[-1])
        for v in (volume, truth)
    ]
    inside, _ = parted_by_wedge(spectra[0], tilt_range, truth.shape[0])
    return shell_sums(*spectra, EDGES, inside).correlation


def dewedge(*words: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dewedge", *words], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"dewedge {' '.join(words)}\n{done.stderr}")


def report(arguments: argparse.Namespace) -> None:
    rows = read_rows(arguments.json)
    figure = plt.figure(figsize=(5.4, 5.4), layout="constrained")
    axes = figure.subplots()
    for bad, colour, label in ((False, "C0", "good fits"), (True, "C3", "bad fits or input")):
        pairs = [pair for row in rows if row["bad"] == bad for pair in told(row)]
        if pairs:
            truth, estimate, low, high = np.array(pairs).T
            reach = (estimate - low, high - estimate)
            axes.errorbar(truth, estimate, reach, fmt="o", ms=3, lw=0.6, color=colour, label=label)
    axes.plot([-0.2, 1], [-0.2, 1], color="0.5", lw=0.8)
    axes.fill_between([-0.2, 1], [-0.3, 0.9], [-0.1, 1.1], color="0.9", zorder=0)
    axes.set(xlim=(-0.2, 1), ylim=(-0.2, 1), xlabel="true correlation inside the wedge", ylabel="estimated")
    axes.legend(frameon=False)
    figure.savefig(arguments.docs / "images" / "trust_calibration.png", dpi=150)


def read_rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["rows"] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("run")
    verb.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "dewedge_trust")
    verb.add_argument("--json", type=Path, default=RESULTS)
    verb.add_argument("--case", action="append", choices=list(CASES), help="only this one; repeat for more")
    verb.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    verb.set_defaults(function=run)
    verb = verbs.add_parser("report")
    verb.add_argument("--json", type=Path, default=RESULTS)
    verb.add_argument("--docs", type=Path, default=DOCS)
    verb.set_defaults(function=report)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
