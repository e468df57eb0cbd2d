"""How well a displaced and turned tilt axis is found in simulated series.

python benchmarks/tilt_axis.py [--specimens 4]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from dewedge.geometry import TiltGeometry
from dewedge.physics.alignment import align_images
from dewedge.physics.projection import project
from dewedge.physics.tilt_axis import estimate_axis
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen

TILTS = np.arange(-60, 61, 3.0)
# By what the images are to be shifted, in pixels, and turned, in degrees.
ERRORS = [(0.0, 0.0), (3.3, 0.0), (0.0, 1.0), (-7.0, -0.7)]
RIM = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--specimens", type=int, default=4, help="specimens of each size")
    specimens = parser.parse_args().specimens
    torch.set_num_threads(1)
    print(
        "| pixels, SNR | shift: error (px) | stated | angle: error (degrees) | stated | not told | seconds |"
    )
    print("|---|---|---|---|---|---|---|")
    for n, snr in ((128, 0.3), (128, 0.05), (192, 0.05)):
        rows, untold, start = [], 0, time.perf_counter()
        for seed in range(specimens):
            for shift, angle in ERRORS:
                found = estimate_axis(*series(n, snr, shift, angle, seed), n // 4)
                if found is None:
                    untold += 1
                    continue
                rows.append(
                    (
                        found.shift_px - shift,
                        found.shift_error_px,
                        found.angle_deg - angle,
                        found.angle_error_deg,
                    )
                )
        rms = np.sqrt(np.mean(np.square(rows), axis=0))
        seconds = (time.perf_counter() - start) / (specimens * len(ERRORS))
        cells = " | ".join(f"{value:.2f}" for value in rms)
        print(f"| {n}, {snr} | {cells} | {untold} of {specimens * len(ERRORS)} | {seconds:.0f} |", flush=True)


def series(n: int, snr: float, shift: float, angle: float, seed: int) -> tuple[torch.Tensor, TiltGeometry]:
    """Noisy images that are aligned once they are turned by ``angle`` and then shifted by ``shift``."""
    rng = np.random.default_rng(seed)
    wide = n + 2 * RIM
    membranes = None if seed % 2 else 0
    volume = simulate_specimen(
        (n // 4, wide, wide), builtin_molecules(20.0), rng, n_membranes=membranes
    ).volume
    images = project(torch.from_numpy(volume), TILTS, (wide, wide))
    geometry = TiltGeometry(tilt_deg=TILTS, image_shape_yx=(wide, wide), pixel_size_A=20.0)
    for motion in (geometry.moved(0.0, -shift), geometry.moved(-angle, 0.0)):
        images = align_images(images.numpy(), motion)[0]
    images = images[:, RIM:-RIM, RIM:-RIM]
    noise = torch.from_numpy(rng.normal(size=images.shape)).float() * (images.var() / snr).sqrt()
    return images + noise, TiltGeometry(tilt_deg=TILTS, image_shape_yx=(n, n), pixel_size_A=20.0)


if __name__ == "__main__":
    main()
