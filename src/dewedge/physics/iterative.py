"""Iterative reconstruction of aligned tilt images: SIRT, and total-variation minimisation.

Both look for the volume whose projections are the images. A tilted image shows specimen beyond its own width
(at 60 degrees twice as wide), so both reconstruct a slab as wide as the rays of all images reach, and cut it
to the images' width: else what lies beyond would be forced into the volume, as bright rims. The slab of SIRT
is as thick as the volume, and specimen above or below it is forced in; that of total variation is thicker by
a third, and cut.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import Floats, TiltGeometry
from dewedge.physics.fourier import fourier_crop
from dewedge.physics.projection import back_project, project, row_blocks

SIRT_ITERATIONS = 5
TV_ITERATIONS = 100
TV_WEIGHT = 1.0
COARSE = 2  # binning of `coarse_tv`
COARSE_TV_ITERATIONS = 60
COARSE_TV_WEIGHT = 0.5

_SLAB_MARGIN = 1 / 6  # of `tv`, above and below, in units of the thickness
# Bytes of one block of the slab.
_BLOCK_BYTES = 2**27
# Voxels of one block of the slab in which total variation is minimised: 1.4 GB. And rows more on either side,
# beyond which nothing changes it.
_TV_BLOCK_VOXELS = 2**26
_TV_MARGIN = 16
# That are in memory at once: the slab, the point ahead or the change, and differences along three axes.
_SLABS = 5
# Voxels whose differences are limited at a time.
_LIMITED_VOXELS = 2**21
# Tilts beyond this make the slab no wider.
_STEEPEST_DEG = 75.0
# Sums of rays and voxels below this meet nothing.
_NOTHING = 1e-6
# How the primal-dual iteration shares its steps: between differences and projections, dual and primal.
_DIFFERENCE_SCALE = 0.5
_DUAL_STEP = 10.0
# Median absolute value of a Gaussian of standard deviation 1.
_GAUSSIAN_MEDIAN = 0.6745


def sirt(images: Tensor, geometry: TiltGeometry, thickness: int, iterations: int = SIRT_ITERATIONS) -> Tensor:
    """Reconstruct a volume by the simultaneous iterative reconstruction technique, from zero.

    ``x += C A^T R (b - A x)``: A projects, A^T is its exact adjoint, R and C divide by the sums of A over the
    voxels of a ray and the rays of a voxel. The weighted residual falls with every iteration; coarse detail
    comes first, so few iterations are the prior: with many, noise comes in.

    Parameters
    ----------
    images
        ``(n, y, x)`` images, float32 or float64, on any device; the tilt axis is y, the background is zero.
    geometry
        Their geometry, aligned.
    thickness
        Number of z slices, in the images' pixels.
    iterations
        Number of iterations.

    Returns
    -------
    Tensor
        ``(z, y, x)`` volume, as wide and high as the images, on the grey scale of
        `dewedge.physics.reconstruction.fbp`: images are sums of it along the rays, in voxels.

    Raises
    ------
    InputError
        If the thickness or the number of iterations is not positive.
    ValueError
        If the images do not fit the geometry, or it is not aligned.

    Source: Gregor and Benson 2008, IEEE Trans. Med. Imaging 27, 918; Gilbert 1972, J. Theor. Biol. 36, 105.
    """
    volume = images.new_empty((thickness, *geometry.image_shape_yx))
    for rows, block in sirt_blocks(images, geometry, thickness, iterations):
        volume[:, rows] = block
    return volume


def sirt_blocks(
    images: Tensor, geometry: TiltGeometry, thickness: int, iterations: int = SIRT_ITERATIONS
) -> Iterator[tuple[slice, Tensor]]:
    """The volume of `sirt` in blocks of rows along the tilt axis: (rows, ``(z, rows, x)`` block) pairs.

    Parameters and errors are those of `sirt`. The slab's block takes at most 128 MB, or one row; about four
    times that is in use at once.
    """
    _check(images, geometry, thickness, iterations)
    tilts = geometry.tilt_deg
    height, width = geometry.image_shape_yx
    slab_width = _slab_width(tilts, width, thickness)
    of_rays, of_voxels = _sums(images, tilts, thickness, slab_width)
    for rows in row_blocks(height, max(1, _BLOCK_BYTES // (4 * thickness * slab_width))):
        measured = images[:, rows]
        n_rows = rows.stop - rows.start
        slab = images.new_zeros((thickness, n_rows, slab_width))
        for _ in range(iterations):
            residual = (measured - project(slab, tilts, (n_rows, width))).div_(of_rays)
            slab += back_project(residual, tilts, (thickness, n_rows, slab_width)).div_(of_voxels)
        yield rows, _cut(slab, width)


def tv(
    images: Tensor,
    geometry: TiltGeometry,
    thickness: int,
    weight: float = TV_WEIGHT,
    iterations: int = TV_ITERATIONS,
    on_iteration: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Reconstruct the volume x that minimises ``1/2 ||A x - b||^2 + w TV(x)``.

    TV is the isotropic total variation in three dimensions: the sum over voxels of the length of the
    difference to the next voxels along z, y and x. It favours densities that are constant in parts with sharp
    borders. The primal-dual iteration, from zero, has the diagonal step sizes of Pock and Chambolle. Rows
    along the tilt axis are in memory, about five times, in overlapping blocks of 1.4 GB or 64 rows.

    Parameters
    ----------
    images
        ``(n, y, x)`` images, float32 or float64, on any device; the tilt axis is y, the background is zero.
    geometry
        Their geometry, aligned.
    thickness
        Number of z slices, in the images' pixels.
    weight
        Of the total variation, in units of the noise that one voxel collects: w is ``weight`` times
        `noise_level` times the square root of the number of images. So a weight means the same for any grey
        scale, noise and number of tilts.
    iterations
        Number of iterations.
    on_iteration
        Called with the number of iterations done and of all iterations, those of all blocks.

    Returns
    -------
    Tensor
        ``(z, y, x)`` volume, as wide and high as the images, on the grey scale of
        `dewedge.physics.reconstruction.fbp`.

    Raises
    ------
    InputError
        If the thickness or the number of iterations is not positive, or the weight is negative or not finite.
    ValueError
        If the images do not fit the geometry, or it is not aligned.

    Sources: Rudin, Osher and Fatemi 1992, Physica D 60, 259 (total variation); Chambolle and Pock 2011,
    J. Math. Imaging Vis. 40, 120 (algorithm 1); Pock and Chambolle 2011, ICCV, 1762 (lemma 2, step sizes).
    """
    _check(images, geometry, thickness, iterations)
    if not (math.isfinite(weight) and weight >= 0):
        raise InputError(f"weight of the total variation {weight:g}: expected a number of 0 or more")
    height, width = geometry.image_shape_yx
    radius = weight * noise_level(images) * math.sqrt(geometry.n_tilts)
    above, depth = _tv_depth(thickness)
    slab_width = _slab_width(geometry.tilt_deg, width, depth)
    n_rows = _tv_rows(depth, slab_width)
    volume = images.new_empty((thickness, height, width))
    blocks, done = list(row_blocks(height, n_rows)), itertools.count(1)

    def count() -> None:
        on_iteration(next(done), len(blocks) * iterations)

    for rows in blocks:
        first = max(rows.start - _TV_MARGIN, 0)
        seen = images[:, first : rows.stop + _TV_MARGIN]
        slab = minimise_tv(seen, geometry.tilt_deg, depth, slab_width, radius, iterations, count)
        here = slice(rows.start - first, rows.stop - first)
        volume[:, rows] = _cut(slab, width)[above : above + thickness, here]
    return volume


