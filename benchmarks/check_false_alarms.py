"""How often dewedge check finds something in good simulated series and in their half-sets.

python benchmarks/check_false_alarms.py [--specimens 20]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from dewedge.geometry import TiltRange
from dewedge.inputs.run_input import HalvesInput, RunInput, SeriesInput
from dewedge.io.angles import write_tilt_angles
from dewedge.io.mrc import write_mrc
from dewedge.io.tilt_series import read_tilt_series
from dewedge.io.volume_file import VolumeFile
from dewedge.io.xf import geometry_arrays_to_xf, write_xf
from dewedge.physics.alignment import align_images
from dewedge.physics.reconstruction import fbp
from dewedge.pipeline.check import check_one
from dewedge.settings.sections import Config
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen
from dewedge.simulate.tilt_series import simulate_tilt_series, tilt_geometry
from dewedge.split import split_tilts

PIXEL_SIZE_A = 20.0
# As it is told where the axis is not put right.
CONFIG = Config.model_validate({
    "reconstruct": {"thickness": 32, "refine_axis": "never"}, "fit": {"cube_size": 16}
})  # fmt: skip
# SNR, tilt-axis angle, lowest tilt, step and shape of the specimen.
KINDS = [
    (0.02, 85.0, -39.0, 3.0, (32, 96, 80)),
    (0.25, 0.0, -60.0, 3.0, (32, 96, 80)),
    (0.1, 20.0, -60.0, 2.0, (32, 128, 128)),
    (0.05, 0.0, -66.0, 3.0, (64, 128, 100)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--specimens", type=int, default=20, help="specimens of each kind")
    specimens = parser.parse_args().specimens
    torch.set_num_threads(1)
    false, count = 0, 0
    for seed in range(specimens):
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                for item in simulated(*kind, seed, Path(folder)):
                    count += 1
                    for finding in check_one(item, CONFIG).findings:
                        if finding.severity != "note":
                            false += 1
                            print(kind, seed, finding)
    print(f"{false} findings in {count} inputs")


def simulated(
    snr: float, axis_deg: float, low: float, step: float, shape: tuple[int, int, int], seed: int, folder: Path
) -> list[RunInput]:
    """A series with shifts of 40 A, and half-sets of its even and odd tilts."""
    rng = np.random.default_rng(100 + seed)
    molecules = builtin_molecules(PIXEL_SIZE_A)
    specimen = simulate_specimen(shape, molecules, rng, n_membranes=None if seed % 2 else 0)
    tilts = np.arange(low, 60.1, step)
    geometry = tilt_geometry(tilts, shape, PIXEL_SIZE_A, rng, axis_angle_deg=axis_deg, jitter_A=40.0)
    images = simulate_tilt_series(specimen.volume, geometry, snr, rng).noisy
    write_mrc(folder / "TS.mrc", images, PIXEL_SIZE_A, stack=True)
    write_tilt_angles(folder / "TS.tlt", geometry.tilt_deg)
    transforms = geometry_arrays_to_xf(geometry.linear_yx, geometry.shift_yx, geometry.image_shape_yx)
    write_xf(folder / "TS.xf", *transforms)
    aligned, turned = align_images(images, geometry)
    halves = [
        fbp(aligned[torch.from_numpy(tilts)], turned.select(tilts), shape[0]).numpy()
        for tilts in split_tilts(geometry, "tilts", 0.5, 0)
    ]
    mrcs = [
        VolumeFile(folder / f"half{i}.mrc", half, PIXEL_SIZE_A, (0, 0, 0), ())
        for i, half in enumerate(halves)
    ]
    series = read_tilt_series(folder / "TS.mrc")
    return [
        SeriesInput(series.name, (series,)),
        HalvesInput("halves", mrcs[0], mrcs[1], None, TiltRange(low, 60.0)),
    ]


if __name__ == "__main__":
    main()
