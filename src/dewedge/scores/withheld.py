"""What a prediction holds where only withheld tilts measured.

A network is fitted to a tilt series without some of its tilts. In the frequencies that only those measured,
its prediction is held against the reconstruction of the whole series: the one place where what was put into
a missing wedge meets data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.spectra import (
    OFF_AXIS,
    TAPER,
    Floats,
    ShellSums,
    Spectrum,
    checked_edges,
    from_axis,
    plane_angle_deg,
    shell_sums,
    tapered_spectrum,
)
from dewedge.scores.volumes import checked_pair, row_blocks

Withholding = Literal["outer", "side", "inner"]

EDGES = (0.02, 0.04, 0.06, 0.08, 0.11)  # of the shells in cycles per voxel
# Least distance between a direction that is judged and a given tilt: a slab of 100 voxels leaks so far at
# 0.05 cycles per voxel.
GAP_DEG = 11.0
# Directions so far from the withheld tilts count as measured by them: a third of the usual step of 3 degrees.
REACH_DEG = 1.0


@dataclass(frozen=True)
class Cone:
    """Directions that withheld tilts measured and given ones did not: angles about the tilt axis.

    Parameters
    ----------
    parts_deg
        Lowest and highest angle of each part, in degrees. An angle beyond 90 is the one less 180.
    gap_deg
        Distance that each part keeps from the nearest given tilt.
    """

    parts_deg: tuple[tuple[float, float], ...]
    gap_deg: tuple[float, ...]

    def holds(self, angle_deg: Tensor) -> Tensor:
        """True for angles in the cone, folded or not."""
        inside = torch.zeros_like(angle_deg, dtype=torch.bool)
        for low, high in self.parts_deg:
            inside |= torch.remainder(angle_deg - low, 180) <= high - low
        return inside


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
        return {name: _listed(values) for name, values in vars(self).items()}


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
        What the signal itself would reach; None without half-sets of the whole series.
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

    def as_dict(self) -> dict[str, Any]:
        """Names and values, fit for JSON."""
        return {
            "edges_per_voxel": list(self.edges_per_voxel),
            "cone_deg": [list(part) for part in self.cone.parts_deg],
            "gap_deg": list(self.cone.gap_deg),
            "leak_deg": _listed(self.leak_deg),
            "independent": _listed(self.independent),
            "chance": _listed(self.chance),
            "scale": self.scale,
            "prediction": self.prediction.as_dict(),
            "given": self.given.as_dict(),
            "ceiling": None if self.ceiling is None else self.ceiling.as_dict(),
        }


def withheld_tilts(
    tilt_deg: ArrayLike, kind: Withholding, limits_deg: Sequence[float] | None = None
) -> NDArray[np.bool_]:
    """Which tilts of a series to keep back.

    Parameters
    ----------
    tilt_deg
        ``(n,)`` tilt angles of the whole series.
    kind
        ``outer``: those steeper than an angle, on both sides. ``side``: those above an angle. ``inner``:
        those between two angles; the wedge of what is given then still is that of the whole range, so the gap
        counts as measured in the fit and in refinement, as it does wherever tilts failed.
    limits_deg
        The angle, or the two. If not given, for a highest tilt of 60 degrees: 43, 30, or 12 and 27; less in
        proportion for other ranges, but for `outer`, which keeps 17 degrees back.

    Returns
    -------
    NDArray
        ``(n,)`` True for those to keep back.

    Raises
    ------
    InputError
        If there are not so many angles, none or nearly all tilts would be kept back, or an inner block is not
        inside.
    """
    tilts = np.asarray(tilt_deg, dtype=np.float64)
    highest = float(tilts.max())
    defaults = {
        "outer": [float(np.abs(tilts).max()) - 17],
        "side": [highest / 2],
        "inner": [highest / 5, highest * 0.45],
    }
    if kind not in defaults:
        raise ValueError(f"withheld {kind!r}: expected outer, side or inner")
    limits = list(limits_deg) if limits_deg else defaults[kind]
    if len(limits) != len(defaults[kind]):
        expected = "two angles, lowest and highest" if kind == "inner" else "one angle"
        raise InputError(f"withheld tilts ({kind}): expected {expected}, got {len(limits)}")
    if kind == "outer":
        withheld = np.abs(tilts) > limits[0]
    elif kind == "side":
        withheld = tilts > limits[0]
    else:
        withheld = (tilts >= limits[0]) & (tilts <= limits[1])
    text = " to ".join(f"{limit:g}" for limit in limits)
    if not withheld.any():
        raise InputError(
            f"withheld tilts ({kind}, {text} degrees): none of {tilts.size} tilts from {tilts.min():g} to "
            f"{highest:g} degrees"
        )
    given = tilts[~withheld]
    if given.size < 4:
        raise InputError(
            f"withheld tilts ({kind}, {text} degrees): {given.size} of {tilts.size} tilts would be left; "
            "expected at least 4"
        )
    if kind == "inner" and not given.min() < limits[0] < limits[1] < given.max():
        raise InputError(
            f"withheld tilts (inner, {text} degrees): expected a block with given tilts on both sides, "
            f"within {tilts.min():g} and {highest:g}"
        )
    return withheld


def withheld_cone(given_deg: ArrayLike, withheld_deg: ArrayLike, gap_deg: float | None = None) -> Cone:
    """The directions that only withheld tilts measured, at a distance from all given ones.

    Each run of withheld tilts, with no given one between them, makes a part: from its first tilt less one
    degree to its last plus one, without what is nearer than the gap to a given tilt.

    Parameters
    ----------
    given_deg, withheld_deg
        Angles of the tilts that the fit had, and of those kept back.
    gap_deg
        Least distance from a given tilt. If not given, 11 degrees, but at most a third of the angle between
        the two given tilts about a run. A slab of d voxels leaks between directions over about
        1 / (d abs(k)) radians, so a gap is never wide enough at low frequency: the given tilts' own
        reconstruction shows what comes by leakage.

    Raises
    ------
    InputError
        If the gap leaves no direction.
    """
    given = np.sort(np.asarray(given_deg, dtype=np.float64))
    withheld = np.sort(np.asarray(withheld_deg, dtype=np.float64))
    if given.size == 0 or withheld.size == 0:
        raise InputError(f"{given.size} given and {withheld.size} withheld tilts: expected some of both")
    parts, gaps = [], []
    # Runs of withheld tilts; around 90 degrees there is nothing, so no run goes on across it.
    run_of = np.searchsorted(given, withheld)
    for run in np.unique(run_of):
        tilts = withheld[run_of == run]
        below = given[run - 1] if run > 0 else given[-1] - 180
        above = given[run] if run < given.size else given[0] + 180
        gap = min(GAP_DEG, (above - below) / 3) if gap_deg is None else gap_deg
        low, high = max(tilts[0] - REACH_DEG, below + gap), min(tilts[-1] + REACH_DEG, above - gap)
        if low < high:
            parts.append((float(low), float(high)))
            gaps.append(float(gap))
    if not parts:
        raise InputError(
            f"withheld tilts from {withheld.min():g} to {withheld.max():g} degrees: no direction keeps a "
            f"distance of {GAP_DEG if gap_deg is None else gap_deg:g} degrees from the given tilts; "
            "withhold more, or take a smaller gap"
        )
    return Cone(tuple(parts), tuple(gaps))


def withheld_scores(
    prediction: ArrayLike,
    whole: ArrayLike,
    given: ArrayLike,
    given_deg: ArrayLike,
    withheld_deg: ArrayLike,
    *,
    whole_halves: Sequence[ArrayLike] | None = None,
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
        Reconstructions of half-sets of the whole series that share all planes and no noise (of even and odd
        frames), for the ceiling: with F the correlation of both halves, the signal itself correlates with the
        whole by sqrt(2 F / (1 + F)), and explains 2 F / (1 + F) of its power.
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
    measured = _measured_by_given(angle, given_tilts, withheld, max(cone.gap_deg)) & off_axis

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
    ceiling = None
    if whole_halves is not None:
        halves = [spectrum(half, f"half-set {i} of the whole") for i, half in enumerate(whole_halves)]
        ceiling = _ceiling(shell_sums(halves[0], halves[1], bounds, inside))
    return WithheldScores(
        edges_per_voxel=bounds,
        cone=cone,
        leak_deg=np.degrees(1 / (depth * middles)),
        independent=sums.independent,
        chance=sums.chance,
        scale=scale,
        prediction=_cone_score(shell_sums(of_prediction, reference, bounds, inside)),
        given=_cone_score(sums),
        ceiling=ceiling,
    )


def measured_part(volume: ArrayLike, tilt_deg: ArrayLike) -> NDArray[np.float32]:
    """A ``(z, y, x)`` volume without the missing wedge of a tilt series, all of it in memory.

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


