"""Filtered back-projection of aligned tilt images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.physics.fourier import frequencies, hamming_window
from dewedge.physics.projection import back_project, interpolation_response, match_rows, row_blocks

FilterName = Literal["ramp", "hamming", "radial", "radial-cosine"]

# Bytes of one block of the volume, 128 rows of 512 x 1024 voxels: few rows waste tables of `back_project`.
_BLOCK_BYTES = 2**28
# The images' ends fade out over this fraction of their width.
_EXTENSION_FRACTION = 0.25
# Pixels of an image's mirror image beyond its edges that the radial windows see: they reach no further.
_WINDOW_REACH = 32
# Tilts nearer to each other than this share one direction.
_SAME_TILT_DEG = 0.1


def fbp(
    images: Tensor,
    geometry: TiltGeometry,
    thickness: int,
    filter: FilterName = "ramp",
    volume_shape_yx: tuple[int, int] | None = None,
) -> Tensor:
    """Reconstruct a volume from aligned tilt images by filtered back-projection.

    With tilts all around (180 degrees) it returns the density itself: images are sums along the rays in units
    of voxels, as `dewedge.physics.projection.project` makes them. Each tilt has the weight of the angle it
    stands for, so a half-set has the grey scale of the whole.

    Parameters
    ----------
    images
        ``(n, y, x)`` images, float32, on any device; the tilt axis is y, the background is zero.
    geometry
        Their geometry, aligned.
    thickness
        Number of z slices, in the images' pixels.
    filter
        ``ramp`` is abs(kx); ``hamming`` is that times 0.54 + 0.46 cos(pi kx / k_Nyquist), as published.
        ``radial`` is the ramp times the same window of the distance from zero frequency, and
        ``radial-cosine`` times cos(pi k / (2 k_Nyquist)), see `radial_window`.
    volume_shape_yx
        Shape of a slice, that of the images if not given. Centres, index N // 2, coincide.

    Returns
    -------
    Tensor
        ``(z, y, x)`` volume.

    Raises
    ------
    InputError
        If the thickness is not positive, or all tilt angles are the same.
    ValueError
        If the images do not fit the geometry, or it is not aligned.

    Source: Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), section 3.3.
    """
    height, width = volume_shape_yx or geometry.image_shape_yx
    volume = images.new_empty((thickness, height, width))
    for rows, block in fbp_blocks(images, geometry, thickness, filter, volume_shape_yx):
        volume[:, rows] = block
    return volume


def fbp_blocks(
    images: Tensor,
    geometry: TiltGeometry,
    thickness: int,
    filter: FilterName = "ramp",
    volume_shape_yx: tuple[int, int] | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """The volume of `fbp` in blocks of rows along the tilt axis: (rows, ``(z, rows, x)`` block) pairs.

    Parameters and errors are those of `fbp`. Blocks take at most 256 MB, or one row; two of them are in
    memory at once, and a few copies of the images' rows that one needs; for the radial filters a copy of all
    images.
    """
    expected = (geometry.n_tilts, *geometry.image_shape_yx)
    if tuple(images.shape) != expected:
        raise ValueError(f"images: expected shape {expected}, got {tuple(images.shape)}")
    if not geometry.is_aligned:
        raise ValueError("expected an aligned geometry: align the images first")
    if thickness < 1:
        raise InputError(f"thickness {thickness}: expected at least 1 voxel")
    height, width = volume_shape_yx or geometry.image_shape_yx
    if filter in ("radial", "radial-cosine"):
        images = torch.stack(
            [
                radial_window(image, filter, float(tilt), (thickness, width))
                for image, tilt in zip(images, geometry.tilt_deg, strict=True)
            ]
        )
    weights = torch.from_numpy(tilt_weights_rad(geometry.tilt_deg)).to(images)
    images = match_rows(images, height)
    for rows in row_blocks(height, max(1, _BLOCK_BYTES // (4 * thickness * width))):
        # One by one, so that no spectra of all are in memory.
        filtered = torch.stack(
            [filter_images(image[rows], filter) * w for image, w in zip(images, weights, strict=True)]
        )
        yield rows, back_project(filtered, geometry.tilt_deg, (thickness, rows.stop - rows.start, width))


def tilt_weights_rad(tilt_deg: ArrayLike) -> NDArray[np.float64]:
    """``(n,)`` angle in radians that each tilt stands for: half the distance to its neighbours on both sides.

    The first and the last tilt count their one distance twice. Tilts within 0.1 degrees share a weight.

    Raises
    ------
    InputError
        If all tilt angles are the same.

    Examples
    --------
    >>> np.degrees(tilt_weights_rad([0, 10, 30])).tolist()
    [10.0, 15.0, 20.0]
    """
    tilts = np.asarray(tilt_deg, dtype=np.float64)
    order = np.argsort(tilts)
    group = np.empty(tilts.size, dtype=np.int64)
    group[order] = np.concatenate([[0], np.cumsum(np.diff(tilts[order]) > _SAME_TILT_DEG)])
    count = np.bincount(group)
    if count.size < 2:
        raise InputError(
            f"{tilts.size} tilt images at one angle: expected at least two different tilt angles"
        )
    gaps = np.diff(np.radians(np.bincount(group, weights=tilts) / count))
    weights = (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2
    shared: NDArray[np.float64] = (weights / count)[group]
    return shared


def filter_images(images: Tensor, filter: FilterName) -> Tensor:
    """Ramp-filter ``(n, y, x)`` images along x, and extend them at both ends by a quarter of their width.

    Past its ends each row goes on as its mirror image that fades to zero, so neither the filter nor the
    back-projection meets an edge. The centre stays at index N // 2 of the wider images.
    """
    width = images.shape[-1]
    extension = max(1, math.ceil(_EXTENSION_FRACTION * width))
    outside = torch.arange(1, extension + 1, dtype=images.dtype, device=images.device)
    fade = 0.5 + 0.5 * torch.cos(torch.pi * outside / (extension + 1))
    left = images[..., :extension].flip(-1) * fade.flip(0)
    right = images[..., -extension:].flip(-1) * fade
    wide = torch.cat([left, images, right], dim=-1)
    padded = next_fast_len(2 * wide.shape[-1], real=True)
    response = ramp_response(padded, filter).to(images)
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(wide, n=padded) * response, n=padded)
    return filtered[..., : wide.shape[-1]]


def radial_window(image: Tensor, filter: FilterName, tilt_deg: float, shape_zx: tuple[int, int]) -> Tensor:
    """A ``(y, x)`` image times the radial filter's window, so that its volume is as sharp along all axes.

    A tilt image holds one central plane of the volume's transform, so the distance of a frequency from zero
    is the same in both: a window of that distance in every image is the same window in the volume, whereas
    one of kx alone leaves full noise along the tilt axis. What the back-projection's interpolation takes away
    along x is given back. Beyond the Nyquist frequency nothing is left: the corners of the spectrum are no
    corners any more once a sub-tomogram is turned. Past its edges the image goes on as its mirror image.

    Parameters
    ----------
    filter
        ``radial``: 0.54 + 0.46 cos(pi k / k_Nyquist); ``radial-cosine``: cos(pi k / (2 k_Nyquist)), which
        passes more in the middle and ends at zero.
    tilt_deg, shape_zx
        The image's tilt angle; depth and width of the volume in voxels.
    """
    height, width = image.shape
    # A mirror image is one pixel smaller than the image.
    y, x = (min(_WINDOW_REACH, n - 1) for n in (height, width))
    wide = F.pad(image[None], (x, x, y, y), mode="reflect")[0]
    ky, kx = frequencies(wide.shape)
    k = (ky.square() + kx.square()).sqrt()
    window = torch.cos(torch.pi * k) if filter == "radial-cosine" else hamming_window(k)
    passed = interpolation_response(tilt_deg, shape_zx, kx.flatten()).float()
    response = torch.where(k <= 0.5, window, 0.0) / passed
    spectrum = torch.fft.rfft2(wide) * response.to(image)
    windowed: Tensor = torch.fft.irfft2(spectrum, s=wide.shape)
    return windowed[y : y + height, x : x + width]


def ramp_response(n: int, filter: FilterName) -> Tensor:
    """``(n // 2 + 1,)`` float64 response of the filter to the frequencies of a row of n pixels.

    Of the radial filters it is the ramp; their window is `radial_window`.
    It is the transform of the band-limited ramp sampled in space, which has the right response at zero
    frequency, where abs(k) itself would remove the mean of every row. Source: Kak and Slaney, equation 3.61.
    """
    offset = torch.arange(n, dtype=torch.float64)
    offset = torch.minimum(offset, n - offset)
    kernel = torch.where(offset % 2 == 1, -1 / (torch.pi * offset).square().clamp(min=1), 0.0)
    kernel[0] = 0.25
    response: Tensor = torch.fft.rfft(kernel).real
    if filter == "hamming":
        response *= hamming_window(torch.fft.rfftfreq(n, dtype=torch.float64))
    elif filter not in get_args(FilterName):
        raise ValueError(f"filter {filter!r}: expected one of {', '.join(get_args(FilterName))}")
    return response
