"""Small copies of large data, read piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.alignment import align_images

Images = NDArray[np.float32]


def binned_image(image: NDArray[Any], factor: int) -> Images:
    """``(y, x)`` averages of blocks of ``factor`` pixels; what fills no block is left out.

    Examples
    --------
    >>> binned_image(np.arange(20.0).reshape(4, 5), 2)
    array([[ 3.,  5.],
           [13., 15.]], dtype=float32)
    """
    height, width = (n // factor for n in image.shape)
    blocks = image[: height * factor, : width * factor].astype(np.float32, copy=False)
    averages: Images = blocks.reshape(height, factor, width, factor).mean(axis=(1, 3))
    return averages


def binned_volume(volume: NDArray[Any], factor: int) -> Images:
    """``(z, y, x)`` averages of blocks of ``factor`` voxels, of a volume in memory or memory-mapped."""
    depth = volume.shape[0] // factor
    slabs = (volume[z * factor : (z + 1) * factor] for z in range(depth))
    return np.stack([binned_image(slab.mean(axis=0, dtype=np.float32), factor) for slab in slabs])


def binned_geometry(geometry: TiltGeometry, factor: int) -> TiltGeometry:
    """Geometry of images that `binned_image` made."""
    height, width = geometry.image_shape_yx
    shape = (height // factor, width // factor)
    # Where the middle of the block that becomes index N // 2 lies from the raw image's index N // 2.
    offset = np.array([n // 2 * factor + (factor - 1) / 2 for n in shape]) - [height // 2, width // 2]
    return replace(
        geometry,
        image_shape_yx=shape,
        pixel_size_A=geometry.pixel_size_A * factor,
        shift_yx=(geometry.shift_yx + geometry.linear_yx @ offset) / factor,
    )


def small_aligned(
    stacks: Sequence[Iterable[NDArray[Any]]], geometry: TiltGeometry, longest: int, smallest: int
) -> tuple[Tensor, TiltGeometry, int] | None:
    """Images binned until no side is longer than ``longest`` pixels, then aligned.

    Parameters
    ----------
    stacks
        The ``(y, x)`` raw images, in memory or memory-mapped; of several stacks, such as those of even and of
        odd frames, the mean is taken.
    geometry
        Their geometry.

    Returns
    -------
    tuple or None
        ``(n, y, x)`` images, their geometry and the binning; None where a side would be shorter than
        ``smallest``.

    Raises
    ------
    InputError
        If an image is constant or holds a value that is not finite.
    """
    factor = math.ceil(max(geometry.image_shape_yx) / longest)
    if min(geometry.image_shape_yx) // factor < smallest:
        return None
    images = np.stack(
        [
            np.mean([binned_image(np.asarray(image), factor) for image in same], axis=0)
            for same in zip(*stacks, strict=True)
        ]
    )
    aligned, binned = align_images(images, binned_geometry(geometry, factor))
    return None if min(binned.image_shape_yx) < smallest else (aligned, binned, factor)
