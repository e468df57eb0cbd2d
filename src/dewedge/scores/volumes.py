"""Parts that all scores share: checked volumes, and sums over spectra that become correlations."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dewedge.errors import InputError

Volume = NDArray[np.generic]

# A part of a spectrum with a smaller share of the energy holds the rounding of 32-bit numbers, no signal.
NO_SIGNAL = 1e-12
BLOCK_VOXELS = 1 << 22


def checked_pair(
    a: ArrayLike, b: ArrayLike, names: tuple[str, str] = ("estimate", "truth")
) -> tuple[Volume, Volume]:
    """Return both as ``(z, y, x)`` arrays of one shape, without a copy.

    Raises
    ------
    InputError
        If they are not; it calls them by ``names``.
    """
    first, second = np.asarray(a), np.asarray(b)
    for array, name in ((first, names[0]), (second, names[1])):
        if array.ndim != 3 or 0 in array.shape:
            raise InputError(f"{name}: expected a volume of three axes (z, y, x), got shape {array.shape}")
    if first.shape != second.shape:
        raise InputError(
            f"{names[0]} has shape {first.shape}, {names[1]} {second.shape}: expected the same; "
            "reconstruct both with the same binning and thickness"
        )
    return first, second


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of y that cut a ``(z, y, x)`` volume into blocks of bounded size."""
    depth, height, width = shape
    rows = max(1, BLOCK_VOXELS // (depth * width))
    return (slice(y, min(y + rows, height)) for y in range(0, height, rows))


def mean_of(volume: Volume, name: str) -> float:
    """Mean of a ``(z, y, x)`` volume.

    Raises
    ------
    InputError
        If it is constant or holds a value that is not finite; it is called ``name``.
    """
    total, lowest, highest = 0.0, math.inf, -math.inf
    for rows in row_blocks(volume.shape):
        block = finite(volume[:, rows], name)
        total += float(block.sum(dtype=np.float64))
        lowest, highest = min(lowest, float(block.min())), max(highest, float(block.max()))
    if lowest == highest:
        raise InputError(f"{name}: all voxels are {lowest:g}; expected a volume with contrast")
    return total / volume.size


def finite(block: Volume, name: str) -> Volume:
    """Return the block itself.

    Raises
    ------
    InputError
        If it holds a value that is not finite; it is called ``name``.
    """
    if not np.isfinite(block).all():
        raise InputError(f"{name}: holds NaN or infinite voxels; expected finite numbers")
    return block


def centred(block: Volume, mean: float) -> Tensor:
    """Block of any shape less ``mean``, subtracted in 64 bits, as a float32 tensor."""
    return torch.from_numpy(np.subtract(block, mean, dtype=np.float64).astype(np.float32))


def products(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Products of two spectra of one shape: |a|^2, |b|^2, and the real part of a times the conjugate of b."""
    return a.real**2 + a.imag**2, b.real**2 + b.imag**2, a.real * b.real + a.imag * b.imag


def correlation_of_sums(sums: Tensor, energy: Tensor) -> Tensor:
    """``(...)`` correlations of parts of two spectra.

    ``sums`` are ``(..., 3)`` sums of the three products over each part, ``energy`` the ``(2,)`` energies of
    both whole spectra. A part in which either has no signal has correlation 0.
    """
    signal = (sums[..., :2] > NO_SIGNAL * energy).all(dim=-1)
    norm = sums[..., :2].sqrt().prod(dim=-1)
    return torch.where(signal, sums[..., 2] / torch.where(signal, norm, 1), 0)
