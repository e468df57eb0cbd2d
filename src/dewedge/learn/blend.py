"""The refined tomogram as a mean of a network's prediction and of total variation, where it is coarse.

A network is given cubes from which the missing wedge was cut. Total variation reaches across the specimen, is
held to the images, and sees what they leak into the wedge; where structure is coarse, the errors of both have
little in common, and their mean is nearer to the truth than either (docs/notebook/transfer.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.physics.fourier import frequencies
from dewedge.physics.iterative import COARSE

# Cycles per voxel up to which total variation has its share, and how fast that falls there.
EDGE = 0.13
_SOFTNESS = 0.008
_MIRRORED = 16  # coarse voxels beyond each side: a spectrum would go on with what is at the other side
_REACH = 8  # coarse voxels to each side from which a voxel is interpolated
_SECTIONS = 16  # at a time


def share_of_tv(frequency: Tensor, share: float) -> Tensor:
    """Share that total variation has at frequencies in cycles per voxel of the tomogram, of any shape.

    ``share`` is that at low frequencies.

    Examples
    --------
    >>> share_of_tv(torch.tensor([0.0, EDGE, 0.2]), 0.5)
    tensor([0.50, 0.25, 0.00])
    """
    return share * torch.sigmoid((EDGE - frequency) / _SOFTNESS)


def share_of_network(shape_zyx: Sequence[int], share: float, device: torch.device) -> Tensor:
    """``(d, h, w // 2 + 1)`` share that is left for the network, on the half-spectrum of a tile.

    ``share`` is that of total variation at low frequencies.
    """
    kz, ky, kx = frequencies(shape_zyx, device)
    return 1 - share_of_tv((kz.square() + ky.square() + kx.square()).sqrt(), share)


def coarse_shape(shape_zyx: tuple[int, int, int]) -> tuple[int, int, int]:
    """Shape of the total-variation reconstruction that belongs to a tomogram of this one."""
    depth, height, width = shape_zyx
    return -(-depth // COARSE), height // COARSE, width // COARSE


def sections_of_tv(
    coarse: NDArray[np.float32], shape_zyx: tuple[int, int, int], share: float
) -> Iterator[NDArray[np.float32]]:
    """Yield the ``(y, x)`` sections of what total variation adds to a tomogram, its mean left out.

    Parameters
    ----------
    coarse
        ``(z, y, x)`` total-variation reconstruction at twice the voxel size; its centre, index N // 2, is
        that of the tomogram. In memory is its spectrum.
    shape_zyx
        Shape of the tomogram.
    share
        Of total variation at low frequencies.

    Raises
    ------
    ValueError
        If the reconstruction has not the shape of `coarse_shape`.
    """
    if coarse.shape != coarse_shape(shape_zyx):
        raise ValueError(f"total variation of shape {coarse.shape} for {shape_zyx}")
    volume = torch.from_numpy(np.pad(coarse - np.mean(coarse), _MIRRORED, mode="symmetric"))
    radius = sum(axis.square() for axis in frequencies(volume.shape)).sqrt() / COARSE  # type: ignore[union-attr]
    spectrum = torch.fft.rfftn(volume)
    spectrum *= share_of_tv(radius, share)
    smooth = torch.fft.irfftn(spectrum, s=volume.shape)
    along_z, along_y, along_x = (_interpolation(n, m) for n, m in zip(shape_zyx, smooth.shape, strict=True))
    for weights in torch.split(along_z, _SECTIONS):
        planes = torch.tensordot(weights, smooth, dims=1)
        yield from (along_y @ planes @ along_x.T).numpy()


def _interpolation(n: int, coarse: int) -> Tensor:
    """``(n, coarse)`` weights of the coarse voxels, those beyond the sides included, in each of ``n``.

    A sinc under a window. Linear interpolation would leave images of what is coarse, waves along the axes of
    some two voxels; these are a thousandth of it up to 0.3 cycles per coarse voxel.
    """
    place = (torch.arange(n) - n // 2) / COARSE + coarse // 2
    distance = place[:, None] - torch.arange(coarse)
    window = (torch.pi / (2 * _REACH) * distance).cos().square() * (distance.abs() < _REACH)
    weights = torch.sinc(distance) * window
    return weights / weights.sum(dim=1, keepdim=True)
