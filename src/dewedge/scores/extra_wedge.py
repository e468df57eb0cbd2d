"""How well a result knows what lies in the missing wedge, estimated from wedges that were cut elsewhere.

A network is given one half-set without a wedge that tilts did measure; what it makes of it is held against
the other half-set. With prediction f, halves t0 (before the cut) and t1, whose noise is independent,

    c = sum f t1* / sqrt(sum abs(f)^2 sum t0 t1*)

is in the mean the correlation of the prediction with the signal: noise is in neither cross sum. Half-sets of
alternate tilts measured planes with gaps between them, and not the same ones: with transfers H0 and H1 the
sums hold mean(H0) and mean(H0 H1) of the signal. So c is multiplied by the root of the overlap,
mean(H0 H1) / (mean(H0) mean(H1)), of half-sets that are alike in the mean. The result is made of both
half-sets, not of one, so its error has half the noise, and its correlation is

    r = sqrt(2 c^2 / (1 + c^2))

It holds if the specimen looks alike from all sides; wedges cut at several azimuths tell.

Source: Rosenthal and Henderson 2003, J. Mol. Biol. 333, 721 (correlation with the signal from half-sets, and
of the whole from that of a half). Calibration: docs/notebook/trust.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dewedge.geometry import Floats
from dewedge.scores.spectra import ShellSums

# What the estimate is off by beside its own scatter, one sigma (docs/notebook/trust.md).
MODEL_ERROR = 0.06
# Normal quantile of the bounds, between which 90 % lie.
QUANTILE = 1.645
# The half-sets have something in common where their correlation is so much, and so many times that of chance.
LEAST_COMMON = 0.1
LEAST_SIGMA = 3.0
# A slab's specimen looks different along z where structure is as coarse as a fifth of its thickness: of a
# flat cell, what is told there is too high by up to 0.25 (docs/notebook/trust.md).
LEAST_PERIODS = 5.0
# Standard deviation between azimuths beyond which they tell different things.
MOST_SPREAD = 0.2

# From the nearest measured frequencies, about the tilt axis: what is told apart.
DISTANCES_DEG = ((0.0, 10.0), (10.0, 20.0), (20.0, 90.0))

NO_SIGNAL = "half-sets have too little in common"
TOO_COARSE = "coarser than a fifth of the thickness"
DISAGREE = "single azimuths disagree"
WRONG_ANGLES = "tilt angles do not fit the images"


class Azimuth(NamedTuple):
    """Direction in which a wedge is cut: the axis of the specimen in its middle, and that it turns about."""

    middle: str
    axis: str


class ExtraWedge(NamedTuple):
    """Sums over shells of frequencies that were cut from the input.

    Parameters
    ----------
    predicted
        Of what the network makes of one half-set, and of the other half-set.
    halves
        Of the one half-set, before the cut, and the other.
    overlap
        ``(s,)`` mean product of what both half-sets measured, over the product of the means; 1 without gaps.
    """

    predicted: ShellSums
    halves: ShellSums
    overlap: Floats

    @property
    def correlation(self) -> Floats:
        """``(s,)`` correlation of prediction and signal; NaN where half-sets have too little in common."""
        least = np.maximum(LEAST_COMMON, LEAST_SIGMA * self.halves.chance)
        with np.errstate(invalid="ignore", divide="ignore"):
            told = self.halves.correlation >= least
            signal = np.where(told, self.halves.ab, np.nan)
            return self.predicted.ab * np.sqrt(self.overlap / (self.predicted.aa * signal))

    @property
    def error(self) -> Floats:
        """``(s,)`` standard deviation of that correlation, from the noise of the half-set held against it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.halves.chance * np.sqrt(self.overlap / self.halves.correlation)


@dataclass(frozen=True)
class TrustShell:
    """Estimate for one shell of frequency.

    Parameters
    ----------
    edges_per_voxel
        Of the shell in cycles per voxel.
    correlation, low, high
        Of result and truth inside the missing wedge, and the bounds between which it lies with 90 %
        probability; None where it cannot be told.
    reason
        Why it cannot; empty where it can.
    """

    edges_per_voxel: tuple[float, float]
    correlation: float | None
    low: float | None
    high: float | None
    reason: str = ""

    def untold(self, reason: str) -> TrustShell:
        """The shell without its estimate, for this reason."""
        return TrustShell(self.edges_per_voxel, None, None, None, reason)


def of_whole(correlation: NDArray[np.float64]) -> Floats:
    """Correlation with the signal of what is made of both half-sets, from that of one; the sign stays.

    Of any shape, by r = sqrt(2 c^2 / (1 + c^2)).

    Examples
    --------
    >>> of_whole(np.array([0.5, -1.0])).round(3)
    array([ 0.632, -1.   ])
    """
    square = np.square(correlation)
    return np.sign(correlation) * np.sqrt(2 * square / (1 + square))


def trust_shells(
    found: Mapping[Azimuth, ExtraWedge], edges: tuple[float, ...], thickness: int
) -> list[TrustShell]:
    """Estimate, shell by shell, how well the result knows what lies in the missing wedge.

    Parameters
    ----------
    found
        Sums of `dewedge.learn.extra_wedge.extra_wedge`, by azimuth.
    edges
        Of the shells in cycles per voxel.
    thickness
        Of the tomogram in voxels.
    """
    correlations = np.array([one.correlation for one in found.values()])
    errors = np.array([one.error for one in found.values()])
    shells = []
    for i, bounds in enumerate(itertools.pairwise(edges)):
        told = np.isfinite(correlations[:, i])
        reason = ""
        if bounds[0] < LEAST_PERIODS / thickness:
            reason = TOO_COARSE
        elif not told.any():
            reason = NO_SIGNAL
        elif correlations[told, i].std() > MOST_SPREAD:
            reason = DISAGREE
        if reason:
            shells.append(TrustShell(bounds, None, None, None, reason))
            continue
        of_half = correlations[told, i].mean()
        variance = (correlations[told, i].var() + np.square(errors[told, i]).mean()) / told.sum()
        # The derivative of `of_whole`.
        steepness = np.sqrt(2) / (1 + of_half**2) ** 1.5
        reach = QUANTILE * float(np.sqrt(variance * steepness**2 + MODEL_ERROR**2))
        estimate = float(np.clip(of_whole(of_half), -1, 1))
        shells.append(TrustShell(bounds, estimate, max(estimate - reach, -1.0), min(estimate + reach, 1.0)))
    return shells
