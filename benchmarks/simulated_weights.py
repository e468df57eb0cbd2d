"""Weights to start fits from, learnt on realistic simulated specimens whose truth is known.

    python benchmarks/simulated_weights.py [-o FILE] [--specimens 12] [--minutes 20] [--voxel-sizes-A 20 20]

Specimens are those of `dewedge simulate --realistic`, a cell, a lamella and purified molecules in turn, with
the built-in molecules alone; voxel size, tilt range and step, defocus and exposure differ from one to the
next. Images are prepared and reconstructed as `dewedge run` does. The network is fitted from each half-set to
the truth without its gold, in all rotations, with the missing wedge of the data in one direction and a second
one in the other, as in a fit to data.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "comparison"))

from jobs import REALISTIC  # noqa: E402
from specimens import simulated_realistically  # noqa: E402

from dewedge.errors import InputError  # noqa: E402
from dewedge.learn.checkpoint import save_model  # noqa: E402
from dewedge.learn.fit import fit  # noqa: E402
from dewedge.learn.network import PRESETS  # noqa: E402
from dewedge.learn.pairs import TomogramPair  # noqa: E402
from dewedge.learn.precision import preferred_precision  # noqa: E402
from dewedge.settings.fit import FitSection  # noqa: E402

SHAPE_ZYX = (100, 160, 160)
# No specimen of another benchmark has such a seed.
FIRST_SEED = 70_000
OUTPUT = ROOT / "src" / "dewedge" / "weights" / "simulated.safetensors"


def specimen_pairs(number: int, seed: int, voxel_sizes_A: tuple[float, float]) -> list[TomogramPair]:
    """Both half-sets of one specimen, each with the truth as its target."""
    rng = np.random.default_rng(seed)
    voxel_size_A = rng.uniform(*voxel_sizes_A)
    tilt_deg = np.arange(-rng.uniform(45, 62), rng.uniform(50, 62), rng.choice([2.0, 3.0]))
    options = {
        "specimen": REALISTIC[number % len(REALISTIC)],
        "tilt_deg": tilt_deg,
        "defocus_um": rng.uniform(1.5, 4),
        "exposure_e_per_A2": 120 / tilt_deg.size * rng.uniform(0.7, 1.3),
    }
    with tempfile.TemporaryDirectory() as folder:
        data = simulated_realistically(
            Path(folder), "specimen", SHAPE_ZYX, voxel_size_A, seed, "tilts", options
        )
    assert data.truth is not None
    truth = data.truth - data.truth.mean()
    return [
        TomogramPair(half, (truth + half.mean()).astype(np.float32), data.tilt_range, name=f"specimen {seed}")
        for half in (data.half0, data.half1)
    ]


def simulated_pairs(count: int, seed: int, voxel_sizes_A: tuple[float, float]) -> list[TomogramPair]:
    """Both half-sets of so many specimens."""
    pairs: list[TomogramPair] = []
    while len(pairs) < 2 * count:
        with contextlib.suppress(InputError):  # no room for what was drawn
            pairs += specimen_pairs(len(pairs) // 2, seed, voxel_sizes_A)
        seed += 1
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    parser.add_argument("--specimens", type=int, default=12)
    parser.add_argument("--voxel-sizes-A", type=float, nargs=2, default=(20.0, 20.0), metavar=("MIN", "MAX"))
    parser.add_argument("--minutes", type=float, default=20, help="of the processor, for the fit")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    first_seed = FIRST_SEED + 1000 * arguments.seed
    pairs = simulated_pairs(arguments.specimens, first_seed, tuple(arguments.voxel_sizes_A))
    print(f"{len(pairs)} half-sets", flush=True)
    options = replace(
        FitSection(budget=f"{arguments.minutes}min", seed=arguments.seed).options(),
        objective="supervised",
        clip=None,
        held_out=0,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fabric = Fabric(accelerator=device.type, devices=1, precision=preferred_precision(device))
    fabric.launch()
    model, rows = fit(
        pairs,
        PRESETS["default"],
        options,
        fabric,
        clock=time.process_time,
        on_epoch=lambda state, _: print(
            f"{state.rows[-1].samples} {state.rows[-1].seconds:.0f} s: {state.rows[-1].fit_loss:.4f}",
            flush=True,
        ),
    )
    weights = {name: tensor.half() for name, tensor in model.weights.items()}
    details = {"specimens": arguments.specimens, "samples": rows[-1].samples, "seed": arguments.seed}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_model(arguments.output, replace(model, weights=weights, details=details))


if __name__ == "__main__":
    main()
