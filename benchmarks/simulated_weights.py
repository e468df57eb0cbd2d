"""Weights to start fits from, learnt on simulated specimens whose truth is known.

    python benchmarks/simulated_weights.py [-o FILE] [--specimens 100] [--minutes 30] [--seed 0]

Specimens hold the built-in molecules alone, mirrored at random, at voxel sizes from 8 to 15 A. What differs
from one to the next: SNR, tilt range and step, filter, ice, crowding, vesicles, gold, and how half-sets are
made. The network is fitted from a half-set to the truth, in all rotations, with the missing wedge of
the data in one direction and a second one in the other, as in a fit to data.
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.learn.checkpoint import save_model
from dewedge.learn.fit import fit
from dewedge.learn.network import PRESETS
from dewedge.learn.options import FitOptions
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.precision import preferred_precision
from dewedge.physics.reconstruction import fbp
from dewedge.settings.fit import SIMULATED_PRESET
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.molecules import Molecule
from dewedge.simulate.specimen import simulate_specimen
from dewedge.simulate.tilt_series import simulate_tilt_series, tilt_geometry
from dewedge.split import split_tilts

EDGE = 96
OUTPUT = Path(__file__).resolve().parents[1] / "src" / "dewedge" / "weights" / "simulated.safetensors"

Volume = NDArray[np.float32]


def specimen_pairs(seed: int) -> list[TomogramPair]:
    """Both half-sets of one specimen, each with the truth as its target."""
    rng = np.random.default_rng(seed)
    voxel_size_A = rng.uniform(8, 15)
    mirrored = rng.random() < 0.5
    molecules = [
        Molecule(m.name, m.density[::-1].copy() if mirrored else m.density, voxel_size_A)
        for m in builtin_molecules(voxel_size_A)
        if m.density.shape[0] <= EDGE // 2
    ]
    ice_A = EDGE * voxel_size_A * rng.uniform(0.5, 0.95)
    crowded = 60 / 1000**3 * (EDGE * voxel_size_A) ** 2 * ice_A
    specimen = simulate_specimen(
        (EDGE, EDGE, EDGE),
        molecules,
        rng,
        n_particles=max(3, round(crowded * 2 ** rng.uniform(-1.5, 2))),
        n_membranes=int(rng.integers(3)),
        n_gold=int(rng.integers(2)),
        ice_thickness_A=ice_A,
    )
    low, high = -rng.uniform(40, 66), rng.uniform(50, 66)
    tilt_deg = np.arange(low, high, rng.uniform(1.5, 4))
    geometry = tilt_geometry(tilt_deg, (EDGE, EDGE, EDGE), voxel_size_A, rng)
    frames = bool(rng.random() < 0.5)
    series = simulate_tilt_series(specimen.volume, geometry, 2 ** rng.uniform(-3.3, -0.3), rng, frames)
    if series.even is not None and series.odd is not None:
        halves = [(images, geometry) for images in (series.even, series.odd)]
    else:
        chosen = split_tilts(geometry, "tilts")
        halves = [(series.noisy[indices], geometry.select(indices)) for indices in chosen]
    window = "hamming" if rng.random() < 0.75 else "ramp"
    pairs = []
    for images, part in halves:
        half: Volume = fbp(torch.from_numpy(images), part, EDGE, window).numpy()
        # The mean of a reconstruction says nothing.
        truth = -specimen.volume + specimen.volume.mean() + half.mean()
        pairs.append(TomogramPair(half, truth, geometry.tilt_range, name=f"specimen {seed}"))
    return pairs


def simulated_pairs(count: int, seed: int) -> list[TomogramPair]:
    pairs: list[TomogramPair] = []
    while len(pairs) < 2 * count:
        with contextlib.suppress(InputError):  # no room for the vesicles or the gold that were drawn
            pairs += specimen_pairs(seed)
        seed += 1
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    parser.add_argument("--specimens", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30, help="of the clock, for the fit")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pairs = simulated_pairs(arguments.specimens, 1000 * arguments.seed)
    print(f"{len(pairs)} half-sets", flush=True)
    options = FitOptions(
        objective="supervised",
        budget_s=60 * arguments.minutes,
        exact_rotations=0.6,
        held_out=0,
        seed=arguments.seed,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fabric = Fabric(accelerator=device.type, devices=1, precision=preferred_precision(device))
    fabric.launch()
    model, rows = fit(
        pairs,
        PRESETS[SIMULATED_PRESET],
        options,
        fabric,
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
