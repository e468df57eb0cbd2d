"""Traces that the missing wedge, and a network's texture, leave in a tomogram, measured without any truth.

Matter in a cell lies in all directions, so its power spectrum is nearly round, and so is the mean of its
compact objects. What is not round was made by the tilts, or by the method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dewedge.geometry import Floats
from dewedge.scores.objects import (
    OBJECT_SIGMA,
    Elongation,
    elongation,
    find_beads,
    find_objects,
)
from dewedge.scores.spectra import (
    OFF_AXIS,
    Spectrum,
    checked_edges,
    from_axis,
    listed,
    near_axis,
    plane_angle_deg,
    shell_sums,
    tapered_spectrum,
)

WEDGE_EDGES = (0.03, 0.06, 0.10)
WEAVE_EDGES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
INSIDE_DEG = (72.0, 90.0)
OUTSIDE_DEG = (0.0, 40.0)
CONE_DEG = 15.0


@dataclass(frozen=True, eq=False)
class WedgePower:
    """Mean power inside the missing wedge over that outside, by shells.

    Parameters
    ----------
    edges_per_voxel
        ``(s + 1,)`` edges of the shells in cycles per voxel.
    inside
        ``(s,)`` for the wedge of tilts about y.
    rotated
        ``(s,)`` for the same wedge turned by 90 degrees about z: that of tilts about x.
    """

    edges_per_voxel: tuple[float, ...]
    inside: Floats
    rotated: Floats


@dataclass(frozen=True, eq=False)
class Weave:
    """Mean power along the axes x and y over that along the diagonals between them, by shells.

    Parameters
    ----------
    edges_per_voxel
        ``(s + 1,)`` edges of the shells in cycles per voxel.
    axes
        ``(s,)`` of both axes; 1 where no direction in the plane is preferred.
    x, y
        ``(s,)`` of each.
    """

    edges_per_voxel: tuple[float, ...]
    axes: Floats
    x: Floats
    y: Floats


@dataclass(frozen=True, eq=False)
class Anisotropy:
    """All measures of one tomogram; None where there is too little to measure.

    Parameters
    ----------
    beads, objects
        Size of the mean bead, and of the mean of the strongest other compact objects.
    wedge
        Power inside over outside the wedge.
    weave
        Power along axes over diagonals.
    steps
        Step at the borders of tiles over those beside them, by axis.
    """

    beads: Elongation | None
    objects: Elongation | None
    wedge: WedgePower
    weave: Weave
    steps: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Names and values, fit for JSON."""

        def sizes(found: Elongation | None) -> dict[str, Any] | None:
            if found is None:
                return None
            widths = listed(found.fwhm_zyx)
            return {"z_to_x": listed([found.ratio])[0], "fwhm_zyx": widths, "n": found.n}

        return {
            "beads": sizes(self.beads),
            "objects": sizes(self.objects),
            "wedge": {
                "edges_per_voxel": list(self.wedge.edges_per_voxel),
                "inside": listed(self.wedge.inside),
                "rotated": listed(self.wedge.rotated),
            },
            "weave": {
                "edges_per_voxel": list(self.weave.edges_per_voxel),
                **{
                    name: listed(values)
                    for name, values in (("axes", self.weave.axes), ("x", self.weave.x), ("y", self.weave.y))
                },
            },
            "steps": {name: listed([value])[0] for name, value in self.steps.items()},
        }


def anisotropy(
    volume: ArrayLike,
    beads_zyx: ArrayLike | None = None,
    *,
    sigma: float = OBJECT_SIGMA,
    borders: Mapping[str, Sequence[int]] | None = None,
    wedge_edges: Sequence[float] = WEDGE_EDGES,
    weave_edges: Sequence[float] = WEAVE_EDGES,
) -> Anisotropy:
    """All measures of a ``(z, y, x)`` tomogram.

    Parameters
    ----------
    volume
        All of it is held in memory, and a few copies of it.
    beads_zyx
        ``(n, 3)`` places of beads, found in the raw tomogram (`find_beads`); looked for in this one if not
        given.
    sigma
        Size of the compact objects in voxels (`find_objects`).
    borders
        Borders of the tiles by axis, ``"z"``, ``"y"`` or ``"x"`` (`border_step`).
    wedge_edges, weave_edges
        Of the shells of `wedge_power` and `weave` in cycles per voxel.

    Raises
    ------
    InputError
        If the volume has not three axes, is constant, or holds a value that is not finite.
    """
    data = np.asarray(volume, dtype=np.float32)
    beads = find_beads(data) if beads_zyx is None else np.asarray(beads_zyx, dtype=np.int64)
    places, sign = find_objects(data, beads, sigma=sigma)
    return Anisotropy(
        beads=elongation(data, beads, sign=sign),
        objects=elongation(data, places, sign=sign),
        wedge=wedge_power(data, wedge_edges),
        weave=weave(data, weave_edges),
        steps={axis: border_step(data, "zyx".index(axis), at) for axis, at in (borders or {}).items()},
    )


