"""Exposure weighting: high frequencies fade with the electrons that a specimen has received.

A tilt image with pre-exposure N keeps t = exp(-N / (2 Ne)) of a frequency's amplitude. Where many images add
up in one, as the frames of a movie do, the weights of Grant and Grigorieff are t itself, divided by the root
of the sum of their squares: frames that kept more make up for the others. In a tomogram nothing makes up, for
each plane of its transform is measured by one tilt. Weighted by t, the planes of late tilts, often those that
carry z, would arrive with t squared of their amplitude, and a normalisation over the tilts would leave this
ratio as it is. So the weight here is the Wiener filter of what the exposure did, w = t (1 + c) / (t^2 + c)
with c the noise over the signal's power before any exposure: it gives back what is lost as long as there is
signal, and fades to t (1 + c) / c where there is none. It is 1 without exposure and at zero frequency, so a
plane keeps its grey scale, and never above (1 + c) / (2 sqrt(c)), 1.25 for the c that is used, so noise is
hardly amplified. For c to infinity it is t.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.fourier import frequencies

# Noise over signal, in power, of an image before any exposure: a compromise that keeps 0.73 of the amplitude
# where weights of t leave 0.36 (40 A, 120 electrons per A^2, 300 kV), for 1.23 times the noise.
NOISE_TO_SIGNAL = 0.25
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


def exposure_weight(kept: Tensor, noise_to_signal: float = NOISE_TO_SIGNAL) -> Tensor:
    """t (1 + c) / (t^2 + c) of the share t of its amplitude that a frequency kept.

    Source: the Wiener filter of a signal that fell to t, scaled to 1 where nothing was lost.
    """
    return kept * (1 + noise_to_signal) / (kept.square() + noise_to_signal)


def weight_by_exposure(images: Tensor, geometry: TiltGeometry, voltage_kV: float = 300.0) -> Tensor:
    """``(n, y, x)`` images with each frequency weighted by what their pre-exposure left of it.

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
        weight = exposure_weight(torch.exp(-float(exposure) / (2 * critical)))
        weighted[i] = torch.fft.irfft2(torch.fft.rfft2(images[i]) * weight, s=shape)
    return weighted
