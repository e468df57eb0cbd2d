"""Beads and other compact objects of a tomogram, and how long they are along z."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from dewedge.geometry import Floats
from dewedge.scores.volumes import finite

Ints = NDArray[np.int64]

BEAD_SIGMAS = 20.0  # no noise, and no matter but metal, is so far from the median
OBJECTS = 200
OBJECT_SIGMA = 2.0  # voxels: half maximum at 4.7 voxels, a ribosome at 50 A, half of one at 20 A
HALF_BOX = 12
BEAD_MARGIN = 15.0
_FEWEST = 5


@dataclass(frozen=True)
class Elongation:
    """Size of the mean of compact objects.

    Parameters
    ----------
    fwhm_zyx
        Full width at half maximum in voxels along the three axes through the centre; NaN where the mean does
        not fall to one half inside its box.
    n
        Number of objects.
    """

    fwhm_zyx: tuple[float, float, float]
    n: int

    @property
    def ratio(self) -> float:
        """Width along z over that along x: 1 for round objects."""
        return self.fwhm_zyx[0] / self.fwhm_zyx[2]


def robust_scale(volume: ArrayLike) -> tuple[float, float]:
    """Median and robust standard deviation (1.4826 times the median absolute deviation) of a volume.

    Of a large volume, every n-th section is looked at. The deviation is 0 if more than half of the voxels are
    alike, as in a simulated specimen.

    Raises
    ------
    InputError
        If a voxel is not finite.

    Examples
    --------
    >>> robust_scale(np.array([[[1.0, 2.0, 3.0, 4.0, 1000.0]]]))  # the outlier counts little
    (3.0, 1.48)
    """
    data: NDArray[Any] = np.asarray(volume)
    step = max(1, data.size // 2**24)
    values = np.asarray(data[::step], dtype=np.float32)
    finite(values, "volume")
    median = float(np.median(values))
    return median, 1.4826 * float(np.median(np.abs(values - np.float32(median))))


def find_beads(volume: ArrayLike, sigmas: float = BEAD_SIGMAS, apart: float = 8.0) -> Ints:
    """``(n, 3)`` places (z, y, x) of beads, the strongest first: farther from the median than ``sigmas``.

    Only the sign of the farthest voxel counts, dark or bright. Of two that are nearer than ``apart`` voxels,
    the stronger one is kept. In a volume without noise, whose robust deviation is 0, there are none.

    Parameters
    ----------
    volume
        ``(z, y, x)``; give the raw tomogram, for in a denoised one more than beads is far from the median.
    sigmas
        In robust standard deviations (`robust_scale`).

    Raises
    ------
    InputError
        If a voxel is not finite.
    """
    data: NDArray[Any] = np.asarray(volume)
    median, sigma = robust_scale(data)
    if sigma == 0:
        return np.zeros((0, 3), dtype=np.int64)
    low, high = median - sigmas * sigma, median + sigmas * sigma
    sign = 1.0 if float(data.max()) - median > median - float(data.min()) else -1.0
    mask = np.asarray(data > high if sign > 0 else data < low)
    labels, count = ndimage.label(mask)
    if count == 0:
        return np.zeros((0, 3), dtype=np.int64)
    ids = np.arange(1, count + 1)
    contrast = sign * (np.asarray(data, dtype=np.float32) - np.float32(median))
    places = np.array(ndimage.maximum_position(contrast, labels, ids), dtype=np.int64)
    strength = contrast[tuple(places.T)]
    kept: list[NDArray[np.int64]] = []
    for i in np.argsort(-strength):
        if all(np.linalg.norm(places[i] - other) >= apart for other in kept):
            kept.append(places[i])
    return np.array(kept)


def find_objects(
    volume: ArrayLike,
    beads: ArrayLike | None = None,
    *,
    count: int = OBJECTS,
    sigma: float = OBJECT_SIGMA,
    margin: float = BEAD_MARGIN,
    half_box: int = HALF_BOX,
    mask: NDArray[np.bool_] | None = None,
) -> tuple[Ints, float]:
    """Places of the strongest compact objects that are no beads, and their sign (-1 for dark ones).

    They are extremes of the volume after a band-pass (a Gaussian of ``sigma`` less one of three times
    that), at least ``margin`` voxels from every bead and ``half_box`` from the edges. They are dark if beads
    are, or, without beads, if the band-passed volume leans to that side.

    Parameters
    ----------
    volume
        ``(z, y, x)``, all of it in memory.
    beads
        ``(n, 3)`` places of beads (`find_beads`).
    count
        Most objects that are kept, the strongest.
    sigma
        Of the smaller Gaussian in voxels.
    mask
        True where objects are looked for; everywhere if not given.

    Returns
    -------
    places, sign
        ``(n, 3)`` (z, y, x), the strongest first, and 1 or -1.
    """
    data = np.asarray(volume, dtype=np.float32)
    places = np.zeros((0, 3), dtype=np.int64) if beads is None else np.asarray(beads, dtype=np.int64)
    free = np.ones(data.shape, dtype=bool) if mask is None else mask.copy()
    for axis in range(3):
        for end in (slice(0, half_box), slice(data.shape[axis] - half_box, None)):
            free[(slice(None),) * axis + (end,)] = False
    sign = 0.0
    if len(places):
        at = np.zeros(data.shape, dtype=bool)
        at[tuple(places.T)] = True
        free &= ndimage.distance_transform_edt(~at) >= margin
        sign = float(np.sign(np.sum(data[tuple(places.T)] - np.median(data))))
    band = ndimage.gaussian_filter(data, sigma) - ndimage.gaussian_filter(data, 3 * sigma)
    if sign == 0:
        values = band[free]
        sign = 1.0 if values.size and float(((values - values.mean()) ** 3).mean()) > 0 else -1.0
    band *= sign
    extreme = (band == ndimage.maximum_filter(band, size=2 * math.ceil(1.5 * sigma) + 1)) & free
    found = np.argwhere(extreme)
    strength = band[extreme]
    order = np.argsort(-strength, kind="stable")[:count]
    return found[order], sign


def mean_box(volume: ArrayLike, centres_zyx: ArrayLike, half_box: int = HALF_BOX) -> tuple[Floats, int]:
    """Mean ``(2 h + 1,) * 3`` box about ``(n, 3)`` places, and how many boxes fit into the volume."""
    data, centres = np.asarray(volume), np.asarray(centres_zyx, dtype=np.int64).reshape(-1, 3)
    fits = ((centres >= half_box) & (centres + half_box < data.shape)).all(axis=1)
    total = np.zeros((2 * half_box + 1,) * 3)
    for centre in centres[fits]:
        total += data[tuple(slice(c - half_box, c + half_box + 1) for c in centre)]
    return total / max(int(fits.sum()), 1), int(fits.sum())


def elongation(
    volume: ArrayLike, centres_zyx: ArrayLike, half_box: int = HALF_BOX, sign: float = -1.0
) -> Elongation | None:
    """Full widths at half maximum of the mean box about places, with sub-voxel precision.

    The height is that of the centre over the median of the box's surface; the half-height is interpolated
    linearly on both sides.

    Parameters
    ----------
    volume
        ``(z, y, x)``, in memory or memory-mapped, not filtered.
    centres_zyx
        ``(n, 3)`` places in voxels; boxes that do not fit into the volume are left out.
    sign
        -1 for dark objects, 1 for bright ones.

    Returns
    -------
    Elongation or None
        None with fewer than five objects: their mean would be that of the noise.
    """
    box, n = mean_box(volume, centres_zyx, half_box)
    if n < _FEWEST:
        return None
    surface = np.ones(box.shape, dtype=bool)
    surface[1:-1, 1:-1, 1:-1] = False
    box = sign * (box - np.median(box[surface]))
    h = half_box
    widths = [full_width(profile) for profile in (box[:, h, h], box[h, :, h], box[h, h, :])]
    return Elongation((widths[0], widths[1], widths[2]), n)


def full_width(profile: ArrayLike) -> float:
    """Full width at half of the middle value of a profile of odd length; NaN if it does not fall so far.

    Examples
    --------
    >>> full_width([0, 1, 4, 1, 0])
    1.33
    >>> full_width([3, 3, 4, 3, 3])
    nan
    """
    values = np.asarray(profile, dtype=np.float64)
    middle = len(values) // 2
    half = values[middle] / 2
    width = 0.0
    for side in (values[middle:], values[middle::-1]):
        below = np.flatnonzero(side < half)
        if half <= 0 or below.size == 0:
            return math.nan
        i = int(below[0])
        width += i - 1 + (side[i - 1] - half) / (side[i - 1] - side[i])
    return float(width)
