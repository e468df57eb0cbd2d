"""What it brings to be told by which tilt about x half tomograms were levelled, and their wedge turned.

A simulated series (`dewedge simulate --realistic`) is reconstructed, and its half-sets and truth are turned
about x, as by programs that level a tomogram. Networks are fitted to them for equally many epochs and refine
them, told the tilt, told nothing, and told the opposite. Prints, and keeps, the correlation with the truth
inside the true wedge, outside, and in that part of the true wedge that would be measured without the tilt.

    python benchmarks/x_tilt.py SERIES.mrc TRUTH.mrc --thickness 100 [--x-tilt 4 10] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from comparison.machine import measured_on
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

import dewedge
from dewedge.geometry import TiltRange
from dewedge.io.mrc import read_mrc
from dewedge.scores.coefficient import correlation_outside_inside
from dewedge.scores.spectra import parted_by_wedge, shell_sums, tapered_spectrum

# Cycles per voxel between which there is structure to be told.
LOWEST, HIGHEST = 0.03, 0.2


def levelled(volume: NDArray[Any], x_tilt_deg: float) -> NDArray[np.float32]:
    """A ``(z, y, x)`` volume u in the frame v(p) = u(Rx p), by cubic splines, reflected at its edges."""
    turn = Rotation.from_euler("x", x_tilt_deg, degrees=True).as_matrix()[::-1, ::-1]
    middle = np.array(volume.shape) // 2
    turned: NDArray[np.float32] = affine_transform(
        np.asarray(volume, np.float32), turn, middle - turn @ middle, order=3, mode="reflect"
    )
    return turned


def main() -> None:
    """Fit, refine and score every tilt, seed and what is told of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("series", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--thickness", type=int, required=True)
    parser.add_argument("--x-tilt", type=float, nargs="+", default=[4.0, 10.0])
    parser.add_argument("--seed", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    opened = dewedge.open(given.series, thickness=given.thickness)
    assert isinstance(opened, dewedge.Series)
    halves, limits = opened.reconstruct(device="cpu"), opened.tilt_range
    truth = read_mrc(given.truth).data
    rows = []
    for x_tilt in given.x_tilt:
        turned = [levelled(one.data, x_tilt) for one in halves]
        target, wedge = levelled(truth, x_tilt), limits._replace(x_tilt_deg=x_tilt)
        for seed in given.seed:
            for told in (x_tilt, 0.0, -x_tilt):
                row = fitted(turned, limits._replace(x_tilt_deg=told), seed, given.epochs)
                refined = row.pop("refined")
                outside, inside = correlation_outside_inside(refined, target, wedge)
                row |= {"x_tilt_deg": x_tilt, "told_deg": told, "inside": inside, "outside": outside}
                row["turned"] = of_turned_part(refined, target, wedge)
                rows.append(measured_on() | row)
                print(json.dumps(row), flush=True)
                if given.json is not None:
                    lines = ",\n".join(json.dumps(row) for row in rows)
                    given.json.write_text(f'{{"rows": [\n{lines}\n]}}\n')


def of_turned_part(refined: NDArray[Any], truth: NDArray[Any], wedge: TiltRange) -> float:
    """Correlation with the truth in the part of the wedge that a tilt about x turned there."""
    estimate, true = (tapered_spectrum(v, "tomogram", HIGHEST) for v in (refined, truth))
    level = wedge._replace(x_tilt_deg=0)
    inside, measured = (parted_by_wedge(true, each, len(truth))[i] for i, each in enumerate((wedge, level)))
    return float(shell_sums(estimate, true, (LOWEST, HIGHEST), inside & measured).correlation[0])


def fitted(sets: list[NDArray[np.float32]], told: TiltRange, seed: int, epochs: int) -> dict[str, Any]:
    """The full tomogram refined by a network that was fitted to its half-sets, and how."""
    half0, half1, full = (dewedge.Tomogram(data, tilt_range=told) for data in sets)
    model = dewedge.fit([(half0, half1)], epochs=epochs, seed=seed, device="cpu")
    return {"seed": seed, "epochs": epochs, "refined": model.refine(full, device="cpu").data}


if __name__ == "__main__":
    main()
