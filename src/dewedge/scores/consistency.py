"""A tomogram held against the tilt images that it was made of, by tilt and by ring of frequency.

Images are part of what a tomogram is made of, so its correlation with them says little: that of a noisy
back-projection is high down to the finest ring, noise with noise. Two things do tell. What the images hold
beside noise, S of their power P, sets a ceiling sqrt(S / P) that a tomogram without their noise reaches and
does not pass. And what is left of an image when the reprojection is subtracted, over the noise's power: 1 is
perfect, more is structure left out, less is noise that was kept.

The noise is measured: of frames, by half the difference of even and odd ones. Without them, next to the tilt
axis, where neighbouring tilts measured the same frequencies: what they do not share there is noise, and noise
looks alike in all directions. Tilts apart by d share S (1 - a d^2), so of those one and two apart, which
share C1 and C2, S = (4 C1 - C2) / 3. What is misaligned between neighbours counts as noise, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import theilslopes

from dewedge.errors import InputError
from dewedge.geometry import Floats
from dewedge.physics.projection import project
from dewedge.scores.reprojection import compared_columns
from dewedge.scores.spectra import (
    OFF_AXIS,
    ShellSums,
    checked_edges,
    shell_sums,
    taper_window,
    tapered_image_spectrum,
)

# Of the rings in cycles per voxel.
EDGES = tuple(np.round(np.arange(0.02, 0.361, 0.02), 2).tolist())
# Columns of the spectrum next to the tilt axis in which neighbouring tilts are compared.
_AXIS_COLUMNS = 2
# Least ceiling of a ring that images hold structure in: a tenth of their power.
_LEAST_CEILING = 0.1**0.5
# Least correlation with the structure that images hold, of a tomogram that agrees with them: the usual
# criterion of resolution (Rosenthal and Henderson 2003, J. Mol. Biol. 333, 721).
_AGREES = 0.5
# A tilt stands out whose correlation is lower than that of so many neighbours on both sides by so many robust
# standard deviations, and by this share.
_NEIGHBOURS, _OUT_SIGMA, _OUT_SHARE = 3, 4.0, 0.2


@dataclass(frozen=True, eq=False)
class ImageAgreement:
    """Agreement of a tomogram's reprojections with its images.

    Parameters
    ----------
    tilt_deg
        ``(n,)`` tilt angles.
    edges_per_voxel
        ``(s + 1,)`` edges of the rings in cycles per voxel.
    correlation
        ``(n, s)`` Fourier ring correlation of reprojection and image; NaN in a ring that is empty.
    image, residual, noise
        ``(n, s)`` power of the image, of what is left of it when the reprojection is subtracted (with one
        amplitude in each ring for all tilts), and of its noise.
    """

    tilt_deg: Floats
    edges_per_voxel: tuple[float, ...]
    correlation: Floats
    image: Floats
    residual: Floats
    noise: Floats

    @property
    def over_noise(self) -> Floats:
        """``(n, s)`` power of the residual in units of the noise's."""
        return _divided(self.residual, self.noise)

    @property
    def mean_over_noise(self) -> Floats:
        """``(s,)`` power of the residual of all tilts together in units of the noise's."""
        return _divided(self.residual.sum(axis=0), self.noise.sum(axis=0))

    @property
    def mean_correlation(self) -> Floats:
        """``(s,)`` mean of the tilts' correlations."""
        return self.correlation.mean(axis=0)

    @property
    def ceiling(self) -> Floats:
        """``(s,)`` correlation with the images of what they hold beside noise, over all tilts."""
        share = 1 - _divided(self.noise.sum(axis=0), self.image.sum(axis=0))
        return np.sqrt(np.clip(share, 0, None))

    @property
    def holds_structure(self) -> NDArray[np.bool_]:
        """``(s,)`` rings up to the first in which the images hold next to none."""
        told = np.isfinite(self.mean_correlation)
        return np.logical_and.accumulate((self.ceiling >= _LEAST_CEILING) | ~told) & told

    def reach(self) -> tuple[float | None, float | None]:
        """Frequencies up to which tomogram and images agree, and up to which images hold structure.

        They are in cycles per voxel; None where not even the first ring is one.
        """
        holds = self.holds_structure
        agrees = np.logical_and.accumulate((self.mean_correlation >= _AGREES * self.ceiling) | ~holds) & holds
        return self._last(agrees), self._last(holds)

    def _last(self, rings: NDArray[np.bool_]) -> float | None:
        return self.edges_per_voxel[int(np.flatnonzero(rings)[-1]) + 1] if rings.any() else None

    def outliers(self) -> list[int]:
        """Indices of tilts that agree far less than their neighbours in angle."""
        rings = self.holds_structure
        if not rings.any():
            return []
        order = np.argsort(self.tilt_deg, kind="stable")
        values = self.correlation[order][:, rings].mean(axis=1)
        usual = _usual(self.tilt_deg[order], values)
        below = usual - values
        spread = 1.4826 * np.median(np.abs(below - np.median(below)))
        out = below > np.maximum(_OUT_SIGMA * spread, _OUT_SHARE * usual)
        return sorted(int(i) for i in order[out])


