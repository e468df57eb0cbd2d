"""Forward projection of a volume and its exact adjoint, back-projection.

With the tilt axis along y, all rows of a volume share one table of detector positions and weights. Projection
and back-projection are then weighted sums (``torch.nn.functional.embedding_bag``) of whole runs of y.

A voxel at (z, x), counted from index N // 2, projects to x_p = x cos(a) + z sin(a). Its shadow is a box as
wide as the larger of cos(a) and abs(sin(a)), shared by the two nearest pixels of the detector: so a uniform
specimen projects uniformly, where plain linear weights leave stripes at 45 degrees (distance-driven method;
De Man and Basu 2004, Phys. Med. Biol. 49, 2463). Lengths are in voxels: a projection is the sum of voxels
along the ray, without a factor for the voxel size. Parts outside the detector are lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.alignment import resample, sampling_grid

# Pairs of a voxel and a tilt in one table of indices and weights: 4 MB, that fit the cache.
_TABLE_PAIRS = 2**18
# Rows of y that are gathered at once; runs much shorter than this waste the table, longer ones the cache.
_ROWS = 128
# Places between two pixels that `interpolation_response` tells apart.
_FRACTIONS = 64


def back_project(images: Tensor, tilt_deg: ArrayLike, volume_shape_zyx: tuple[int, int, int]) -> Tensor:
    """Back-project aligned tilt images: the exact adjoint of `project`, without filter and weights.

    Parameters
    ----------
    images
        ``(n, y, x)`` tilt images whose tilt axis is y; float32 or float64.
    tilt_deg
        ``(n,)`` tilt angles in degrees.
    volume_shape_zyx
        Shape of the volume. Its rows along y are those of the images, matched at index N // 2.

    Returns
    -------
    Tensor
        ``(z, y, x)`` sum over the tilts of the images at x_p, on the device of the images.
    """
    height = volume_shape_zyx[1]
    images = match_rows(images, height)
    volume = images.new_empty(volume_shape_zyx)
    for rows in row_blocks(height, _ROWS):
        _back_project_into(volume[:, rows], images[:, rows], tilt_deg)
    return volume


def project(volume: Tensor, tilt_deg: ArrayLike, image_shape_yx: tuple[int, int]) -> Tensor:
    """Project a ``(z, y, x)`` volume at ``(n,)`` tilt angles to aligned ``(n, y, x)`` images.

    The volume is float32 or float64, on any device; images are sums along the rays, in voxels. Rows along y
    are matched at index N // 2.

    Examples
    --------
    >>> volume = torch.zeros(3, 1, 7)
    >>> volume[2, 0, 3] = 1  # a voxel above the tilt axis, at z = 1 and x = 0
    >>> project(volume, [0, 90], (1, 7))[:, 0].round()
    tensor([[0., 0., 0., 1., 0., 0., 0.],
            [0., 0., 0., 0., 1., 0., 0.]])
    """
    angles = np.radians(np.asarray(tilt_deg, dtype=np.float64))
    height, width = image_shape_yx
    volume = match_rows(volume, height)
    images = volume.new_empty((angles.size, height, width))
    depth = volume.shape[0]
    steepest = float(angles[np.abs(angles).argmax()])
    for rows in row_blocks(height, _ROWS):
        sums = volume.new_zeros((angles.size, width, rows.stop - rows.start))
        for slab in row_blocks(depth, max(1, _TABLE_PAIRS // (_taps(steepest) * width))):
            block = volume[slab, rows].transpose(1, 2).contiguous()
            for image, angle in zip(sums, angles, strict=True):
                _add_projection(image, block, slab.start - depth // 2, float(angle))
        images[:, rows] = sums.transpose(1, 2)
    return images


class Projector:
    """Linear operator from a volume to the raw tilt images of a geometry, and its exact adjoint.

    Parameters
    ----------
    geometry
        The images' geometry. One raw pixel is as wide as one voxel; for a binned volume give the geometry
        after alignment and binning.
    volume_shape_zyx
        Shape of the volume. Its centre, index N // 2, lies on the tilt axis.
    """

    def __init__(self, geometry: TiltGeometry, volume_shape_zyx: tuple[int, int, int]) -> None:
        self.geometry = geometry
        self.volume_shape_zyx = volume_shape_zyx
        depth, height, width = volume_shape_zyx
        # Wide enough for all that the volume casts at any tilt, so resampling to the raw frame loses nothing.
        self._aligned_shape_yx = (height, 2 * _reach(depth, width) + 1)

    def forward(self, volume: Tensor) -> Tensor:
        """``(n, y, x)`` raw images of a ``(z, y, x)`` volume, float32 or float64, on its device.

        Raises
        ------
        ValueError
            If the volume is of another shape.
        """
        if tuple(volume.shape) != self.volume_shape_zyx:
            raise ValueError(f"volume: expected shape {self.volume_shape_zyx}, got {tuple(volume.shape)}")
        if self.geometry.is_aligned:
            return project(volume, self.geometry.tilt_deg, self.geometry.image_shape_yx)
        images = volume.new_empty((self.geometry.n_tilts, *self.geometry.image_shape_yx))
        aligned = project(volume, self.geometry.tilt_deg, self._aligned_shape_yx)
        for i, image in enumerate(aligned):
            images[i] = resample(image, self._grid(i, image), mode="bilinear")
        return images

    def adjoint(self, images: Tensor) -> Tensor:
        """``(z, y, x)`` volume from raw ``(n, y, x)`` images: back-projection without filter and weights.

        Raises
        ------
        ValueError
            If the images are of another shape.
        """
        expected = (self.geometry.n_tilts, *self.geometry.image_shape_yx)
        if tuple(images.shape) != expected:
            raise ValueError(f"images: expected shape {expected}, got {tuple(images.shape)}")
        if self.geometry.is_aligned:
            return back_project(images, self.geometry.tilt_deg, self.volume_shape_zyx)
        aligned = images.new_empty((self.geometry.n_tilts, *self._aligned_shape_yx))
        for i, image in enumerate(images):
            with torch.enable_grad():
                source = torch.zeros_like(aligned[i], requires_grad=True)
                sampled = resample(source, self._grid(i, image), mode="bilinear")
            (aligned[i],) = torch.autograd.grad(sampled, source, image)
        return back_project(aligned, self.geometry.tilt_deg, self.volume_shape_zyx)

    def _grid(self, i: int, like: Tensor) -> Tensor:
        """Places of the raw pixels of image i in the aligned image."""
        shape = self.geometry.image_shape_yx
        grid = sampling_grid(
            shape,
            (shape[0] // 2, shape[1] // 2),
            self.geometry.linear_yx[i],
            self.geometry.shift_yx[i],
            self._aligned_shape_yx,
            like.device,
        )
        return grid.to(like.dtype)


def interpolation_response(tilt_deg: float, shape_zx: tuple[int, int], frequency_per_voxel: Tensor) -> Tensor:
    """Share of a wave along the detector's x that arrives in the volume when an image is back-projected.

    A voxel takes two pixels by their shares of its shadow, which passes less of high frequencies, unless it
    lies on a pixel, as all do at zero tilt. This is the mean over the volume's voxels of the response: about
    sinc(k) sinc(s k), s the shadow's width, where they lie anywhere between the pixels.

    Parameters
    ----------
    shape_zx
        Depth and width of the volume.
    frequency_per_voxel
        ``(k,)`` frequencies in cycles per voxel.

    Returns
    -------
    Tensor
        ``(k,)`` float64 responses, 1 at zero frequency.
    """
    angle = math.radians(tilt_deg)
    shadow = max(math.cos(angle), abs(math.sin(angle)))
    z, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape_zx)
    position = z[:, None] * math.sin(angle) + x * math.cos(angle)
    # Bins about 0, 1 / n, 2 / n ...; those about 0 and 1 are one.
    nearest = torch.round((position - position.floor()) * _FRACTIONS).long().flatten() % _FRACTIONS
    count = torch.bincount(nearest, minlength=_FRACTIONS).double()
    fraction = torch.arange(_FRACTIONS, dtype=torch.float64) / _FRACTIONS
    second = (fraction / shadow + 0.5 - 0.5 / shadow).clamp(0, 1)
    turn = 2 * torch.pi * frequency_per_voxel.double()[:, None]
    passed = (1 - second) * torch.cos(turn * fraction) + second * torch.cos(turn * (1 - fraction))
    return passed @ (count / count.sum())


def row_blocks(n_rows: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` rows that cover ``n_rows``.

    Examples
    --------
    >>> list(row_blocks(5, 4))
    [slice(0, 4, None), slice(4, 5, None)]
    """
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def match_rows(stack: Tensor, height: int) -> Tensor:
    """A ``(n, y, x)`` stack cut or padded with zeros to ``height`` rows about index N // 2."""
    before = height // 2 - stack.shape[1] // 2
    after = height - stack.shape[1] - before
    return F.pad(stack, (0, 0, before, after)) if before or after else stack


