"""Discrete Fourier transforms of real images and volumes on the half-spectrum.

Spectra are those of ``torch.fft.rfftn``: zero frequency at index 0, the last axis cut to N // 2 + 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def frequencies(shape: Sequence[int], device: torch.device | None = None) -> tuple[Tensor, ...]:
    """Frequencies of the half-spectrum in cycles per voxel, one float32 tensor an axis, broadcastable.

    Examples
    --------
    >>> ky, kx = frequencies((4, 6))
    >>> ky.shape, kx.shape
    (torch.Size([4, 1]), torch.Size([1, 4]))
    >>> kx
    tensor([[0.000, 0.167, 0.333, 0.500]])
    """
    axes = [torch.fft.fftfreq(n, device=device) for n in shape[:-1]]
    axes.append(torch.fft.rfftfreq(shape[-1], device=device))
    return tuple(
        axis.reshape([-1 if i == j else 1 for j in range(len(shape))]) for i, axis in enumerate(axes)
    )


def turned_back(
    k: Sequence[Tensor], rotation: Tensor | NDArray[np.float64], x_tilt_deg: float = 0.0
) -> list[Tensor]:
    """Components (z, y, x) of R^T k, then turned by a tilt about x: where a turned volume's spectrum was.

    ``rotation`` is ``(3, 3)`` on (z, y, x) column vectors, ``k`` frequencies that broadcast, and the tilt is
    that of `dewedge.geometry.TiltRange`.

    Examples
    --------
    >>> quarter = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    >>> turned_back([torch.tensor(0.1), torch.tensor(0.2), torch.tensor(0.3)], quarter)
    [tensor(-0.300), tensor(0.200), tensor(0.100)]
    """
    cos, sin = math.cos(math.radians(x_tilt_deg)), math.sin(math.radians(x_tilt_deg))
    # Component i of R^T k is k times column i of R; columns are tilted, for they are shorter than k.
    z, y, x = rotation.T
    columns = (cos * z + sin * y, cos * y - sin * z, x)
    return [sum(axis * r for r, axis in zip(column, k, strict=True)) for column in columns]


def multiplicity(n: int, device: torch.device | None = None) -> Tensor:
    """``(n // 2 + 1,)`` times that a column of the half-spectrum occurs in the whole spectrum: 1 or 2.

    With ``norm="ortho"``, ``sum(multiplicity * |rfftn(v)|**2)`` is ``sum(v**2)`` (Parseval).

    Examples
    --------
    >>> multiplicity(6), multiplicity(5)
    (tensor([1., 2., 2., 1.]), tensor([1., 2., 2.]))
    """
    weight = torch.full((n // 2 + 1,), 2.0, device=device)
    weight[0] = 1
    if n % 2 == 0:
        weight[-1] = 1
    return weight


def hamming_window(k: Tensor) -> Tensor:
    """Hamming window at frequencies of any shape in cycles per voxel: 1 at zero, 0.08 at Nyquist."""
    return 0.54 + 0.46 * torch.cos(2 * torch.pi * k)


def fourier_crop(images: Tensor, shape_yx: tuple[int, int]) -> Tensor:
    """Bin ``(..., y, x)`` images to ``shape_yx`` by cropping their Fourier transform.

    The mean is kept, and so is the image's centre at index N // 2 of each axis.

    Raises
    ------
    ValueError
        If ``shape_yx`` is larger than the images along an axis.
    """
    height, width = images.shape[-2:]
    new_height, new_width = shape_yx
    if new_height > height or new_width > width:
        raise ValueError(f"cannot crop images of {(height, width)} to the larger {shape_yx}")
    spectrum = torch.fft.rfft2(images, norm="forward")
    # A pixel at offset d from the old centre lies at d * new / old from the new one: the centres' distances
    # from index 0 differ from that ratio for odd sizes, hence a phase shift, here in old pixels.
    shift_y = new_height // 2 * height / new_height - height // 2
    shift_x = new_width // 2 * width / new_width - width // 2
    if shift_y or shift_x:
        ky = torch.fft.fftfreq(height, dtype=images.dtype, device=images.device).unsqueeze(-1)
        kx = torch.fft.rfftfreq(width, dtype=images.dtype, device=images.device)
        phase = -2 * torch.pi * (ky * shift_y + kx * shift_x)
        spectrum = spectrum * torch.polar(torch.ones_like(phase), phase)
    top, bottom = (new_height + 1) // 2, new_height // 2
    low, high = spectrum[..., :top, :], spectrum[..., height - bottom :, :]
    if new_height % 2 == 0:
        # +N/2 and -N/2 become one sample, so it takes the mean of both; along x, irfft2 does the same.
        nyquist = (high[..., :1, :] + spectrum[..., bottom : bottom + 1, :]) / 2
        high = torch.cat([nyquist, high[..., 1:, :]], dim=-2)
    spectrum = torch.cat([low, high], dim=-2)[..., : new_width // 2 + 1]
    cropped: Tensor = torch.fft.irfft2(spectrum, s=shape_yx, norm="forward")
    return cropped