def image_agreement(
    volume: ArrayLike,
    images: ArrayLike,
    tilt_deg: ArrayLike,
    level: ArrayLike,
    frames: Sequence[ArrayLike] | None = None,
    edges: Sequence[float] = EDGES,
) -> ImageAgreement:
    """Reproject a tomogram at the tilts that it was made of, and hold it against their images.

    Compared is what `dewedge.scores.reprojection.reprojection_scores` compares.

    Parameters
    ----------
    volume
        ``(z, y, x)`` tomogram.
    images
        ``(n, y, x)`` aligned images, with the tomogram's rows along y.
    tilt_deg
        ``(n,)`` their tilt angles.
    level
        ``(n,)`` variances of the images' noise, in any one unit.
    frames
        The averages of even and of odd frames of the same images; then the level is not used.
    edges
        Of the rings in cycles per voxel.

    Raises
    ------
    InputError
        If shapes do not fit, there are fewer than three tilts, or the box is too thick for its width.
    """
    bounds = checked_edges(edges)
    stack, tilts = np.asarray(images), np.asarray(tilt_deg, dtype=np.float64)
    data = torch.from_numpy(np.asarray(volume).astype(np.float32))
    if data.ndim != 3 or len(stack) != tilts.size or data.shape[1] != stack.shape[1] or tilts.size < 3:
        raise InputError(
            f"tomogram of shape {tuple(data.shape)} (z, y, x) for images of {stack.shape} at {tilts.size} "
            "tilts: expected one image a tilt, at least three, with the rows of the tomogram"
        )
    depth, height, width = data.shape
    reprojected = project(data, tilts, (height, stack.shape[2])).numpy()
    columns = [compared_columns(tilt, depth, width, stack.shape[2]) for tilt in tilts.tolist()]

    def sums(a: NDArray[np.float32], b: NDArray[np.float32]) -> ShellSums:
        first, second = (tapered_image_spectrum(image, bounds[-1]) for image in (a, b))
        return shell_sums(first, second, bounds, first.frequency[2].abs() >= OFF_AXIS / depth)

    found = [sums(reprojected[i][:, c], stack[i][:, c]) for i, c in enumerate(columns)]
    aa, bb, ab, count = (
        np.array([getattr(one, name) for one in found]) for name in ("aa", "bb", "ab", "count")
    )
    slope = _divided(ab.sum(axis=0), aa.sum(axis=0))
    if frames is None:
        noise = _noise_near_axis(stack, tilts, np.asarray(level, dtype=np.float64), columns, bounds)
    else:
        halves = [np.asarray(half) for half in frames]
        difference = [(halves[0][i] - halves[1][i])[:, c] / 2 for i, c in enumerate(columns)]
        noise = _divided(np.array([sums(each, each).aa for each in difference]), count)
    return ImageAgreement(
        tilts,
        bounds,
        np.array([one.correlation for one in found]),
        _divided(bb, count),
        _divided(bb - 2 * slope * ab + slope**2 * aa, count),
        noise,
    )


def _noise_near_axis(
    images: NDArray[np.float32],
    tilts: Floats,
    level: Floats,
    columns: Sequence[slice],
    edges: tuple[float, ...],
) -> Floats:
    """``(n, s)`` power of the noise by tilt and ring, from what neighbouring tilts do not share.

    Single values scatter much. So it is the given level of each tilt times what all tilts together show, a
    straight line over the square of the frequency.
    """
    n, height = images.shape[:2]
    frequency = np.fft.rfftfreq(height)
    order = np.argsort(tilts, kind="stable")
    cos = np.cos(np.radians(tilts))
    powers, unshared = np.zeros(frequency.size), np.zeros(frequency.size)
    for place, i in enumerate(order):
        width = columns[i].stop - columns[i].start
        mine = _beside_axis(images[i], width)
        power = np.square(np.abs(mine))
        shared = []
        for apart in (1, 2):
            others = [order[place + step] for step in (-apart, apart) if 0 <= place + step < n]
            # The same matter: the field is as wide as its shadow.
            theirs = [_beside_axis(images[j], round(width * cos[j] / cos[i])) for j in others]
            shared.append(np.mean([(mine * other.conj()).real for other in theirs], axis=0))
        powers += power.mean(axis=0) / width
        unshared += (power - (4 * shared[0] - shared[1]) / 3).mean(axis=0) / width
    inside = (frequency >= EDGES[0]) & (frequency < EDGES[-1])
    k = frequency[inside]
    # A value scatters as the power does that it is left of.
    line = np.polyfit(k**2, unshared[inside] / height, 1, w=1 / powers[inside])
    middles = np.add(edges[1:], edges[:-1]) / 2
    return np.clip(np.outer(level / level.sum(), np.polyval(line, middles**2)), 0, None)


def _beside_axis(image: NDArray[np.float32], width: int) -> NDArray[np.complex128]:
    """``(columns, ky >= 0)`` spectrum beside the tilt axis of the middle of a tapered image."""
    height, whole = image.shape
    width = min(width, whole)
    left = whole // 2 - width // 2
    part = image[:, left : left + width].astype(np.float64)
    rows, across = taper_window(height), taper_window(width)
    waves = np.exp(-2j * np.pi * np.arange(_AXIS_COLUMNS)[:, None] * (np.arange(width) - width // 2) / width)
    tapered = (part - part.mean()) * rows[:, None] * across
    spectrum: NDArray[np.complex128] = np.fft.fft(waves @ tapered.T, axis=1)[:, : height // 2 + 1]
    return spectrum


def _usual(tilts: Floats, values: Floats) -> Floats:
    """``(n,)`` what the neighbours of each tilt make one expect; steep images agree less."""
    expected = np.empty(len(values))
    for i, tilt in enumerate(tilts):
        near = np.arange(max(0, i - _NEIGHBOURS), min(len(values), i + _NEIGHBOURS + 1))
        near = near[near != i]
        # A line that one bad neighbour does not move.
        slope, offset, *_ = theilslopes(values[near], tilts[near])
        expected[i] = offset + slope * tilt
    return expected


def _divided(above: Floats, below: Floats) -> Floats:
    """Their ratio; NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = np.where(np.asarray(below) > 0, above / below, np.nan)
    return ratio
