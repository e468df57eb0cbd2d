"""Exposure weighting: high frequencies fade with the electrons that a specimen has received.

A tilt image with pre-exposure N keeps t = exp(-N / (2 Ne)) of a frequency's amplitude. Where many images add
up in one, as the frames of a movie do, the best weights are t itself (Grant and Grigorieff): frames that kept
more make up for the others. In a tomogram nothing makes up, for each plane of its transform is measured by
one tilt. Weighted by t, the planes of late tilts, often those that carry z, would arrive with t squared of
their amplitude, and dividing all weights by the root of their mean square would leave that ratio as it is.

So here the weights do two things apart. Among the tilts they are proportional to b = t / (t^2 + c), nearly
1 / t: signal arrives alike in all planes, as long as more than sqrt(c) of it was kept, below which b falls
like t. Along frequency they are scaled so that the sum of their squares, the power of the noise, is that of
the weights t: the filter that fades what all tilts together have lost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.fourier import frequencies

# c of the weights: planes are balanced down to a fifth of the amplitude.
_FLOOR = 0.04
# Frequencies at which the weights are tabulated.
_TABLE = 4096
# Critical exposure relative to 300 kV.
RELATIVE_EXPOSURE = {300: 1.0, 200: 0.8}


def critical_exposure_e_per_A2(frequency_per_A: Tensor, voltage_kV: float = 300.0) -> Tensor:
    """Electrons per square Angstrom after which the signal has fallen to 1 / e of its power.

    Of frequencies of any shape; infinite at zero.

    Raises
    ------
    ValueError
        If the voltage is neither 300 nor 200 kV.

    Examples
    --------
    >>> critical_exposure_e_per_A2(torch.tensor([1 / 20, 1 / 4]))
    tensor([38.73,  5.27])

    Source: Grant and Grigorieff 2015, eLife 4, e06980, equation 3; 0.8 of it at 200 kV.
    """
    if voltage_kV not in RELATIVE_EXPOSURE:
        raise ValueError(f"voltage {voltage_kV:g} kV: expected one of {sorted(RELATIVE_EXPOSURE)}")
    return RELATIVE_EXPOSURE[int(voltage_kV)] * (0.245 * frequency_per_A**-1.665 + 2.81)


def balanced_weights(kept: Tensor) -> Tensor:
    """Weights of the tilts for what each ``(n, ...)`` of them kept of the amplitude, between 0 and 1.

    With b = t / (t^2 + c) they are ``b sqrt(sum(t^2) / sum(b^2))``, the sums over the n tilts: 1 where
    nothing was lost.
    """
    balance = kept / (kept.square() + _FLOOR)
    power = kept.square().sum(dim=0) / balance.square().sum(dim=0).clamp(min=1e-30)
    return balance * power.sqrt()


def weight_by_exposure(
    images: Tensor,
    geometry: TiltGeometry,
    voltage_kV: float = 300.0,
    device: torch.device | None = None,
) -> Tensor:
    """``(n, y, x)`` images of a whole tilt series, weighted by what their pre-exposures left of them.

    The mean of an image stays, and so do all images if none has a pre-exposure. Each image is weighted on
    ``device``, or that of the images if not given, and the result is on the device of the images.

    Raises
    ------
    ValueError
        If the geometry has no pre-exposures, or the voltage is neither 300 nor 200 kV.
    """
    exposures = geometry.pre_exposure_e_per_A2
    if exposures is None:
        raise ValueError("expected a geometry with pre-exposures")
    shape = geometry.image_shape_yx
    table = torch.linspace(0, 0.75, _TABLE, dtype=torch.float64)
    critical = critical_exposure_e_per_A2(table / geometry.pixel_size_A, voltage_kV)
    weights = balanced_weights(torch.exp(-torch.tensor(exposures)[:, None] / (2 * critical)))
    device = device or images.device
    ky, kx = frequencies(shape, device)
    place = (ky.square() + kx.square()).sqrt() * ((_TABLE - 1) / 0.75)
    index, fraction = place.long(), place.frac()
    weighted = torch.empty_like(images)
    for i, row in enumerate(weights.to(device, images.dtype)):
        weight = torch.lerp(row[index], row[index + 1], fraction)
        weighted[i] = torch.fft.irfft2(torch.fft.rfft2(images[i].to(device)) * weight, s=shape)
    return weighted