def _measured_by_given(angle: Tensor, given: Floats, withheld: Floats, gap: float) -> Tensor:
    """True for the directions of given tilts that keep the gap from all withheld ones, if there are any."""
    near = torch.zeros_like(angle, dtype=torch.bool)
    for tilt in given:
        near |= _apart(angle, float(tilt)) <= 1.5 * REACH_DEG
    clear = near.clone()
    for tilt in withheld:
        clear &= _apart(angle, float(tilt)) >= gap
    return clear if clear.any() else near


def _apart(angle: Tensor, tilt: float) -> Tensor:
    """Degrees between planes, at most 90."""
    return (torch.remainder(angle - tilt + 90, 180) - 90).abs()


def _scaled(spectrum: Spectrum, factor: float) -> Spectrum:
    return Spectrum(spectrum.values * factor, spectrum.frequency, spectrum.multiplicity, spectrum.independent)


def _cone_score(sums: ShellSums) -> ConeScore:
    return ConeScore(sums.correlation, sums.explained, sums.slope)


def _ceiling(halves: ShellSums) -> ConeScore:
    """Scores of the signal against the mean of both half-sets."""
    share = np.clip(halves.correlation, 0, None)
    share = 2 * share / (1 + share)
    return ConeScore(np.sqrt(share), share, np.ones_like(share))


def _listed(values: Floats) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
