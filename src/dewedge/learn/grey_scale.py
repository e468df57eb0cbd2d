"""Grey scale of volumes: mean and covariance in one pass, and scales that few strong voxels do not move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dewedge import limits
from dewedge.errors import InputError
from dewedge.learn.pairs import TomogramPair

Floats = NDArray[np.float64]

GREY_PERCENTILES = (4.0, 96.0)  # what IsoNet (Liu et al. 2022) takes for the range of grey values
SAMPLED_VOXELS = 2**22  # of a volume, from which its clipped scale is measured
CLIPPING_PASSES = 20
MOST_CLIPPED = 0.01  # of the voxels


class GreyScale(NamedTuple):
    """Mean and standard deviation of a tomogram."""

    mean: float
    std: float


def mean_and_covariance(volumes: Sequence[NDArray[Any]], names: Sequence[str]) -> tuple[Floats, Floats]:
    """Means ``(n,)`` and covariances ``(n, n)`` of n volumes over their voxels.

    One pass over sections of z, in float64, about the first voxel of each volume: a large offset costs no
    precision, and no volume is ever held in memory.

    Parameters
    ----------
    volumes
        ``(z, y, x)`` arrays of one shape, in memory or memory-mapped.
    names
        One a volume, for messages.

    Raises
    ------
    InputError
        If a volume is constant, or holds values that are not finite.

    Examples
    --------
    >>> mean_and_covariance([np.arange(8.0).reshape(2, 2, 2)], ["tomogram"])
    (array([3.5]), array([[5.25]]))
    """
    n = len(volumes)
    pivots = np.array([volume[0, 0, 0] for volume in volumes], dtype=np.float64)
    sums, squares = np.zeros(n), np.zeros((n, n))
    with np.errstate(invalid="ignore", over="ignore"):
        for z in range(volumes[0].shape[0]):
            sections = np.stack([np.asarray(v[z], dtype=np.float64).ravel() for v in volumes])
            sections -= pivots[:, None]
            sums += sections.sum(axis=1)
            squares += sections @ sections.T
    for name, square in zip(names, squares.diagonal(), strict=True):
        if not np.isfinite(square):
            raise InputError(
                f"{name}: holds NaN or infinite values; expected numbers, so reconstruct it again"
            )
        if square > limits.PIXEL**2 * volumes[0].size:
            raise InputError(f"{name}: holds values beyond {limits.PIXEL:g}; reconstruct it again")
    offsets = sums / volumes[0].size
    squares /= volumes[0].size
    covariance = squares - np.outer(offsets, offsets)
    for name, variance, square in zip(names, covariance.diagonal(), squares.diagonal(), strict=True):
        if variance <= 1e-12 * square:
            raise InputError(f"{name}: all voxels are the same; expected a tomogram, so reconstruct it again")
    return pivots + offsets, covariance


def clipped_scale(volumes: Sequence[NDArray[Any]], clip: float) -> GreyScale:
    """Grey scale of an average of volumes, of its voxels within ``clip`` standard deviations of the mean.

    Gold beads, a few voxels in ten thousand, can hold half of the variance of a tomogram; this scale is that
    of the rest. It is measured on evenly spaced rows, some four million voxels at most, and repeated until no
    further voxel is left out (sigma clipping).

    Parameters
    ----------
    volumes
        ``(z, y, x)`` arrays of one shape, in memory or memory-mapped, finite and not constant; one or more.
    clip
        At least 3, so that of Gaussian noise next to nothing is left out.
    """
    step = math.ceil(math.sqrt(max(1.0, volumes[0].size / SAMPLED_VOXELS)))
    sample = np.mean([v[::step, ::step] for v in volumes], axis=0, dtype=np.float64).ravel()
    kept = sample
    for _ in range(CLIPPING_PASSES):
        mean, std = float(kept.mean()), float(kept.std())
        inside = sample[np.abs(sample - mean) <= clip * std]
        # Many voxels, or all that are not the same, are specimen in a volume that is empty elsewhere.
        if inside.size < (1 - MOST_CLIPPED) * sample.size or np.ptp(inside) == 0 or inside.size == kept.size:
            break
        kept = inside
    return GreyScale(mean, std)


class PairGreyScale(NamedTuple):
    """Mean of both half-sets, standard deviation of a half-set and of the whole."""

    mean: float
    std_half: float
    std_full: float


def measure_grey_scale(
    pair: TomogramPair,
    supervised: bool = False,
    clip: float | None = None,
    names: Sequence[str] = (),
) -> PairGreyScale:
    """Grey scale of a pair; of half-set 0 alone if the other is a truth.

    Parameters
    ----------
    pair
        The half-sets.
    supervised
        Whether a truth stands in the place of half-set 1.
    clip
        Leave out voxels that are farther than so many standard deviations from the mean; None for none.
    names
        Of both half-sets, for messages; made of the pair's if not given.

    Raises
    ------
    InputError
        If a half-set is constant or holds values that are not finite, or both hold the same noise.
    """
    if pair.half1 is pair.half0 or supervised:
        means, covariance = mean_and_covariance([pair.half0], [pair.name])
        mean, std = float(means[0]), float(np.sqrt(covariance[0, 0]))
        if clip is not None:
            mean, std = clipped_scale([pair.half0], clip)
        return PairGreyScale(mean, std, std)
    names = names or [f"{pair.name}: half-set {half}" for half in (0, 1)]
    means, covariance = mean_and_covariance([pair.half0, pair.half1], names)
    variances = covariance.diagonal()
    if covariance[0, 1] > (1 - 1e-6) * np.sqrt(variances.prod()):
        raise InputError(
            f"{pair.name}: both half-sets are the same up to scale; they must hold independent noise, "
            "from different tilts or frames"
        )
    std_full = float(np.sqrt(covariance.sum()) / 2)
    if pair.full is not None:
        _, of_full = mean_and_covariance([pair.full], [f"{pair.name}: full tomogram"])
        std_full = float(np.sqrt(of_full[0, 0]))
    if clip is not None:
        halves = [clipped_scale([half], clip) for half in (pair.half0, pair.half1)]
        full = clipped_scale([pair.half0, pair.half1] if pair.full is None else [pair.full], clip)
        std_half = math.sqrt((halves[0].std ** 2 + halves[1].std ** 2) / 2)
        return PairGreyScale((halves[0].mean + halves[1].mean) / 2, std_half, full.std)
    return PairGreyScale(float(means.mean()), float(np.sqrt(variances.mean())), std_full)


def match_grey_range(volume: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
    """Scale and shift a volume, in place, so that its range of grey values is that of another one.

    Both may have any shape; the range is that of `GREY_PERCENTILES`.
    """
    low, high = np.percentile(volume, GREY_PERCENTILES)
    least, most = np.percentile(reference, GREY_PERCENTILES)
    volume -= np.float32(low)
    volume *= np.float32((most - least) / max(high - low, np.finfo(np.float32).tiny))
    volume += np.float32(least)
