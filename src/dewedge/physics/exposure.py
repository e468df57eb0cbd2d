"""Exposure weighting: high frequencies fade with the electrons that a specimen has received."""

from __future__ import annotations

import torch
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.fourier import frequencies

# Critical exposure relative to 300 kV.
RELATIVE_EXPOSURE = {300: 1.0, 200: 0.8}


def critical_exposure_e_per_A2(frequency_per_A: Tensor, voltage_kV: float = 300.0) -> Tensor:
    """Electrons per square Angstrom after which the signal has fallen to 1 / e of its power.

    Infinite at zero frequency. Source: Grant and Grigorieff 2015, eLife 4, e06980, equation 3; 0.8 of it
    at 200 kV.
    """
    if voltage_kV not in RELATIVE_EXPOSURE:
        raise ValueError(f"voltage {voltage_kV:g} kV: expected one of {sorted(RELATIVE_EXPOSURE)}")
    return RELATIVE_EXPOSURE[int(voltage_kV)] * (0.245 * frequency_per_A**-1.665 + 2.81)


def weight_by_exposure(images: Tensor, geometry: TiltGeometry, voltage_kV: float = 300.0) -> Tensor:
    """``(n, y, x)`` images times exp(-N / (2 Ne)), with N their pre-exposure and Ne the critical exposure.

    The mean of an image stays, and so does an image without pre-exposure.
    """
    exposures = geometry.pre_exposure_e_per_A2
    if exposures is None:
        raise ValueError("expected a geometry with pre-exposures")
    shape = geometry.image_shape_yx
    ky, kx = frequencies(shape, images.device)
    critical = critical_exposure_e_per_A2(
        (ky.square() + kx.square()).sqrt() / geometry.pixel_size_A, voltage_kV
    )
    weighted = torch.empty_like(images)
    for i, exposure in enumerate(exposures):
        weight = torch.exp(-float(exposure) / (2 * critical))
        weighted[i] = torch.fft.irfft2(torch.fft.rfft2(images[i]) * weight, s=shape)
    return weighted
