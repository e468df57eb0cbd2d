"""Rotations of cubic sub-tomograms.

A rotation is a 3 x 3 matrix R that multiplies (z, y, x) column vectors from the left; the rotated volume is
v(R^T r), with r counted from index N // 2 of each axis.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """``(3, 3)`` rotation drawn uniformly from SO(3)."""
    return Rotation.random(rng=rng).as_matrix()


@functools.cache
def cube_rotations() -> NDArray[np.float64]:
    """``(24, 3, 3)`` rotations that map a cube onto itself; the first one is the identity."""
    rotations = []
    for permutation in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.diag(signs)[list(permutation)]
            if np.linalg.det(matrix) > 0:
                rotations.append(matrix)
    stacked = np.stack(rotations)
    stacked.setflags(write=False)
    return stacked


def source_extent(rotation: NDArray[np.float64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the voxels of a rotated cube see of the volume they are drawn from.

    Returns
    -------
    (3,) and (3,) integers
        Lowest and highest (z, y, x) offset from the centre, over all corners of a cube of ``size`` voxels.
    """
    low, high = -(size // 2), (size - 1) - size // 2
    terms = np.stack([rotation * low, rotation * high])  # R[j, i] * offset_j, summed over j for axis i
    tolerance = 1e-4  # exact rotations stay exact
    lowest = np.floor(terms.min(axis=0).sum(axis=0) + tolerance)
    highest = np.ceil(terms.max(axis=0).sum(axis=0) - tolerance)
    return lowest.astype(np.int64), highest.astype(np.int64)


def source_size(size: int) -> int:
    """Edge of the cube, in voxels, that holds a cube of ``size`` voxels under every rotation (odd)."""
    return 2 * math.ceil(math.sqrt(3) * (size // 2)) + 1


def rotate_cubes(sources: Tensor, rotations: Tensor, size: int) -> Tensor:
    """Rotate sub-tomograms about their centre by trilinear interpolation; exact for :func:`cube_rotations`.

    Parameters
    ----------
    sources
        ``(b, c, s, s, s)``, large enough that no rotated voxel lies outside (:func:`source_size`).
    rotations
        ``(b, 3, 3)``, as the module says.
    size
        Edge n of the result in voxels.

    Returns
    -------
    Tensor
        ``(b, c, n, n, n)``.
    """
    edge = sources.shape[-1]
    offset = torch.arange(size, device=sources.device, dtype=sources.dtype) - size // 2
    # R^T r as a sum over the axes of r; grid_sample wants (x, y, z) in units where the ends are -1 and 1.
    columns = rotations.to(sources.dtype).flip(-1) * (2 / (edge - 1))
    z, y, x = (
        columns[:, axis, None, None, None, :]
        * offset.reshape([-1 if i == axis else 1 for i in range(3)] + [1])
        for axis in range(3)
    )
    centre = 2 * (edge // 2) / (edge - 1) - 1
    grid = z + y + x + centre
    return F.grid_sample(sources, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
