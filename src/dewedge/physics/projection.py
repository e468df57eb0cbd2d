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

# Entries of one table of indices and weights; building it takes about 50 bytes an entry, 100 MB in all.
_TABLE_ENTRIES = 2**21
# Rows of y that are gathered at once; runs much shorter than this waste the table, longer ones the cache.
_ROWS = 256


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
    depth, height, width = volume_shape_zyx
    images = match_rows(images, height)
    volume = images.new_empty(volume_shape_zyx)
    for rows in row_blocks(height, _ROWS):
        block = images[:, rows].transpose(1, 2).contiguous()
        volume[:, rows] = _gather(block, tilt_deg, depth, width).transpose(1, 2)
    return volume


def project(volume: Tensor, tilt_deg: ArrayLike, image_shape_yx: tuple[int, int]) -> Tensor:
    """Project a ``(z, y, x)`` volume at ``tilt_deg`` degrees to aligned ``(n, y, x)`` images."""
    angles = np.radians(np.asarray(tilt_deg, dtype=np.float64))
    height, width = image_shape_yx
    volume = match_rows(volume, height)
    images = volume.new_empty((angles.size, height, width))
    for rows in row_blocks(height, _ROWS):
        block = volume[:, rows].transpose(1, 2).contiguous()
        for image, angle in zip(images, angles, strict=True):
            image[rows] = _scatter(block, float(angle), width).T
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
        reach = math.ceil(math.hypot(depth, width) / 2) + 1
        self._aligned_shape_yx = (height, 2 * reach + 1)

    def forward(self, volume: Tensor) -> Tensor:
        """``(n, y, x)`` raw images of a ``(z, y, x)`` volume, float32 or float64, on its device."""
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
        """``(z, y, x)`` volume from raw ``(n, y, x)`` images: back-projection without filter and weights."""
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
        """Where the raw pixels of image i lie in the aligned image."""
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


def row_blocks(n_rows: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` rows that cover ``n_rows``."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def match_rows(stack: Tensor, height: int) -> Tensor:
    """A ``(n, y, x)`` stack cut or padded with zeros to ``height`` rows about index N // 2."""
    before = height // 2 - stack.shape[1] // 2
    after = height - stack.shape[1] - before
    return F.pad(stack, (0, 0, before, after)) if before or after else stack


def _gather(sinogram: Tensor, tilt_deg: ArrayLike, depth: int, width: int) -> Tensor:
    """``(depth, width, y)`` back-projection of a contiguous ``(n, detector, y)`` sinogram."""
    n, detector, rows = sinogram.shape
    device, dtype = sinogram.device, sinogram.dtype
    angles = torch.deg2rad(torch.tensor(np.asarray(tilt_deg), dtype=torch.float64, device=device))
    x = torch.arange(width, dtype=torch.float64, device=device) - width // 2
    shadow = torch.maximum(torch.cos(angles), torch.sin(angles).abs()).unsqueeze(-1).to(dtype)
    from_x = x[:, None] * torch.cos(angles) + detector // 2
    first = torch.arange(n, dtype=torch.int32, device=device)[:, None] * detector
    table = sinogram.reshape(n * detector, rows)
    volume = sinogram.new_empty((depth, width, rows))
    for slab in row_blocks(depth, max(1, _TABLE_ENTRIES // (2 * n * width))):
        z = torch.arange(slab.start, slab.stop, dtype=torch.float64, device=device) - depth // 2
        position = from_x + (z[:, None] * torch.sin(angles))[:, None, :]
        pixel = torch.floor(position).unsqueeze(-1) + torch.arange(2, device=device)
        weight = _overlap((position.unsqueeze(-1) - pixel).to(dtype), shadow)
        weight *= (pixel >= 0) & (pixel < detector)
        index = pixel.clamp_(0, detector - 1).int().add_(first)
        bags = F.embedding_bag(
            index.reshape(-1, 2 * n), table, mode="sum", per_sample_weights=weight.reshape(-1, 2 * n)
        )
        volume[slab] = bags.reshape(-1, width, rows)
    return volume


def _scatter(volume: Tensor, angle: float, detector: int) -> Tensor:
    """``(detector, y)`` projection of a contiguous ``(z, x, y)`` volume at ``angle`` in radians.

    It gathers, too: the voxels of one z that reach a detector pixel lie within 1 / cos(a) of one x, so each
    bag holds a fixed number of voxels of each z, with the weights of `_gather`.
    """
    depth, width, rows = volume.shape
    device = volume.device
    cos, sin = math.cos(angle), math.sin(angle)
    shadow = torch.tensor(max(cos, abs(sin)), dtype=volume.dtype, device=device)
    taps = math.ceil(2 / cos) + 1
    u = torch.arange(detector, dtype=torch.float64, device=device) - detector // 2
    image = volume.new_zeros((detector, rows))
    for slab in row_blocks(depth, max(1, _TABLE_ENTRIES // (taps * detector))):
        z = torch.arange(slab.start, slab.stop, dtype=torch.float64, device=device) - depth // 2
        height = z * sin
        start = torch.floor((u[:, None] - height - 1) / cos)
        x = start.unsqueeze(-1) + torch.arange(taps, device=device)
        distance = x * cos + (height[:, None] - u[:, None, None])
        weight = _overlap(distance.to(volume.dtype), shadow)
        column = x.add_(width // 2)
        weight *= (column >= 0) & (column < width)
        first = torch.arange(slab.stop - slab.start, dtype=torch.int32, device=device)[:, None] * width
        index = column.clamp_(0, width - 1).int().add_(first)
        image += F.embedding_bag(
            index.reshape(detector, -1),
            volume[slab].reshape(-1, rows),
            mode="sum",
            per_sample_weights=weight.reshape(detector, -1),
        )
    return image


def _overlap(distance: Tensor, shadow: Tensor) -> Tensor:
    """Part of a voxel's shadow, as wide as ``shadow`` pixels, that falls on a pixel at ``distance``."""
    return ((1 + shadow) / 2 - distance.abs()).clamp_(min=0).minimum(shadow).div_(shadow)
