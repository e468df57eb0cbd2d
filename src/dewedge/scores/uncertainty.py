"""How much error the spread of an ensemble means, learnt in one part of space and checked in another.

At voxels where the error e of a prediction is known up to noise of variance n, and members of the ensemble
have the variance s^2, the variance of the error is

    E e^2 - n = a + b s^2,    a, b >= 0

by a regression that weighs each voxel as a variance is known, by 1 / (a + b s^2 + n)^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from dewedge.geometry import Floats

# Of Gaussian errors 90 % are within so many standard deviations.
QUANTILE = 1.645
COVERAGE = (0.86, 0.94)  # within which it must lie where 90 % is meant
# And that of the voxels of any quarter of what is told.
COVERAGE_OF_QUARTER = (0.8, 0.97)
# Beyond this share of noise in what errors are looked at with, bounds of noise alone would pass.
MOST_NOISE = 0.8
PASSES = 5  # of the regression, whose weights follow from its result


class Evidence(NamedTuple):
    """Errors at ``v`` voxels, and what is known of them.

    Parameters
    ----------
    error
        ``(v,)`` error of the prediction, with the noise of what it is held against.
    power
        ``(v,)`` its square, averaged about the voxel.
    spread
        ``(v,)`` variance among members, averaged likewise.
    noise
        ``(v,)`` variance of that noise.
    held_out
        ``(v,)`` True at voxels that are for the check alone.
    extent
        Number of coefficients in the band to be told of, over that in which the errors were looked at.
    """

    error: NDArray[np.floating]
    power: NDArray[np.floating]
    spread: NDArray[np.floating]
    noise: NDArray[np.floating]
    held_out: NDArray[np.bool_]
    extent: float = 1.0

    @classmethod
    def joined(cls, parts: Sequence[Evidence]) -> Evidence:
        """Evidence of all parts together, the extent in the mean."""
        return cls(
            error=np.concatenate([part.error for part in parts]),
            power=np.concatenate([part.power for part in parts]),
            spread=np.concatenate([part.spread for part in parts]),
            noise=np.concatenate([part.noise for part in parts]),
            held_out=np.concatenate([part.held_out for part in parts]),
            extent=float(np.mean([part.extent for part in parts])),
        )

    def at(self, use: NDArray[np.bool_]) -> Evidence:
        """Evidence at the voxels where ``(v,)`` ``use`` is True."""
        return Evidence(
            self.error[use],
            self.power[use],
            self.spread[use],
            self.noise[use],
            self.held_out[use],
            self.extent,
        )


@dataclass(frozen=True, eq=False)
class Calibration:
    """Relation of error and spread, and whether it holds where it was not learnt.

    Parameters
    ----------
    floor
        a, for the band to be told of.
    gain
        b.
    coverage
        Share of errors, on held-out space, within the bounds for 90 %.
    by_quarter
        ``(4,)`` the same of the quarters of the voxels, from the least spread to the most.
    quarters
        ``(4,)`` mean standard deviation that is told of them.
    explained
        Share of the variation of the errors' power, from place to place on held-out space, that the map
        explains; below 0 where a constant were better.
    noise
        Share of the errors' power that is noise of what they are held against.
    """

    floor: float
    gain: float
    coverage: float
    by_quarter: Floats
    quarters: Floats
    explained: float
    noise: float

    @property
    def is_hidden(self) -> bool:
        """True if noise hides the errors, so that nothing was checked."""
        return not self.noise <= MOST_NOISE

    @property
    def holds(self) -> bool:
        """True if the map is to be believed."""
        low, high = COVERAGE_OF_QUARTER
        return bool(
            not self.is_hidden
            and COVERAGE[0] <= self.coverage <= COVERAGE[1]
            and ((self.by_quarter >= low) & (self.by_quarter <= high)).all()
        )

    def variance(self, spread: NDArray[np.floating]) -> NDArray[np.floating]:
        """Variance a + b s^2 of the error, for spreads s^2 of any shape, in the band to be told of."""
        return self.floor + self.gain * spread


def calibrate(evidence: Evidence) -> Calibration:
    """Learn what a spread means where it may be learnt, and check it where it may not."""
    learnt, checked = evidence.at(~evidence.held_out), evidence.at(evidence.held_out)
    floor, gain = _regression(learnt)
    variance = floor + gain * checked.spread.astype(np.float64)
    within = np.abs(checked.error) <= QUANTILE * np.sqrt(variance + checked.noise)
    # By the spread itself, so that a map that makes nothing of it is found out.
    quarters = np.array_split(np.argsort(checked.spread, kind="stable"), 4)
    power = checked.power - checked.noise
    return Calibration(
        floor=floor * evidence.extent,
        gain=gain,
        coverage=float(within.mean()),
        by_quarter=np.array([within[quarter].mean() for quarter in quarters]),
        quarters=np.array([np.sqrt(variance[quarter].mean()) for quarter in quarters]),
        explained=float(1 - np.square(power - variance).mean() / power.var()),
        noise=float(checked.noise.mean() / np.square(checked.error).mean()),
    )


def _regression(evidence: Evidence) -> tuple[float, float]:
    """The floor a and the gain b."""
    power = (evidence.power - evidence.noise).astype(np.float64)
    spread = evidence.spread.astype(np.float64)
    terms = np.stack([np.ones_like(spread), spread], axis=1)
    found = np.array([max(power.mean(), 0.0), 0.0])
    least = 1e-6 * np.square(evidence.error).mean()
    for _ in range(PASSES):
        weight = 1 / (terms @ found + evidence.noise + least)
        found, _ = nnls(terms * weight[:, None], power * weight)
    return float(found[0]), float(found[1])
