"""X-rays and hot pixels: isolated bright outliers of raw images, found and replaced.

A pixel is an outlier where it stands far above the median of its neighbourhood and hardly any neighbour is
half as high, so a bead, which covers many pixels, never is. Beads are dark, X-rays bright: single images are
searched for bright outliers alone. Pixels that deviate in the mean of all images are searched on either side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

# Deviations in standard deviations of the noise: of one image, and of the mean over all of them.
_OUTLIER = 10.0
_HOT = 8.0
# The mean of a hot pixel deviates by at least this much of one image's noise.
_HOT_IN_NOISE = 1.0
# X-rays spread over a few pixels; a disc of 2.5 pixels across has more than this above half of its height.
_LARGEST_AREA = 4
# An image with more is of another kind: sparse counts, whose noise has long tails.
_LARGEST_SHARE = 1e-4
_ALWAYS_FINE = 20
_WINDOW = 7
_NOISE_SAMPLES = 2**20
_MEAN_WIDTH = 5
# A pixel is at most so high in the mean over all images, so that an X-ray makes none hot.
_CLIP = 5.0


def deviations(image: Floats) -> tuple[Floats, float]:
    """Deviations of a ``(y, x)`` image from the mean of 5 x 5 pixels, and their standard deviation.

    The latter is of the values between the percentiles 0.1 and 99.9; unlike the median absolute deviation it
    does not vanish where most pixels have counted nothing.
    """
    deviation = image - ndimage.uniform_filter(image, _MEAN_WIDTH, mode="reflect")
    sample = deviation.ravel()[:: max(1, image.size // _NOISE_SAMPLES)]
    low, high = np.percentile(sample, (0.1, 99.9))
    return deviation, float(np.clip(sample, low, high).std(dtype=np.float64))


def find_xrays(image: Floats, deviation: Floats, noise: float) -> Indices:
    """Flat indices of the pixels of bright, isolated outliers of a ``(y, x)`` image, sorted.

    None are told where so many stand out that the image is of another kind.

    Parameters
    ----------
    deviation, noise
        Of `deviations`.
    """
    found = _isolated(image, deviation, noise, _OUTLIER)
    return found if found.size <= _most(image, 1) else np.empty(0, dtype=np.int64)


def find_hot_pixels(mean_deviation: Floats, n_images: int) -> Indices:
    """Flat indices of pixels that are too bright, or too dark, in the mean of many images, sorted.

    Parameters
    ----------
    mean_deviation
        ``(y, x)`` mean over the images of `clipped_deviation`.
    n_images
        Their number; fewer than five tell nothing, and none are found.
    """
    if n_images < 5:
        return np.empty(0, dtype=np.int64)
    deviation, noise = deviations(mean_deviation)
    noise = max(noise, _HOT_IN_NOISE / _HOT)
    bright = _isolated(mean_deviation, deviation, noise, _HOT)
    dark = _isolated(-mean_deviation, -deviation, noise, _HOT)
    found = np.union1d(bright, dark)
    return found if found.size <= _most(mean_deviation, 10) else np.empty(0, dtype=np.int64)


def clipped_deviation(deviation: Floats, noise: float) -> Floats:
    """The `deviations` of one image in units of its noise, clipped so that one image alone counts little."""
    return np.clip(deviation / np.float32(noise), -_CLIP, _CLIP)


def replaced(image: Floats, flat: Indices, rng: np.random.Generator) -> Floats:
    """Copy of a ``(y, x)`` image whose pixels at ``flat`` have the value of a good neighbour.

    It is drawn at random, so they have the local mean and the local noise. Neighbours lie within three
    pixels; where none is good, the median of the neighbourhood is taken.
    """
    result = image.copy()
    if flat.size == 0:
        return result
    bad = np.zeros(image.shape, dtype=bool)
    bad.flat[flat] = True
    windows = _windows(image.shape, flat)
    good = ~bad.ravel()[windows]
    chance = np.where(good, rng.random(windows.shape), -1)
    values = image.ravel()[windows]
    drawn = values[np.arange(flat.size), chance.argmax(axis=1)]
    result.flat[flat] = np.where(good.any(axis=1), drawn, np.median(values, axis=1))
    return result


def _most(image: Floats, times: int) -> float:
    return times * max(_LARGEST_SHARE * image.size, _ALWAYS_FINE)


def _isolated(image: Floats, deviation: Floats, noise: float, threshold: float) -> Indices:
    """Flat indices of isolated pixels above the local median by ``threshold`` times the noise, and spill."""
    # A pixel is part of the mean that it deviates from: of four in 25, 21 / 25 of their height are left.
    candidates = np.flatnonzero(deviation.ravel() > 0.8 * threshold * noise)
    if not noise > 0 or candidates.size == 0 or candidates.size > _most(image, 30):
        return np.empty(0, dtype=np.int64)
    windows = _windows(image.shape, candidates)
    values = image.ravel()[windows]
    median = np.median(values, axis=1, keepdims=True)
    spread = np.maximum(1.4826 * np.median(np.abs(values - median), axis=1, keepdims=True), noise)
    height = image.ravel()[candidates][:, None] - median
    area = (values - median > height / 2).sum(axis=1)
    isolated = (height[:, 0] > threshold * spread[:, 0]) & (area <= _LARGEST_AREA)
    middle = slice(_WINDOW // 2 - 1, _WINDOW // 2 + 2)
    shape = (-1, _WINDOW, _WINDOW)
    near = windows.reshape(shape)[:, middle, middle]
    spill = (values - median > threshold / 2 * spread).reshape(shape)[:, middle, middle]
    return np.unique(near[isolated][spill[isolated]])


def _windows(shape_yx: tuple[int, ...], flat: Indices) -> Indices:
    """``(m, 49)`` flat indices of the pixels around each, mirrored at the edges."""
    offset = np.arange(_WINDOW) - _WINDOW // 2
    axes = []
    for n, centre in zip(shape_yx, np.unravel_index(flat, shape_yx), strict=True):
        index = np.abs(centre[:, None] + offset)
        axes.append(np.clip(np.minimum(index, 2 * (n - 1) - index), 0, n - 1))
    window = axes[0][:, :, None] * shape_yx[1] + axes[1][:, None, :]
    return window.reshape(flat.size, -1)