def wedge_power(volume: ArrayLike, edges: Sequence[float] = WEDGE_EDGES) -> WedgePower:
    """Power in the planes of 72 to 90 degrees about y over that in those of 0 to 40, and the same about x.

    Matter of all directions has about 1 in both, a cell in a thin slab about 0.85. A reconstruction has
    nothing inside its wedge. A network that cuts, or fills, a wedge where there is none shows in the rotated
    figure, which for tilts about y has no reason to be low.

    Frequencies within 2 / thickness of the axis in question are left out, for there all planes meet.

    The volume is ``(z, y, x)``; edges are those of the shells in cycles per voxel.

    Raises
    ------
    InputError
        As `anisotropy`, or if the edges do not rise.
    """
    bounds = checked_edges(edges)
    spectrum = tapered_spectrum(volume, "volume", bounds[-1])
    ratios = []
    for axis in (1, 2):
        angle = plane_angle_deg(spectrum, axis).abs()
        off_axis = from_axis(spectrum, axis) >= OFF_AXIS / np.shape(volume)[0]
        inside, outside = (
            _mean_power(spectrum, bounds, (angle >= low) & (angle <= high) & off_axis)
            for low, high in (INSIDE_DEG, OUTSIDE_DEG)
        )
        ratios.append(inside / outside)
    return WedgePower(bounds, *ratios)


def weave(volume: ArrayLike, edges: Sequence[float] = WEAVE_EDGES) -> Weave:
    """Power within 15 degrees of the axes x and y over that within 15 degrees of the diagonals between them.

    Above 1 where a texture runs along the axes; below, along diagonals. A reconstruction is not at 1 either:
    its filter acts along x alone, and what lies along y was measured by all tilts. Hold a refined tomogram
    against its reconstruction, or its specimen against its ice, shell by shell.

    The volume is ``(z, y, x)``; edges are those of the shells in cycles per voxel.

    Raises
    ------
    InputError
        As `anisotropy`, or if the edges do not rise.
    """
    bounds = checked_edges(edges)
    # No cone reaches higher along z.
    highest = (bounds[-1] * math.sin(math.radians(CONE_DEG)), bounds[-1], bounds[-1])
    spectrum = tapered_spectrum(volume, "volume", highest)

    def along(*directions: tuple[int, int, int]) -> Floats:
        cones = [near_axis(spectrum, direction, CONE_DEG) for direction in directions]
        return _mean_power(spectrum, bounds, torch.stack(cones).any(dim=0))

    y, x = along((0, 1, 0)), along((0, 0, 1))
    diagonals = along((0, 1, 1), (0, 1, -1))
    return Weave(bounds, (x + y) / 2 / diagonals, x / diagonals, y / diagonals)


def border_step(volume: ArrayLike, axis: int, borders: Sequence[int]) -> float:
    """Step at the borders of tiles over the steps beside them: 1 without seams.

    A step is the root mean square difference of two neighbouring sections across ``axis``. Beside are the
    steps two to four sections away, on both sides.

    Parameters
    ----------
    borders
        Index along ``axis`` of a ``(z, y, x)`` volume of the first section behind each border; those within
        four sections of an edge are left out.

    Returns
    -------
    float
        NaN without a border.

    Examples
    --------
    >>> sections = np.arange(20.0) + 10 * (np.arange(20) >= 10)  # a step of 11 among steps of 1
    >>> border_step(sections[:, None, None], 0, [10])
    11.0
    """
    data = np.moveaxis(np.asarray(volume), axis, 0)
    squares = [0.0, 0.0]
    for border in borders:
        if not 5 <= border < len(data) - 4:
            continue
        for offset in (-4, -3, -2, 0, 2, 3, 4):
            a, b = (np.asarray(data[border + offset + i], dtype=np.float64) for i in (-1, 0))
            squares[offset != 0] += float(np.mean((b - a) ** 2)) / (1 if offset == 0 else 6)
    return math.sqrt(squares[0] / squares[1]) if squares[1] > 0 else math.nan


def _mean_power(spectrum: Spectrum, edges: Sequence[float], mask: Tensor) -> Floats:
    """``(s,)`` mean power of each shell's frequencies where the mask is True; NaN where there are none."""
    sums = shell_sums(spectrum, spectrum, edges, mask)
    return np.where(sums.count > 0, sums.aa / np.maximum(sums.count, 1), np.nan)
