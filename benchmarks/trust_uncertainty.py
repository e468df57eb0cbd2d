"""Does refined_uncertainty.mrc of `dewedge trust` cover the true error of what was added inside the wedge?

    python benchmarks/trust_uncertainty.py RUN SERIES

RUN is the folder of a judged run, SERIES that of its specimen (`dewedge simulate --realistic`). The truth is
brought to the grey scale of the tomogram by its regression on the truth where tilts measured, in shells of
0.01 cycles per voxel; gold and the margins are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from dewedge.io.mrc import read_mrc
from dewedge.io.particles import read_particles
from dewedge.learn.checkpoint import load_model
from dewedge.learn.extra_wedge import missing_band
from dewedge.learn.loss import cut_wedge
from dewedge.physics.fourier import frequencies
from dewedge.runtime.stored import without_gold
from dewedge.scores.spectra import parted_by_wedge, shell_sums, tapered_spectrum
from dewedge.scores.uncertainty import QUANTILE
from dewedge.simulate.gold import Beads, bead_mask

GOLD_MARGIN_A = 60.0
MARGIN = 16  # voxels
FINE = tuple(np.arange(0.0, 0.26, 0.01).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("series", type=Path)
    arguments = parser.parse_args()
    run, series = arguments.run, arguments.series
    low, high = json.loads((run / "trust.json").read_text())["uncertainty"]["edges_per_voxel"]
    tilt_range = load_model(run / "model.safetensors").tilt_range
    refined = without_gold(run / "refined.mrc")
    truth, full = (read_mrc(path).data for path in (series / "TS_truth.mrc", run / "full.mrc"))
    beads = read_particles(series / "TS_beads.star")
    voxel_A = read_mrc(run / "refined.mrc").voxel_size_A
    gold = bead_mask(truth.shape, Beads(beads.centre_zyx, beads.radii_A), voxel_A, GOLD_MARGIN_A)
    truth, full, refined = (
        np.where(gold, np.median(v), v).astype(np.float32) for v in (truth, full, refined)
    )

    spectra = [tapered_spectrum(v, "tomogram", FINE[-1]) for v in (truth, full)]
    _, outside = parted_by_wedge(spectra[0], tilt_range, truth.shape[0])
    slope = shell_sums(*spectra, FINE, outside).slope
    told = np.isfinite(slope)
    k = frequencies(truth.shape)
    radius = (k[0] ** 2 + k[1] ** 2 + k[2] ** 2).sqrt()
    middles = np.add(FINE[1:], FINE[:-1]) / 2
    scale = torch.from_numpy(np.interp(radius.numpy(), middles[told], slope[told])).float()
    band = missing_band(k, tilt_range, truth.shape[0]) & (radius >= low) & (radius < high)
    added, true = (
        cut_wedge(torch.from_numpy(v - v.mean()), weight).numpy()
        for v, weight in ((refined, band), (truth, band * scale))
    )
    inner = (slice(MARGIN, -MARGIN),) * 3
    sigma = read_mrc(run / "refined_uncertainty.mrc").data[inner][~gold[inner]]
    within = np.abs(added - true)[inner][~gold[inner]] <= QUANTILE * sigma
    quarters = [float(within[quarter].mean()) for quarter in np.array_split(np.argsort(sigma), 4)]
    print(f"of 90 %: {within.mean():.3f}; by quarter:", *(f"{share:.3f}" for share in quarters))


if __name__ == "__main__":
    main()
