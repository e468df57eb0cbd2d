"""Automatic mask of where a tomogram holds specimen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# The mask is computed on a copy of the volume averaged to at most this many voxels (16 MB a float32 array).
_MAX_VOXELS = 2**22


def specimen_mask(
    volume: NDArray[Any],
    density_percent: float = 50,
    std_percent: float = 50,
    smoothing: float = 3,
    z_crop: float = 0.1,
) -> NDArray[np.bool_]:
    """Mask of the voxels near strong density, dark or bright, whose neighbourhood varies.

    Both are judged after a band-pass, which removes the noise and the changes of grey level over the field.

    Parameters
    ----------
    volume
        ``(z, y, x)`` tomogram, in memory or memory-mapped. It is read slab by slab.
    density_percent
        Percentage of voxels to keep by local density extreme: the largest absolute value within
        ``2 * smoothing`` voxels.
    std_percent
        Percentage of voxels to keep by local standard deviation, in a Gaussian window of twice ``smoothing``.
    smoothing
        Standard deviation in voxels of the Gaussian that smooths the density. That of the background, which
        is subtracted, is four times as large.
    z_crop
        Fraction of the slices that is left out at the top, and the same at the bottom.

    Returns
    -------
    NDArray
        ``(z, y, x)`` True where both hold.

    Raises
    ------
    ValueError
        If a percentage is not above 0 and at most 100, or ``z_crop`` not from 0 to below 0.5.

    Source: the automatic mask of IsoNet (Liu et al. 2022), there for dark density and without the band-pass.
    """
    for name, percent in (("density_percent", density_percent), ("std_percent", std_percent)):
        if not 0 < percent <= 100:
            raise ValueError(f"{name} {percent}: expected more than 0 and at most 100")
    if not 0 <= z_crop < 0.5:
        raise ValueError(f"z_crop {z_crop}: expected at least 0 and less than 0.5")
    factor = 1
    while np.prod([-(-n // factor) for n in volume.shape], dtype=np.int64) > _MAX_VOXELS:
        factor += 1
    sigma = smoothing / factor
    density = _block_average(volume, factor)
    density = ndimage.gaussian_filter(density, sigma) - ndimage.gaussian_filter(density, 4 * sigma)

    extreme = ndimage.maximum_filter(np.abs(density), size=2 * round(2 * sigma) + 1)
    mask: NDArray[np.bool_] = extreme >= np.percentile(extreme, 100 - density_percent)
    variance = ndimage.gaussian_filter(np.square(density), 2 * sigma)
    mask &= variance >= np.percentile(variance, 100 - std_percent)

    for axis, n in enumerate(volume.shape):
        mask = np.repeat(mask, factor, axis=axis)
        mask = mask[(slice(None),) * axis + (slice(n),)]
    crop = round(z_crop * volume.shape[0])
    mask[:crop] = False
    mask[volume.shape[0] - crop :] = False
    return mask


def _block_average(volume: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Float32 averages of cubes of ``factor`` voxels; those at the far ends can be smaller."""
    slabs = []
    for start in range(0, volume.shape[0], factor):
        average = volume[start : start + factor].mean(axis=0, dtype=np.float64)
        for axis, n in enumerate(average.shape):
            edges = np.arange(0, n, factor)
            counts = np.diff(np.append(edges, n))
            average = np.add.reduceat(average, edges, axis=axis) / np.expand_dims(counts, 1 - axis)
        slabs.append(average.astype(np.float32))
    return np.stack(slabs)
