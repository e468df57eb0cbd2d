"""Raw tilt images made fit for use, one at a time: X-rays and hot pixels gone, divided by transmission."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dewedge.geometry import Floats
from dewedge.physics.outliers import (
    clipped_deviation,
    deviations,
    find_hot_pixels,
    find_xrays,
    replaced,
)
from dewedge.physics.transmission import robust_mean

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageSurvey:
    """Findings of one pass over ``(n, y, x)`` raw images.

    Parameters
    ----------
    level, std, lowest, noise
        ``(n,)`` robust mean, standard deviation, lowest value and noise of each image: what
        `dewedge.physics.transmission.transmission` takes.
    xrays
        Flat indices of the pixels of bright outliers, for each image.
    hot_pixels
        Flat indices of the pixels that deviate in all images.
    """

    level: Floats
    std: Floats
    lowest: Floats
    noise: Floats
    xrays: tuple[Indices, ...]
    hot_pixels: Indices

    @property
    def n_xray_pixels(self) -> int:
        """Number of pixels of bright outliers in all images."""
        return sum(found.size for found in self.xrays)


def survey(images: NDArray[Any], on_image: Callable[[], None] = lambda: None) -> ImageSurvey:
    """Read each of ``(n, y, x)`` raw images once, in memory or memory-mapped.

    In memory are a few arrays of one image's size. Values that are not finite are for the checks to find;
    they tell nothing here. ``on_image`` is called after each image.
    """
    rows, xrays = [], []
    total = np.zeros(images.shape[1:], dtype=np.float32)
    counted = 0
    for i in range(len(images)):
        image = _finite(images[i])
        deviation, noise = deviations(image)
        rows.append((robust_mean(image), image.std(dtype=np.float64), float(image.min()), noise))
        xrays.append(find_xrays(image, deviation, noise))
        if noise > 0:
            total += clipped_deviation(deviation, noise)
            counted += 1
        on_image()
    level, std, lowest, noise_ = np.array(rows, dtype=np.float64).T
    hot = find_hot_pixels(total / np.float32(max(1, counted)), counted)
    return ImageSurvey(level, std, lowest, noise_, tuple(xrays), hot)


class PreparedImages:
    """Raw images without outliers and divided by transmission: like an array ``(n, y, x)``, made on demand.

    Parameters
    ----------
    images
        ``(n, y, x)`` raw images, in memory or memory-mapped.
    outliers
        Flat indices of the pixels to replace, for each image; None for no replacement.
    divisors
        ``(n,)`` what each image is divided by; None for no division.
    seed
        Of the values that replace outliers: the same seed, the same image.
    """

    def __init__(
        self,
        images: NDArray[Any],
        outliers: tuple[Indices, ...] | None,
        divisors: Floats | None,
        seed: int = 0,
    ) -> None:
        self._images = images
        self._outliers = outliers
        self._divisors = divisors
        self._seed = seed

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(n, y, x)`` of the raw images."""
        return self._images.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the images as they are made: float32."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        image: NDArray[np.float32] = np.asarray(self._images[index]).astype(np.float32)
        if self._outliers is not None:
            rng = np.random.default_rng([self._seed, index])
            image = replaced(image, self._outliers[index], rng)
        if self._divisors is not None:
            image = image / np.float32(self._divisors[index])
        return image

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[i] for i in range(len(self)))


def outliers_of(survey: ImageSurvey) -> tuple[Indices, ...]:
    """Flat indices of the X-rays and hot pixels of each image together, sorted."""
    return tuple(np.union1d(found, survey.hot_pixels) for found in survey.xrays)


def _finite(image: NDArray[Any]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.asarray(image).astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        values[~finite] = values[finite].mean(dtype=np.float64) if finite.any() else 0
    return values
