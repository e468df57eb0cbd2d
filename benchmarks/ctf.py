"""FSC against the truth of a tilt series with CTF, corrected in several ways.

A random specimen is imaged without noise, every voxel at its own defocus, and reconstructed. Prints the mean
FSC against the reconstruction of images without CTF, below and beyond the first zero of the CTF.

    python benchmarks/ctf.py
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dewedge.geometry import CtfParameters, TiltGeometry
from dewedge.physics.ctf import SignalToNoise, correct_images, electron_wavelength_A
from dewedge.physics.projection import project
from dewedge.physics.reconstruction import fbp
from dewedge.scores.fsc import fourier_shell_correlation
from dewedge.simulate.ctf import project_with_ctf

TILTS = np.arange(-60, 61, 3.0)
# Room around the specimen for what the CTF displaces.
MARGIN = 48
# Shape (z, y, x), pixel size in Angstrom, voltage in kV, defocus in um.
CASES = [
    ((24, 96, 96), 1.0, 300.0, 0.2),
    ((16, 40, 256), 1.0, 300.0, 0.2),
    ((16, 40, 256), 1.0, 100.0, 0.1),
    ((24, 40, 512), 2.0, 300.0, 0.6),
]


def compare(shape: tuple[int, int, int], pixel_size_A: float, voltage_kV: float, defocus_um: float) -> None:
    """Print the table of one specimen."""
    canvas = (shape[1] + 2 * MARGIN, shape[2] + 2 * MARGIN)
    ctf = CtfParameters(
        defocus_u_um=np.full(len(TILTS), defocus_um),
        voltage_kV=voltage_kV,
        spherical_aberration_mm=0.0,
        amplitude_contrast=0.1,
        defocus_hand=-1,
    )
    geometry = TiltGeometry(tilt_deg=TILTS, image_shape_yx=canvas, pixel_size_A=pixel_size_A, ctf=ctf)
    edges = [((n / 2 - (torch.arange(n) - n // 2).abs()) / 6).clamp(0, 1) for n in shape]
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    volume *= edges[0][:, None, None] * edges[1][:, None] * edges[2]
    images = project_with_ctf(volume, geometry, slab=4)

    def reconstruct(aligned: Tensor) -> Tensor:
        return fbp(aligned, geometry, shape[0], volume_shape_yx=shape[1:])

    truth = reconstruct(project(volume, TILTS, canvas))
    first_zero = pixel_size_A / math.sqrt(electron_wavelength_A(voltage_kV) * defocus_um * 1e4)
    print(
        f"\n{shape} voxels of {pixel_size_A:g} A, {voltage_kV:g} kV, {defocus_um:g} um: first zero at",
        end=" ",
    )
    print(f"{2 * first_zero:.2f} of Nyquist\n\n| correction | below | beyond |\n|---|---|---|")
    flat = replace(geometry, tilt_deg=TILTS * 1e-6)
    wrong = replace(geometry, ctf=replace(ctf, defocus_hand=1))
    for name, aligned in {
        "none": images,
        "phase flip, one defocus for the whole image": correct_images(images, flat),
        "phase flip in strips": correct_images(images, geometry),
        "phase flip in strips, wrong hand": correct_images(images, wrong),
        "Wiener in strips, SNR 1000": correct_images(images, geometry, SignalToNoise(3, 0)),
        "Wiener in strips, SNR 1000, wrong hand": correct_images(images, wrong, SignalToNoise(3, 0)),
    }.items():
        fsc = fourier_shell_correlation(reconstruct(aligned), truth)
        beyond = fsc.frequency_per_voxel > first_zero
        print(f"| {name} | {fsc.correlation[~beyond].mean():.3f} | {fsc.correlation[beyond].mean():.3f} |")


if __name__ == "__main__":
    for case in CASES:
        compare(*case)
