"""How sharp a small reconstruction is: the fourth moment of its voxels over the square of the second.

It is large where density is in few voxels, so it is largest where the geometry is right. It needs neither
beads nor half-sets, and Gaussian noise does not change where it is largest.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dewedge.geometry import Floats
from dewedge.physics.fourier import frequencies

# Cycles per pixel that the images keep (standard deviations of a Gaussian high-pass and low-pass), and beyond
# how many robust standard deviations they are cut: so beads inform, but do not decide.
_BAND = (0.04, 0.16)
CLIP = 4.0
# Parts of the field, along y and x, by which uncertainty is judged; the share of the rim that is left out.
PARTS_YX = (8, 3)
RIM = 0.1


def passed(images: Tensor) -> Tensor:
    """``(n, y, x)`` images band-passed, on one scale of noise, cut where extreme, then ramp-filtered."""
    ky, kx = frequencies(images.shape[1:], images.device)
    k_squared = ky.square() + kx.square()
    low, high = _BAND
    band = (1 - torch.exp(-k_squared / (2 * low**2))) * torch.exp(-k_squared / (2 * high**2))
    passed = torch.fft.irfft2(torch.fft.rfft2(images) * band, s=images.shape[1:])
    spread = 1.4826 * passed.flatten(1).abs().median(dim=1).values[:, None, None]
    cut = (passed / spread.clamp(min=1e-30)).clamp(-CLIP, CLIP)
    ramped: Tensor = torch.fft.irfft(torch.fft.rfft(cut) * kx, n=images.shape[2])
    return ramped


def moments(volume: Tensor) -> Floats:
    """``(parts, 2)`` sums of squares and fourth powers in parts of a ``(z, y, x)`` volume, rim left out."""
    height, width = volume.shape[1:]
    top, left = int(RIM * height), int(RIM * width)
    squares = volume[:, top : height - top, left : width - left].square()
    parts = [
        part
        for rows in torch.tensor_split(squares, PARTS_YX[0], dim=1)
        for part in torch.tensor_split(rows, PARTS_YX[1], dim=2)
    ]
    return np.array([[float(part.sum()), float(part.square().sum())] for part in parts])


def log_ratio(moments: Floats) -> Floats:
    """Logarithm of the fourth moment over the square of the second, of ``(..., 2)`` `moments`.

    Examples
    --------
    >>> log_ratio(np.array([[2.0, 4.0], [1.0, np.e]]))
    array([0., 1.])
    """
    ratio: Floats = np.log(moments[..., 1]) - 2 * np.log(moments[..., 0])
    return ratio


def peak_of(places: Floats, moments: Floats) -> tuple[float, float] | None:
    """Place of the peak of ``(places, parts, 2)`` `moments`, and its standard error.

    The error is the jackknife's, from leaving out each part in turn. None where `peak` finds none.
    """
    total = moments.sum(axis=1)
    top = peak(places, log_ratio(total))
    others = [peak(places, log_ratio(total - part)) for part in moments.swapaxes(0, 1)]
    known = [other for other in others if other is not None]
    if top is None or len(known) < len(others):
        return None
    return top, float(np.sqrt((len(known) - 1) * np.var(known)))


def peak(places: Floats, values: Floats) -> float | None:
    """Place of the top of the parabola through ``(n,)`` values; None if it has none, or only far from them.

    Examples
    --------
    >>> places = np.array([-1.0, 0.0, 1.0, 2.0])
    >>> peak(places, 3 - (places - 0.5) ** 2)
    0.5
    >>> peak(places, (places - 0.5) ** 2) is None
    True
    """
    middle, scale = places.mean(), np.ptp(places)
    curvature, slope, _ = np.polyfit((places - middle) / scale, values, 2)
    if curvature >= 0 or abs(slope) > -2 * curvature:
        return None
    return float(middle - slope / (2 * curvature) * scale)
