"""What exposure weights leave of the signal, plane by plane, and of the agreement with the truth.

python benchmarks/exposure.py
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.exposure import balanced_weights, critical_exposure_e_per_A2
from dewedge.physics.fourier import frequencies
from dewedge.physics.projection import project
from dewedge.physics.reconstruction import fbp
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen
from dewedge.simulate.tilt_series import dose_symmetric_order

SHAPE, PIXEL_SIZE_A, DOSE = (40, 96, 96), 10.0, 3.0
TILTS = np.arange(-60, 61, 3.0)


def main() -> None:
    torch.set_num_threads(1)
    exposure = torch.from_numpy(dose_symmetric_order(TILTS) * DOSE)[:, None, None]
    ky, kx = frequencies(SHAPE[1:])
    k_per_A = (ky.square() + kx.square()).sqrt() / PIXEL_SIZE_A
    kept = torch.exp(-exposure / (2 * critical_exposure_e_per_A2(k_per_A))).float()
    kinds = {"none": torch.ones_like(kept), "published": kept, "balanced": balanced_weights(kept)}
    near_40_A = (k_per_A > 1 / 45) & (k_per_A < 1 / 35)
    print("| weights | late over early planes at 40 A | SNR 0.3: CC, best filtered | SNR 0.03 |")
    print("|---|---|---|---|")
    for name, weights in kinds.items():
        arrives = (kept * weights)[:, near_40_A].mean(dim=1)
        late, early = (
            arrives[torch.from_numpy(chosen)].mean() for chosen in (abs(TILTS) > 45, abs(TILTS) < 15)
        )
        cells = [f"{late / early:.2f}"]
        for snr in (0.3, 0.03):
            found = np.mean([agreement(kept, weights, snr, seed) for seed in (0, 1)], axis=0)
            cells.append(", ".join(f"{value:.3f}" for value in found))
        print(f"| {name} | {' | '.join(cells)} |")


def agreement(kept: Tensor, weights: Tensor, snr: float, seed: int) -> tuple[float, float]:
    """Correlation with the reconstruction of clean images, as it is and with the best radial filter."""
    rng = np.random.default_rng(seed)
    volume = simulate_specimen(SHAPE, builtin_molecules(PIXEL_SIZE_A), rng, n_membranes=0).volume
    clean = project(torch.from_numpy(volume), TILTS, SHAPE[1:])
    geometry = TiltGeometry(tilt_deg=TILTS, image_shape_yx=SHAPE[1:], pixel_size_A=PIXEL_SIZE_A)
    noise = torch.from_numpy(rng.normal(size=clean.shape)).float() * (clean.var() / snr).sqrt()
    images = filtered(filtered(clean, kept) + noise, weights)
    got, truth = (
        torch.fft.rfftn(fbp(each, geometry, SHAPE[0], "radial")).flatten() for each in (images, clean)
    )
    axes = frequencies(SHAPE)
    shell = (80 * sum(axis.square() for axis in axes).sqrt()).long().flatten()  # type: ignore[union-attr]

    def by_shell(values: Tensor) -> Tensor:
        return torch.bincount(shell, weights=values.double())

    cross, own, true = (by_shell((a * b.conj()).real) for a, b in ((got, truth), (got, got), (truth, truth)))
    plain = cross.sum() / (own.sum() * true.sum()).sqrt()
    return float(plain), float((cross.clamp(min=0).square() / own).sum().div(true.sum()).sqrt())


def filtered(images: Tensor, weights: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(images) * weights, s=images.shape[1:])


if __name__ == "__main__":
    main()
