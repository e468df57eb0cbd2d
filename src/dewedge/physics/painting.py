"""Discs of an image painted over, so that the surroundings go on, smooth parts and noise alike.

What is painted is the sum of two parts. The smooth part is a quadratic surface through the surroundings and,
for what that leaves, the mean of the pixels around, weighted by a Gaussian (normalised convolution; Knutsson
and Westin 1993, CVPR, 515). The other is Gaussian noise with the power spectrum that the surroundings have
beyond their smooth part. So there is neither a rim nor a step, and nothing but the smooth part that two
images, painted with different generators, have in common.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dewedge.geometry import Floats

Image = NDArray[np.float32]

# Standard deviation of the Gaussian, and half of the window whose noise is taken, in radii of the disc.
_SMOOTH = 0.5
_WINDOW = 4.0
# A window is wider where more of it than this is painted.
_CROWDED = 0.8
# The surface goes through pixels within so many radii, and is level beyond.
_SURFACE = 2.5
# Where the Gaussian finds less than about this share of its weight, a wider one counts.
_FAINT = 0.02
_WIDEST = 4
# Points over which a power spectrum is averaged, along each axis.
_SPECTRUM_WIDTH = 5


class Patch(NamedTuple):
    """Values that painting took from an image, at ``rows`` and ``columns``; added back, it is as it was."""

    rows: slice
    columns: slice
    values: Image


def discs(places: Floats, radius: float, shape_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """``(y, x)`` True within ``radius`` pixels of any of ``(k, 2)`` places (y, x).

    Examples
    --------
    >>> discs(np.array([[1.0, 2.0]]), 1.0, (3, 5)).astype(int)
    array([[0, 0, 1, 0, 0],
           [0, 1, 1, 1, 0],
           [0, 0, 1, 0, 0]])
    """
    mask = np.zeros(shape_yx, dtype=bool)
    for place in places:
        rows, columns = _box(place, radius, shape_yx)
        mask[rows, columns] |= _disc(place, radius, rows, columns)
    return mask


def paint_over(image: Image, places: Floats, radius: float, rng: np.random.Generator) -> list[Patch]:
    """Paint over discs of a ``(y, x)`` image, in place.

    Parameters
    ----------
    places
        ``(k, 2)`` middles of the discs in pixels from index 0; they may lie outside, and overlap.
    radius
        Of the discs in pixels.
    rng
        Of the noise.

    Returns
    -------
    list of Patch
        What was taken away.
    """
    shape = (image.shape[0], image.shape[1])
    painted = discs(places, radius, shape)
    source = np.where(painted, np.float32(0), image)
    waiting = painted.copy()
    patches = []
    for place in places:
        inner_rows, inner_columns = _box(place, radius, shape)
        here = waiting[inner_rows, inner_columns] & _disc(place, radius, inner_rows, inner_columns)
        if not here.any():
            continue
        half = _WINDOW * radius
        rows, columns = _box(place, half, shape)
        while painted[rows, columns].mean() > _CROWDED and half < max(shape):
            half *= 2
            rows, columns = _box(place, half, shape)
        weight = (~painted[rows, columns]).astype(np.float32)
        middle = (place[0] - rows.start, place[1] - columns.start)
        window = _continued(source[rows, columns], weight, middle, radius, rng)
        values = window[
            inner_rows.start - rows.start : inner_rows.stop - rows.start,
            inner_columns.start - columns.start : inner_columns.stop - columns.start,
        ]
        target = image[inner_rows, inner_columns]
        removed = np.where(here, target - values, np.float32(0))
        target -= removed
        waiting[inner_rows, inner_columns] &= ~here
        patches.append(Patch(inner_rows, inner_columns, removed))
    return patches


def cut_to_balls(volume: Image, centres_zyx: Floats, radius: float) -> None:
    """Set a ``(z, y, x)`` volume to zero, in place, but for balls with soft edges, two voxels wide.

    The voxels whose shadows lie in the discs around a bead in all images of a wide tilt range are a ball.

    Parameters
    ----------
    centres_zyx
        ``(m, 3)`` voxels from index N // 2 of each axis.
    radius
        Of the balls in voxels, to the middle of their edges.
    """
    _, height, width = volume.shape
    centres = np.asarray(centres_zyx, dtype=np.float64).reshape(-1, 3) + np.array(volume.shape) // 2
    y, x = np.arange(height), np.arange(width)
    for z, section in enumerate(volume):
        mask = np.zeros((height, width), dtype=np.float32)
        for centre in centres[np.abs(centres[:, 0] - z) < radius + 1]:
            rows, columns = _box(centre[1:], radius + 1, (height, width))
            square = (z - centre[0]) ** 2 + (y[rows, None] - centre[1]) ** 2 + (x[columns] - centre[2]) ** 2
            beyond = np.clip(np.sqrt(square) - (radius - 1), 0, 2)
            mask[rows, columns] = np.maximum(mask[rows, columns], 0.5 + 0.5 * np.cos(np.pi * beyond / 2))
        section *= mask


def _continued(
    source: Image, weight: Image, middle: tuple[float, float], radius: float, rng: np.random.Generator
) -> Image:
    """A window of smooth part and noise like those of the ``source`` where ``weight`` is 1."""
    surface = _surface(source, weight, middle, _SURFACE * radius)
    smooth = _smooth((source - surface) * weight, weight, _SMOOTH * radius)
    # Beside a disc the mean is one-sided, and what it leaves is no noise.
    sure = weight * (ndimage.gaussian_filter(weight, _SMOOTH * radius, mode="nearest") > 0.8)
    if not sure.any():
        sure = weight
    rest = (source - surface - smooth) * sure
    power = np.abs(np.fft.rfft2(rest)) ** 2 / max(1.0, float(sure.sum()))
    power = ndimage.uniform_filter(power, _SPECTRUM_WIDTH, mode=("wrap", "nearest"))
    white = np.fft.rfft2(rng.standard_normal(source.shape))
    noise = np.fft.irfft2(white * np.sqrt(power), s=source.shape)
    result: Image = (surface + smooth + noise).astype(np.float32)
    return result


def _surface(source: Image, weight: Image, middle: tuple[float, float], reach: float) -> Image:
    """Quadratic surface that fits the pixels of ``weight`` 1 within ``reach`` of the middle best."""
    y = (np.arange(source.shape[0])[:, None] - middle[0]) / reach
    x = (np.arange(source.shape[1]) - middle[1]) / reach
    near = (weight > 0) & (y**2 + x**2 <= 1)
    y, x = np.broadcast_arrays(y.clip(-1, 1), x.clip(-1, 1))
    terms = np.stack([np.ones_like(x), y, x, y * x, y**2, x**2])
    # Few pixels, or such on one side, bear no more than a level.
    if near.sum() < 0.2 * np.pi * reach**2:
        terms = terms[:1]
    if not near.any():
        return np.zeros_like(source)
    coefficients, *_ = np.linalg.lstsq(terms[:, near].T, source[near], rcond=None)
    surface: Image = np.tensordot(coefficients, terms, axes=1).astype(np.float32)
    return surface


def _smooth(source: Image, weight: Image, sigma: float, level: int = 0) -> Image:
    """Weighted mean by a Gaussian of ``sigma``; where there is little weight, by one twice as wide."""
    if level == _WIDEST:
        return np.full_like(source, (source * weight).sum() / max(1.0, float(weight.sum())))
    mean = ndimage.gaussian_filter(source * weight, sigma, mode="nearest")
    share = ndimage.gaussian_filter(weight, sigma, mode="nearest")
    if share.min() > 10 * _FAINT:
        result: Image = mean / share
        return result
    wider = _smooth(source, weight, 2 * sigma, level + 1)
    return (mean + np.float32(_FAINT) * wider) / (share + np.float32(_FAINT))


def _box(place: Floats, radius: float, shape_yx: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns within ``radius`` of a place, as far as they lie in the image."""
    sides = []
    for middle, n in zip(place, shape_yx, strict=True):
        low, high = int(np.ceil(middle - radius)), int(np.floor(middle + radius)) + 1
        sides.append(slice(min(max(low, 0), n), min(max(high, 0), n)))
    return sides[0], sides[1]


def _disc(place: Floats, radius: float, rows: slice, columns: slice) -> NDArray[np.bool_]:
    y = np.arange(rows.start, rows.stop)[:, None] - place[0]
    x = np.arange(columns.start, columns.stop) - place[1]
    inside: NDArray[np.bool_] = y**2 + x**2 <= radius**2
    return inside