def _back_project_into(volume: Tensor, images: Tensor, tilt_deg: ArrayLike) -> None:
    """Overwrite a ``(z, y, x)`` volume of few rows by the back-projection of ``(n, y, x)`` images."""
    n, rows, detector = images.shape
    depth, _, width = volume.shape
    device, dtype = images.device, images.dtype
    # Cut or padded to all that the volume casts, so that no voxel lies outside.
    reach = _reach(depth, width)
    before = reach - detector // 2
    sinogram = F.pad(images.transpose(1, 2), (0, 0, before, 2 * reach + 1 - detector - before)).contiguous()
    table = sinogram.reshape(n * (2 * reach + 1), rows)
    first = torch.arange(n, dtype=torch.int32, device=device) * (2 * reach + 1)
    angles = torch.deg2rad(torch.tensor(np.asarray(tilt_deg), dtype=torch.float64, device=device))
    shadow = torch.maximum(torch.cos(angles), torch.sin(angles).abs())
    slope, offset = (1 / shadow).to(dtype), (0.5 - 0.5 / shadow).to(dtype)
    x = torch.arange(width, dtype=torch.float64, device=device) - width // 2
    from_x = x[:, None] * torch.cos(angles) + reach
    for slab in row_blocks(depth, max(1, _TABLE_PAIRS // (n * width))):
        z = torch.arange(slab.start, slab.stop, dtype=torch.float64, device=device) - depth // 2
        position = (from_x + (z[:, None] * torch.sin(angles))[:, None, :]).reshape(-1, n)
        index = torch.empty((len(position), 2, n), dtype=torch.int32, device=device)
        weight = torch.empty((len(position), 2, n), dtype=dtype, device=device)
        torch.add(position.int(), first, out=index[:, 0])
        torch.add(index[:, 0], 1, out=index[:, 1])
        # Part of the shadow that falls on the second pixel; the rest falls on the first.
        second = position.frac_().to(dtype).mul_(slope).add_(offset)
        torch.clamp(second, 0, 1, out=weight[:, 1])
        torch.sub(1, weight[:, 1], out=weight[:, 0])
        bags = _weighted_sums(table, index, weight)
        volume[slab] = bags.reshape(-1, width, rows).transpose(1, 2)


def _reach(depth: int, width: int) -> int:
    """Pixels on both sides of the tilt axis that hold the shadow of a volume at any tilt."""
    return math.ceil(math.hypot(depth, width) / 2) + 1


def _taps(angle: float) -> int:
    """Most voxels of one z whose shadows can touch one pixel."""
    cos = math.cos(angle)
    return math.floor((1 + max(cos, abs(math.sin(angle)))) / cos) + 1


def _add_projection(image: Tensor, volume: Tensor, first_z: int, angle: float) -> None:
    """Add the projection of a contiguous ``(z, x, y)`` slab to a ``(detector, y)`` image.

    It gathers, too: the voxels of one z that reach a detector pixel lie side by side, so each bag holds a
    fixed number of voxels of each z, with the weights of `_back_project_into`. ``first_z`` is the slab's
    first z, counted from the tilt axis; ``angle`` is in radians.
    """
    depth, width, rows = volume.shape
    device, dtype = volume.device, volume.dtype
    cos, sin = math.cos(angle), math.sin(angle)
    shadow = max(cos, abs(sin))
    half_width = (1 + shadow) / 2
    taps = min(_taps(angle), width)
    # The pixels that the slab reaches at all.
    heights = (first_z * sin, (first_z + depth - 1) * sin)
    centre, detector = len(image) // 2, len(image)
    low = max(0, math.floor(min(heights) - width // 2 * cos) - 1 + centre)
    high = min(detector, math.ceil(max(heights) + (width - 1 - width // 2) * cos) + 2 + centre)
    if low >= high:
        return
    u = torch.arange(low, high, dtype=torch.float64, device=device) - centre
    z = torch.arange(depth, dtype=torch.float64, device=device)
    distance = (z + first_z) * sin - u[:, None]
    start = torch.ceil((-half_width - distance) / cos).add_(width // 2).clamp_(0, width - taps)
    distance += (start - width // 2) * cos
    tap = torch.arange(taps, dtype=torch.float64, device=device)[:, None]
    index = start.add_(z * width).int()[:, None] + tap.int()
    weight = distance.to(dtype)[:, None] + (tap * cos).to(dtype)
    weight.abs_().mul_(-1 / shadow).add_(half_width / shadow).clamp_(0, 1)
    image[low:high] += _weighted_sums(volume.reshape(-1, rows), index, weight)


def _weighted_sums(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """``(n, y)`` sums of rows of a ``(m, y)`` table; n is the first axis of ``index`` and ``weight``."""
    sums: Tensor = F.embedding_bag(index.flatten(1), table, mode="sum", per_sample_weights=weight.flatten(1))
    return sums
