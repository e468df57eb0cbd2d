"""Scores of a prediction at the frequencies that only withheld tilts measured.

A network is fitted to a tilt series without some of its tilts. In the frequencies that only those measured,
its prediction is held against the reconstruction of the whole series: the one place where what was put into
a missing wedge meets data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import Floats, TiltRange
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.spectra import (
    OFF_AXIS,
    TAPER,
    ShellSums,
    Spectrum,
    checked_edges,
    from_axis,
    listed,
    plane_angle_deg,
    shell_sums,
    tapered_spectrum,
)
from dewedge.scores.volumes import checked_pair, row_blocks
from dewedge.scores.withholding import GAP_DEG, REACH_DEG, Cone, withheld_cone, withheld_tilts

__all__ = [
    "EDGES",
    "Cone",
    "ConeScore",
    "SignalScore",
    "WithheldScores",
    "measured_part",
    "planes_overlap_to",
    "withheld_cone",
    "withheld_scores",
    "withheld_tilts",
]

EDGES = (0.02, 0.04, 0.06, 0.08, 0.11)  # of the shells in cycles per voxel
# The half-sets' correlation is known where it is so many times that of chance.
LEAST_SIGMA = 3.0


@dataclass(frozen=True, eq=False)
class ConeScore:
    """Scores of one tomogram against the reference, by shells.

    Parameters
    ----------
    correlation
        ``(s,)`` Re sum F K* / sqrt(sum abs(F)^2 sum abs(K)^2), of tomogram F and reference K.
    explained
        ``(s,)`` explained power (2 Re sum F K* - sum abs(F)^2) / sum abs(K)^2: the share of the reference's
        power that vanishes when F is subtracted. 0 for nothing, the signal's share of the power for the
        signal itself, below zero for what was made up.
    slope
        ``(s,)`` regression of K on F: 1 for the right amplitude, less if F is too strong.
    """

    correlation: Floats
    explained: Floats
    slope: Floats

    def as_dict(self) -> dict[str, list[float | None]]:
        """Names and values, fit for JSON; None in empty shells."""
        return {name: listed(values) for name, values in vars(self).items()}


@dataclass(frozen=True, eq=False)
class SignalScore:
    """Scores of one tomogram against the signal in the reference, by shells; NaN where that is not known.

    Parameters
    ----------
    correlation
        ``(s,)`` over its ceiling.
    explained
        ``(s,)`` explained power over its ceiling: the share of the signal's power that was predicted.
    error
        ``(s,)`` standard deviation of the latter, from the noise of the reference.
    """

    correlation: Floats
    explained: Floats
    error: Floats

    def as_dict(self) -> dict[str, list[float | None]]:
        """Names and values, fit for JSON."""
        return {name: listed(values) for name, values in vars(self).items()}


@dataclass(frozen=True, eq=False)
class WithheldScores:
    """Scores in the cone of withheld directions.

    Parameters
    ----------
    edges_per_voxel
        ``(s + 1,)`` edges of the shells in cycles per voxel.
    cone
        The directions, and their distance from the given tilts.
    leak_deg
        ``(s,)`` how far a slab of this thickness leaks between directions, in the middle of each shell.
    independent
        ``(s,)`` independent voxels of the spectrum in the cone.
    chance
        ``(s,)`` standard deviation of the correlation of something that has nothing to do with it.
    scale
        Grey scale of the reference over that of the given tilts' reconstruction.
    prediction, given
        Of the prediction; of the reconstruction of the given tilts, which can hold leakage only.
    ceiling
        What the signal itself would reach, NaN where that is not known; None without half-sets of the whole
        series.
    of_signal
        The prediction held against the signal alone; None without half-sets.
    """

    edges_per_voxel: tuple[float, ...]
    cone: Cone
    leak_deg: Floats
    independent: Floats
    chance: Floats
    scale: float
    prediction: ConeScore
    given: ConeScore
    ceiling: ConeScore | None = None
    of_signal: SignalScore | None = None

    def as_dict(self) -> dict[str, Any]:
        """Names and values, fit for JSON."""
        return {
            "edges_per_voxel": list(self.edges_per_voxel),
            "cone_deg": [list(part) for part in self.cone.parts_deg],
            "gap_deg": list(self.cone.gap_deg),
            "leak_deg": listed(self.leak_deg),
            "independent": listed(self.independent),
            "chance": listed(self.chance),
            "scale": self.scale,
            "prediction": self.prediction.as_dict(),
            "given": self.given.as_dict(),
            "ceiling": None if self.ceiling is None else self.ceiling.as_dict(),
            "of_signal": None if self.of_signal is None else self.of_signal.as_dict(),
        }


def withheld_scores(
    prediction: ArrayLike,
    whole: ArrayLike,
    given: ArrayLike,
    given_deg: ArrayLike,
    withheld_deg: ArrayLike,
    *,
    whole_halves: Sequence[ArrayLike] | None = None,
    halves_deg: Sequence[ArrayLike] | None = None,
    gap_deg: float | None = None,
    edges: Sequence[float] = EDGES,
    taper: float = TAPER,
    cut_wedge: bool = True,
) -> WithheldScores:
    """Hold a prediction from the given tilts against the reconstruction of the whole series.

    All volumes are ``(z, y, x)``, of one shape and one frame. The wedge of the whole series is cut from the
    prediction, for what lies there has nothing to be held against, and a slab's spectrum is too blurred to
    keep it out of the cone: of a truth without noise it would take a quarter of the explained power at 0.03
    cycles per voxel and 100 voxels of thickness. Then the three axes of all are tapered, so that nothing
    leaks through the edges of the box. Only directions of `withheld_cone` count, and of them no frequency
    within 2 / thickness of the tilt axis, where all tilts measured.

    Grey scales are matched by what the given tilts measured, never by the cone: the reconstruction of the
    given tilts, whose grey scale a prediction carries, is held against that of the whole series in their own
    planes, and the one factor found there is applied to it and to the prediction. So the amplitude of a
    prediction in the cone is judged, not fitted.

    Parameters
    ----------
    prediction
        What a method made of the given tilts, in the grey scale of ``given``.
    whole, given
        Reconstructions of the whole series and of the given tilts, made alike.
    given_deg, withheld_deg
        Angles of the tilts the method had, and of those kept back.
    whole_halves
        Reconstructions of half-sets of the whole series that share no noise, for the ceiling: with F the
        correlation of both halves, the signal itself correlates with the whole by sqrt(2 F / (1 + F)), and
        explains 2 F / (1 + F) of its power.
    halves_deg
        Tilts of each half-set, where they have different ones: at frequencies where their planes are apart
        (`planes_overlap_to`) they share less than the signal, and nothing is told. None if they share all
        (even and odd frames).
    gap_deg
        See `withheld_cone`.
    edges
        Of the shells in cycles per voxel.
    taper
        Share of each axis over which the volumes fade out.
    cut_wedge
        False to leave the wedge of the whole series in the prediction.

    Raises
    ------
    InputError
        If shapes differ, a volume is constant or not finite, or no direction is left.

    Sources: Rosenthal and Henderson 2003, J. Mol. Biol. 333, 721 (ceiling from half-sets); Crowther, DeRosier
    and Klug 1970, Proc. R. Soc. A 317, 319 (what a slab leaks between directions).
    """
    bounds = checked_edges(edges)
    given_tilts, withheld = (np.asarray(tilts, dtype=np.float64) for tilts in (given_deg, withheld_deg))
    cone = withheld_cone(given_tilts, withheld, gap_deg)
    checked_pair(prediction, whole, ("prediction", "whole"))
    checked_pair(given, whole, ("given tilts", "whole"))

    def spectrum(volume: ArrayLike, name: str) -> Spectrum:
        return tapered_spectrum(volume, name, bounds[-1], taper)

    reference = spectrum(whole, "whole")
    angle = plane_angle_deg(reference)
    depth = np.shape(whole)[0]
    off_axis = from_axis(reference) >= OFF_AXIS / depth
    inside = cone.holds(angle) & off_axis
    measured = _measured_by_given(angle, given_tilts, withheld) & off_axis

    of_given = spectrum(given, "given tilts")
    scale = float(shell_sums(of_given, reference, bounds, measured).total().slope[0])
    if not math.isfinite(scale) or scale <= 0:
        raise InputError(
            "given tilts: their reconstruction has nothing in common with the whole one in their own planes; "
            "expected both of one series, in one frame"
        )
    sums = shell_sums(_scaled(of_given, scale), reference, bounds, inside)
    judged = measured_part(prediction, np.concatenate([given_tilts, withheld])) if cut_wedge else prediction
    of_prediction = _scaled(spectrum(judged, "prediction"), scale)
    middles = np.add(bounds[1:], bounds[:-1]) / 2
    against = shell_sums(of_prediction, reference, bounds, inside)
    ceiling = of_signal = None
    if whole_halves is not None:
        first, second = (spectrum(half, f"half-set {i} of the whole") for i, half in enumerate(whole_halves))
        halves = shell_sums(first, second, bounds, inside)
        reach = math.inf if halves_deg is None else planes_overlap_to(halves_deg, withheld, depth)
        share = np.where(np.array(bounds[1:]) <= reach, halves.correlation, np.nan)
        ceiling, of_signal = _ceiling(share), _of_signal(against, share)
    return WithheldScores(
        edges_per_voxel=bounds,
        cone=cone,
        leak_deg=np.degrees(1 / (depth * middles)),
        independent=sums.independent,
        chance=sums.chance,
        scale=scale,
        prediction=_cone_score(against),
        given=_cone_score(sums),
        ceiling=ceiling,
        of_signal=of_signal,
    )


def measured_part(volume: ArrayLike, tilt_deg: ArrayLike) -> NDArray[np.float32]:
    """A ``(z, y, x)`` volume without the missing wedge of a series of ``(n,)`` tilts, all of it in memory.

    The outermost tilts stand for directions up to half their distance to the next ones, as in filtered
    back-projection, so the range is that much wider.
    """
    data, tilts = np.asarray(volume), np.unique(np.asarray(tilt_deg, dtype=np.float64))
    low, high = tilts[0] - (tilts[1] - tilts[0]) / 2, tilts[-1] + (tilts[-1] - tilts[-2]) / 2
    tilt_range = TiltRange(max(float(low), -90.0), min(float(high), 90.0))
    depth, _, width = data.shape
    mask = wedge_mask((depth, 1, width), tilt_range)
    part = np.empty(data.shape, dtype=np.float32)
    # The mask does not depend on ky, so rows along y are cut block by block.
    for rows in row_blocks(data.shape):
        spectrum = torch.fft.rfft2(torch.from_numpy(data[:, rows].astype(np.float32)), dim=(0, 2)) * mask
        part[:, rows] = torch.fft.irfft2(spectrum, s=(depth, width), dim=(0, 2)).numpy()
    return part


def planes_overlap_to(halves_deg: Sequence[ArrayLike], withheld_deg: ArrayLike, thickness: int) -> float:
    """Frequency, in cycles per voxel, up to which the withheld planes of each half-set overlap.

    It is one over the thickness and the widest step between withheld tilts that are neighbours in a half-set;
    0 without such. Up to it, what both share is at least 0.93 of the signal's power (docs/notebook/trust.md).

    Examples
    --------
    >>> planes_overlap_to([[0, 6, 12, 18], [3, 9, 15]], withheld_deg=[3, 6, 9, 12], thickness=100)
    0.0955

    Source: Crowther, DeRosier and Klug 1970, Proc. R. Soc. A 317, 319.
    """
    withheld = np.asarray(withheld_deg, dtype=np.float64)
    steps = [
        high - low
        for half in halves_deg
        for low, high in itertools.pairwise(np.sort(np.asarray(half, dtype=np.float64)).tolist())
        if all(np.isclose(tilt, withheld, atol=1e-3).any() for tilt in (low, high))
    ]
    return 1 / (thickness * math.radians(max(steps))) if steps else 0.0


def _measured_by_given(angle: Tensor, given: Floats, withheld: Floats) -> Tensor:
    """True for the directions of given tilts, at twice the usual gap from all withheld ones if there are any.

    Back-projection gives the tilts beside an inner gap the weight of the gap, too, and they leak.
    """
    near = torch.zeros_like(angle, dtype=torch.bool)
    for tilt in given:
        near |= _apart(angle, float(tilt)) <= 1.5 * REACH_DEG
    for distance in (2 * GAP_DEG, GAP_DEG):
        clear = near.clone()
        for tilt in withheld:
            clear &= _apart(angle, float(tilt)) >= distance
        if clear.any():
            return clear
    return near


def _apart(angle: Tensor, tilt: float) -> Tensor:
    """Degrees between planes, at most 90."""
    return (torch.remainder(angle - tilt + 90, 180) - 90).abs()


def _scaled(spectrum: Spectrum, factor: float) -> Spectrum:
    return Spectrum(spectrum.values * factor, spectrum.frequency, spectrum.multiplicity, spectrum.independent)


def _cone_score(sums: ShellSums) -> ConeScore:
    return ConeScore(sums.correlation, sums.explained, sums.slope)


def _ceiling(correlation: Floats) -> ConeScore:
    """Scores of the signal against the mean of both half-sets, from their correlation."""
    share = np.clip(correlation, 0, None)
    share = 2 * share / (1 + share)
    return ConeScore(np.sqrt(share), share, np.where(np.isnan(share), np.nan, 1.0))


def _of_signal(against: ShellSums, correlation: Floats) -> SignalScore:
    """Scores against the signal, from those against the reference and the correlation of its half-sets."""
    told = np.where(correlation > LEAST_SIGMA * against.chance, correlation, np.nan)
    share = 2 * told / (1 + told)
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = against.explained / share
        # Of 2 ab / bb, from the noise in b, and of the share, from that in both half-sets.
        of_power = 2 * np.sqrt(against.aa / against.bb * (1 - share)) * against.chance / share
        of_share = (1 - told) / told * against.chance
        return SignalScore(
            against.correlation / np.sqrt(share), explained, np.hypot(of_power, explained * of_share)
        )