def coarse_tv(
    images: Tensor,
    geometry: TiltGeometry,
    thickness: int,
    on_iteration: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Reconstruct by `tv` at twice the voxel size, of images binned by two, for what is coarse in a specimen.

    It takes a tenth of the time. Parameters and errors are those of `tv`; an odd last row and column of the
    images are left out, so that voxels are twice as wide to the last digit.

    Returns
    -------
    Tensor
        ``(z, y, x)`` volume of half the size, on the grey scale of the images' own reconstruction; its
        centre, index N // 2, is theirs.
    """
    height, width = (n // COARSE for n in geometry.image_shape_yx)
    binned = fourier_crop(images[:, : height * COARSE, : width * COARSE], (height, width))
    coarse = geometry.aligned(COARSE, (height, width))
    volume = tv(
        binned, coarse, _coarse_thickness(thickness), COARSE_TV_WEIGHT, COARSE_TV_ITERATIONS, on_iteration
    )
    # Rays are half as long in coarse voxels.
    return volume.div_(COARSE)


def tv_bytes(tilt_deg: Floats, shape_zyx: tuple[int, int, int], *, coarse: bool = False) -> float:
    """Bytes that `tv`, or `coarse_tv`, takes at once beside the images, for a tomogram of this shape.

    They are `_SLABS` blocks of its slab, and the volume.
    """
    thickness, height, width = shape_zyx
    if coarse:
        thickness, height, width = _coarse_thickness(thickness), height // COARSE, width // COARSE
    _, depth = _tv_depth(thickness)
    slab_width = _slab_width(tilt_deg, width, depth)
    rows = min(_tv_rows(depth, slab_width) + 2 * _TV_MARGIN, height)
    return 4.0 * (_SLABS * depth * rows * slab_width + thickness * height * width)


def minimise_tv(
    images: Tensor,
    tilt_deg: Floats,
    thickness: int,
    slab_width: int,
    tv_weight: float,
    iterations: int,
    on_iteration: Callable[[], None] = lambda: None,
) -> Tensor:
    """``(z, y, slab_width)`` minimiser of ``1/2 ||A x - b||^2 + tv_weight TV(x)`` after some iterations.

    A projects the slab, ``thickness`` voxels high, to ``(n, y, x)`` images b at ``(n,)`` tilt angles. The
    algorithm is that of `tv`; ``on_iteration`` is called after each iteration.
    """
    n, height, width = images.shape
    shape = (thickness, height, slab_width)
    of_rays, of_voxels = _sums(images, tilt_deg, thickness, slab_width)
    # Differences are scaled by s, as large in all as what a voxel projects; s cancels in their dual step.
    s = _DIFFERENCE_SCALE * n
    ray_step = _DUAL_STEP / of_rays
    difference_step = _DUAL_STEP * s / 2
    # A voxel is in six differences.
    voxel_step = 1 / (_DUAL_STEP * (of_voxels + 6 * s))
    slab = images.new_zeros(shape)
    ahead = slab
    residual = torch.zeros_like(images)
    flow = images.new_zeros((3, *shape))
    for _ in range(iterations):
        residual += ray_step * (project(ahead, tilt_deg, (height, width)) - images)
        residual /= 1 + ray_step
        _add_differences(flow, ahead, difference_step)
        _limit(flow, tv_weight)
        ahead = slab  # what was ahead makes room for the change
        change = back_project(residual, tilt_deg, shape)
        _add_transposed_differences(change, flow)
        change *= voxel_step
        slab -= change
        ahead = change.neg_().add_(slab)
        del change
        on_iteration()
    return slab


def noise_level(images: Tensor) -> float:
    """Standard deviation of white noise in ``(n, y, x)`` images, little disturbed by what they show.

    From the median absolute value of the diagonal Haar coefficients, (a - b - c + d) / 2 of each two by two
    pixels. Source: Donoho and Johnstone 1994, Biometrika 81, 425 (section 4.2).
    """
    even = images[:, : images.shape[1] // 2 * 2, : images.shape[2] // 2 * 2]
    across = even[..., ::2] - even[..., 1::2]
    diagonal = (across[:, ::2] - across[:, 1::2]) / 2
    return float(diagonal.abs().median()) / _GAUSSIAN_MEDIAN


def total_variation(volume: Tensor) -> float:
    """Isotropic total variation of a ``(z, y, x)`` volume; differences end at its sides.

    Examples
    --------
    >>> volume = torch.zeros(3, 3, 3)
    >>> volume[1, 1, 1] = 1
    >>> total_variation(volume)  # the voxel's own differences have the length sqrt(3)
    4.73
    """
    differences = volume.new_zeros((3, *volume.shape))
    _add_differences(differences, volume, 1.0)
    return float(differences.norm(dim=0).sum(dtype=torch.float64))


def _check(images: Tensor, geometry: TiltGeometry, thickness: int, iterations: int) -> None:
    expected = (geometry.n_tilts, *geometry.image_shape_yx)
    if tuple(images.shape) != expected:
        raise ValueError(f"images: expected shape {expected}, got {tuple(images.shape)}")
    if not geometry.is_aligned:
        raise ValueError("expected an aligned geometry: align the images first")
    if thickness < 1:
        raise InputError(f"thickness {thickness}: expected at least 1 voxel")
    if iterations < 1:
        raise InputError(f"iterations {iterations}: expected at least 1")


def _slab_width(tilt_deg: Floats, width: int, thickness: int) -> int:
    """Width of the slab that all rays through the images cross from top to bottom."""
    angles = np.radians(np.minimum(np.abs(tilt_deg), _STEEPEST_DEG))
    reach = (width / 2 + thickness / 2 * np.sin(angles)) / np.cos(angles)
    return 2 * math.ceil(float(reach.max()) + 1)


def _tv_rows(thickness: int, slab_width: int) -> int:
    """Rows of a block of `tv`, without its margins."""
    return max(_TV_BLOCK_VOXELS // (thickness * slab_width) - 2 * _TV_MARGIN, 2 * _TV_MARGIN)


def _tv_depth(thickness: int) -> tuple[int, int]:
    """Depth of the slab of `tv` above the volume, and in all."""
    above = math.ceil(_SLAB_MARGIN * thickness)
    return above, thickness + 2 * above


def _coarse_thickness(thickness: int) -> int:
    """Thickness of the volume of `coarse_tv`."""
    return -(-thickness // COARSE)


def _cut(slab: Tensor, width: int) -> Tensor:
    """The middle of the slab, with the centre at index N // 2."""
    start = slab.shape[2] // 2 - width // 2
    return slab[:, :, start : start + width]


def _sums(like: Tensor, tilt_deg: Floats, thickness: int, slab_width: int) -> tuple[Tensor, Tensor]:
    """Sums of A over each ray's voxels, ``(n, 1, x)``, and over each voxel's rays, ``(z, 1, x)``."""
    n, _, width = like.shape
    of_rays = project(like.new_ones((thickness, 1, slab_width)), tilt_deg, (1, width))
    of_voxels = back_project(like.new_ones((n, 1, width)), tilt_deg, (thickness, 1, slab_width))
    return of_rays.clamp(min=_NOTHING), of_voxels.clamp(min=_NOTHING)


def _add_differences(flow: Tensor, volume: Tensor, scale: float) -> None:
    """Add ``scale`` times the differences to the next voxel along each axis; none at the last voxel."""
    for axis, part in enumerate(flow):
        n = volume.shape[axis] - 1
        here = part.narrow(axis, 0, n)
        here.add_(volume.narrow(axis, 1, n), alpha=scale).sub_(volume.narrow(axis, 0, n), alpha=scale)


def _add_transposed_differences(volume: Tensor, flow: Tensor) -> None:
    """Add the adjoint of the differences, applied to ``flow``."""
    for axis, part in enumerate(flow):
        n = volume.shape[axis] - 1
        here = part.narrow(axis, 0, n)
        volume.narrow(axis, 1, n).add_(here)
        volume.narrow(axis, 0, n).sub_(here)


def _limit(flow: Tensor, radius: float) -> None:
    """Shorten the vectors of ``flow`` to at most ``radius``, a few sections at a time."""
    for part in torch.split(flow, max(1, _LIMITED_VOXELS // flow[0, 0].numel()), dim=1):
        length = part[0].square().addcmul_(part[1], part[1]).addcmul_(part[2], part[2]).sqrt_()
        part *= radius / length.clamp_(min=max(radius, torch.finfo(flow.dtype).tiny))
