"""Alignment and binning of raw tilt images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.physics.fourier import fourier_crop

BinningMethod = Literal["fourier", "average"]

# Width of the fade to zero outside a raw image, as a fraction of its shorter side.
_TAPER_FRACTION = 0.1


def align_images(
    images: NDArray[Any],
    geometry: TiltGeometry,
    binning: int = 1,
    method: BinningMethod = "fourier",
    device: torch.device | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> tuple[Tensor, TiltGeometry]:
    """Resample raw tilt images so that the tilt axis is y through index N // 2, and bin them.

    Each image's mean is subtracted; the sign of its contrast is kept. Beyond the edges of the raw image, its
    mirror image fades to zero, the mean. One image at a time is held at full resolution.

    Parameters
    ----------
    images
        ``(n, y, x)`` raw images of any real data type, in memory or memory-mapped.
    geometry
        Their geometry.
    binning
        Width of an output pixel in raw pixels. The aligned images are cropped to a multiple of it.
    method
        ``fourier`` crops the Fourier transform, ``average`` averages blocks of pixels.
    device
        The device on which each image is aligned; the CPU if not given.
    on_image
        Called after each image.

    Returns
    -------
    images
        ``(n, y', x')`` float32, on the CPU. The shape is ``geometry.aligned_shape_yx // binning``.
    geometry
        ``geometry.aligned(binning, (y', x'))``.

    Raises
    ------
    InputError
        If the shape does not fit the geometry, an image is constant or holds a value that is not finite, or
        binning leaves fewer than two pixels along a side.
    """
    expected = (geometry.n_tilts, *geometry.image_shape_yx)
    if images.shape != expected:
        raise InputError(
            f"tilt images of shape {images.shape}: expected {expected}, one image for each tilt angle"
        )
    if method not in ("fourier", "average"):
        raise ValueError(f"method {method!r}: expected 'fourier' or 'average'")
    height, width = geometry.aligned_shape_yx
    shape = (height // binning, width // binning)
    if binning < 1 or min(shape) < 2:
        raise InputError(
            f"binning {binning} of aligned images of {(height, width)} pixels: expected 1 or more, "
            "and at least 2 pixels left along each side"
        )
    cropped = (shape[0] * binning, shape[1] * binning)
    centre = (float(cropped[0] // 2), float(cropped[1] // 2))
    if method == "average":
        # The middle of the block that becomes index N // 2; for even binning it lies between two pixels.
        centre = (shape[0] // 2 * binning + (binning - 1) / 2, shape[1] // 2 * binning + (binning - 1) / 2)
    top, left = height // 2 - centre[0], width // 2 - centre[1]
    on_pixels = (
        geometry.is_aligned and top in range(height % binning + 1) and left in range(width % binning + 1)
    )

    output = torch.empty((geometry.n_tilts, *shape))
    for i, tilt in enumerate(geometry.tilt_deg):
        image = _checked(images[i], i, float(tilt)).to(device or output.device)
        if on_pixels:
            aligned = image[int(top) : int(top) + cropped[0], int(left) : int(left) + cropped[1]]
        else:
            aligned = _aligned(image, geometry, i, cropped, centre)
        if method == "fourier":
            output[i] = fourier_crop(aligned, shape)
        else:
            output[i] = aligned.reshape(shape[0], binning, shape[1], binning).mean(dim=(1, 3))
        on_image()
    return output, geometry.aligned(binning, shape)


def _aligned(
    image: Tensor,
    geometry: TiltGeometry,
    index: int,
    shape_yx: tuple[int, int],
    centre_yx: tuple[float, float],
) -> Tensor:
    """The raw image resampled to ``shape_yx`` with the tilt axis through ``centre_yx``."""
    inverse = np.linalg.inv(geometry.linear_yx[index])
    shift = -inverse @ geometry.shift_yx[index]
    grid = sampling_grid(shape_yx, centre_yx, inverse, shift, geometry.image_shape_yx, image.device)
    aligned = resample(image, grid.float(), mode="bicubic", padding="reflection")
    return aligned * _taper(grid, geometry.image_shape_yx)


def sampling_grid(
    shape_yx: tuple[int, int],
    centre_yx: tuple[float, float],
    linear_yx: NDArray[np.float64],
    shift_yx: NDArray[np.float64],
    source_shape_yx: tuple[int, int],
    device: torch.device | None = None,
) -> Tensor:
    """Places of the pixels of an image in a source image, as `torch.nn.functional.grid_sample` counts.

    Parameters
    ----------
    shape_yx, centre_yx
        Shape of the image, and its centre in pixels from index 0.
    linear_yx, shift_yx
        ``(2, 2)`` matrix and ``(2,)`` shift: the pixel at p from the centre lies at
        ``linear_yx @ p + shift_yx`` from index N // 2 of the source.
    source_shape_yx
        Shape of the source image.

    Returns
    -------
    Tensor
        ``(y, x, 2)`` float64 (x, y) coordinates, -1 and 1 at the outer edges of the source's border pixels.
    """
    p = [
        torch.arange(n, dtype=torch.float64, device=device) - centre
        for n, centre in zip(shape_yx, centre_yx, strict=True)
    ]
    coordinates = []
    for axis in (1, 0):
        n = source_shape_yx[axis]
        from_centre = linear_yx[axis, 0] * p[0][:, None] + linear_yx[axis, 1] * p[1] + shift_yx[axis]
        coordinates.append((from_centre + n // 2 + 0.5) * (2 / n) - 1)
    return torch.stack(coordinates, dim=-1)


def resample(
    image: Tensor,
    grid: Tensor,
    mode: Literal["bilinear", "bicubic"],
    padding: Literal["zeros", "reflection"] = "zeros",
) -> Tensor:
    """Values of a ``(y, x)`` image at the points of a ``(h, w, 2)`` `sampling_grid`, as an ``(h, w)`` image.

    Outside the image lies zero, or its mirror image.
    """
    return F.grid_sample(image[None, None], grid[None], mode=mode, padding_mode=padding, align_corners=False)[
        0, 0
    ]


def _taper(grid: Tensor, source_shape_yx: tuple[int, int]) -> Tensor:
    """Weight of each point of a `sampling_grid`: 1 inside the source, a cosine fade to 0 outside."""
    half_size = torch.tensor(source_shape_yx[::-1], dtype=grid.dtype, device=grid.device) / 2
    width = _TAPER_FRACTION * min(source_shape_yx)
    distance = (grid.abs() - 1).clamp(min=0).mul(half_size / width).clamp(max=1)
    return (0.5 + 0.5 * torch.cos(torch.pi * distance)).prod(dim=-1).float()


def _checked(image: NDArray[Any], index: int, tilt_deg: float) -> Tensor:
    """The image minus its mean, as float32."""
    values = np.array(image, dtype=np.float64)
    where = f"tilt image {index} (counted from 0, at {tilt_deg:g} degrees)"
    if not np.isfinite(values).all():
        raise InputError(
            f"{where} holds NaN or infinite values: leave this tilt out or export the stack again"
        )
    if values.min() == values.max():
        raise InputError(
            f"{where} is constant ({values.flat[0]:g}): leave this tilt out or export the stack again"
        )
    values -= values.mean()
    return torch.from_numpy(values.astype(np.float32))
