"""A method applied to one half-set, held against the raw other one, in a region its fit did not see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dewedge.geometry import Floats, TiltRange
from dewedge.scores.spectra import (
    ShellSums,
    checked_edges,
    listed,
    near_axis,
    shell_sums,
    tapered_spectrum,
    wedge_angle_deg,
)
from dewedge.scores.volumes import checked_pair

EDGES = (0.02, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
# Half-angle of the double cones: about z it holds tilts from 50 degrees on.
CONE_DEG = 40.0
DIRECTIONS = {"x": (0, 0, 1), "y": (0, 1, 0), "z": (1, 0, 0)}
_ALL = (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class DirectionScores:
    """Scores in the measured part of a double cone about one axis, by shells.

    Parameters
    ----------
    half_sets
        ``(s,)`` correlation of the raw half-sets, v0 with v1.
    against_raw
        ``(s,)`` correlation of f(v0) with v1; at most the square root of the above.
    signal
        ``(s,)`` against_raw / sqrt(half_sets): estimated correlation with the signal; NaN where the raw
        half-sets have nothing in common.
    slope
        ``(s,)`` regression of v1 on f(v0): 1 for the right amplitude, below 0.5 where f(v0) would be better
        without it.
    amplitude
        ``(s,)`` root mean square of f(v0) over that of v0.
    """

    half_sets: Floats
    against_raw: Floats
    signal: Floats
    slope: Floats
    amplitude: Floats

    def as_dict(self) -> dict[str, list[float | None]]:
        """Names and values, fit for JSON."""
        return {name: listed(values) for name, values in vars(self).items()}


@dataclass(frozen=True, eq=False)
class CrossHalfScores:
    """Scores of a method from half-sets, outside the missing wedge, mean of both ways.

    Parameters
    ----------
    error_ratio
        abs(f(v0) - v1)^2 / abs(v0 - v1)^2: 1 for the raw half-sets, 0.5 for the signal itself where both have
        the same noise.
    cc_signal
        cc(f(v0), v1) / sqrt(cc(v0, v1)): estimated correlation coefficient with what both half-sets share;
        NaN where they share nothing.
    edges_per_voxel
        ``(s + 1,)`` edges of the shells in cycles per voxel.
    directions
        Scores of the cones about ``x``, ``y`` and ``z``.
    """

    error_ratio: float
    cc_signal: float
    edges_per_voxel: tuple[float, ...]
    directions: Mapping[str, DirectionScores]

    def as_dict(self) -> dict[str, Any]:
        """Names and values, fit for JSON."""
        return {
            "error_ratio": self.error_ratio,
            "cc_signal": self.cc_signal if math.isfinite(self.cc_signal) else None,
            "edges_per_voxel": list(self.edges_per_voxel),
            "directions": {name: scores.as_dict() for name, scores in self.directions.items()},
        }


def cross_half_scores(
    estimates: Sequence[ArrayLike],
    raw: Sequence[ArrayLike],
    tilt_range: TiltRange,
    box: NDArray[np.int64] | None = None,
    edges: Sequence[float] = EDGES,
) -> CrossHalfScores:
    """Score f(v0) by v1 and f(v1) by v0, at the measured frequencies of a box.

    v1 is the signal plus noise that v0 does not hold, so what f keeps of the noise of v0, or makes up, agrees
    with nothing in v1. This is strict where the fit has not seen v1: give the box that was held out of it.
    The box is tapered on all sides; a plain reconstruction has an error ratio of 1.

    Half-sets of tilts see different planes. Where these are apart, along x and at high frequency, the raw
    half-sets share nothing, whatever the specimen, and no score there means much.

    Parameters
    ----------
    estimates, raw
        ``(z, y, x)`` tomograms of half-set 0 and of half-set 1: the method's, and those it was given.
    tilt_range
        Measured tilt angles.
    box
        ``(2, 3)`` begin and end (z, y, x) of what is compared; all if not given.
    edges
        Of the shells in cycles per voxel.

    Raises
    ------
    InputError
        If shapes differ, or a box is constant or holds a value that is not finite.

    Sources: Rosenthal and Henderson 2003, J. Mol. Biol. 333, 721; Buchholz et al. 2019, ISBI, 502.
    """
    bounds, limits = checked_edges(edges), tilt_range.validated()
    names = ("estimate of half-set 0", "estimate of half-set 1", "half-set 0", "half-set 1")
    volumes = [*estimates, *raw]
    for volume, name in zip(volumes, names, strict=True):
        checked_pair(volume, raw[0], (name, "half-set 0"))
    cut = np.s_[:, :, :] if box is None else tuple(slice(a, b) for a, b in box.T.tolist())
    f0, f1, v0, v1 = (
        tapered_spectrum(np.asarray(volume)[cut], name) for volume, name in zip(volumes, names, strict=True)
    )
    angle = wedge_angle_deg(v0.frequency, limits)
    measured = (angle >= limits.min_deg) & (angle <= limits.max_deg)

    def both_ways(edges: Sequence[float], mask: Tensor) -> list[ShellSums]:
        return [shell_sums(a, b, edges, mask) for a, b in ((f0, v1), (f1, v0), (v0, v1))]

    ways = both_ways(_ALL, measured)
    raw_error = _error(ways[2])
    agreement = float(ways[2].correlation[0])
    cc = float(ways[0].correlation[0] + ways[1].correlation[0]) / 2
    return CrossHalfScores(
        error_ratio=(_error(ways[0]) + _error(ways[1])) / 2 / raw_error,
        cc_signal=cc / math.sqrt(agreement) if agreement > 0 else math.nan,
        edges_per_voxel=bounds,
        directions={
            name: _direction(*both_ways(bounds, measured & near_axis(v0, axis, CONE_DEG)))
            for name, axis in DIRECTIONS.items()
        },
    )


def _error(sums: ShellSums) -> float:
    return float((sums.aa + sums.bb - 2 * sums.ab).sum())


def _direction(first: ShellSums, second: ShellSums, halves: ShellSums) -> DirectionScores:
    against_raw = (first.correlation + second.correlation) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        signal = np.where(halves.correlation > 0, against_raw / np.sqrt(halves.correlation), np.nan)
        amplitude = np.sqrt((first.aa + second.aa) / (halves.aa + halves.bb))
    return DirectionScores(
        half_sets=halves.correlation,
        against_raw=against_raw,
        signal=signal,
        slope=(first.slope + second.slope) / 2,
        amplitude=amplitude,
    )
