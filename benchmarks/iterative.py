"""How many iterations of SIRT, and what weight of the total variation? Correlation with known truth.

    python benchmarks/iterative.py [--quick] [--seed 31] [--json FILE]

Specimens of 64 x 128 x 128 voxels at 10 A (``--quick``: 48 x 64 x 64) of the built-in molecules, tilts -60
to 60 by 2, SNR 1/2, 1/4 and 1/6. The images are simulated by the projector that reconstructs. A row of the
result is one setting of one method on one series. Prints a table of the correlation coefficients.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.alignment import align_images
from dewedge.physics.iterative import sirt, tv
from dewedge.physics.reconstruction import fbp
from dewedge.scores.coefficient import correlation, correlation_outside_inside
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen
from dewedge.simulate.tilt_series import simulate_tilt_series, tilt_geometry

TILTS = np.arange(-60, 61, 2.0)
SNRS = {"1/2": 1 / 2, "1/4": 1 / 4, "1/6": 1 / 6}
METHODS: dict[str, Callable[[Tensor, TiltGeometry, int], Tensor]] = {
    "FBP, ramp": partial(fbp, filter="ramp"),
    "FBP, hamming": partial(fbp, filter="hamming"),
    **{f"SIRT, {n} iterations": partial(sirt, iterations=n) for n in (3, 5, 10, 30)},
    **{f"TV, weight {w:g}": partial(tv, weight=w) for w in (0.5, 0.7, 1.0, 1.5)},
    "TV, weight 1, 50 iterations": partial(tv, weight=1.0, iterations=50),
}


def rows(seed: int, shape: tuple[int, int, int]) -> Iterator[dict[str, Any]]:
    """Every method on the specimen of one seed at every SNR."""
    rng = np.random.default_rng(seed)
    specimen = simulate_specimen(shape, builtin_molecules(10.0), rng)
    truth = -specimen.volume
    for name, snr in SNRS.items():
        series = simulate_tilt_series(specimen.volume, tilt_geometry(TILTS, shape, 10.0, rng), snr, rng)
        images, geometry = align_images(series.noisy, series.geometry)
        for method, reconstruct in METHODS.items():
            start = time.perf_counter()
            volume = reconstruct(images, geometry, shape[0])
            seconds = time.perf_counter() - start
            outside, inside = correlation_outside_inside(volume, truth, geometry.tilt_range)
            yield {
                "method": method,
                "seed": seed,
                "snr": name,
                "shape_zyx": shape,
                "cc": round(correlation(volume, truth), 4),
                "cc_outside": round(outside, 4),
                "cc_inside": round(inside, 4),
                "seconds": round(seconds, 1),
            }


def table(results: list[dict[str, Any]]) -> str:
    """CC of each method, a column for each SNR and seed."""
    columns = sorted({(row["snr"], row["seed"]) for row in results})
    lines = ["| method | " + " | ".join(f"SNR {snr}, seed {seed}" for snr, seed in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for method in METHODS:
        cells = {(row["snr"], row["seed"]): f"{row['cc']:.3f}" for row in results if row["method"] == method}
        lines.append(f"| {method} | " + " | ".join(cells.get(column, "") for column in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small specimens")
    parser.add_argument("--seed", type=int, action="append", help="of the specimen; repeat for more")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    for seed in arguments.seed or [31, 32]:
        for row in rows(seed, (48, 64, 64) if arguments.quick else (64, 128, 128)):
            results.append(row)
            figures = {"threads": torch.get_num_threads(), "torch": torch.__version__, "rows": results}
            if arguments.json:
                arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
