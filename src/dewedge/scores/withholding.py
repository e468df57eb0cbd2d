"""Which tilts of a series are kept back, and the directions that only those measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dewedge.errors import InputError

Withholding = Literal["outer", "side", "inner"]

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

    Examples
    --------
    >>> Cone(parts_deg=((80.0, 100.0),), gap_deg=(11.0,)).holds(torch.tensor([70.0, 90.0, -85.0]))
    tensor([False,  True,  True])
    """

    parts_deg: tuple[tuple[float, float], ...]
    gap_deg: tuple[float, ...]

    def holds(self, angle_deg: Tensor) -> Tensor:
        """True for angles of any shape that lie in the cone, folded or not."""
        inside = torch.zeros_like(angle_deg, dtype=torch.bool)
        for low, high in self.parts_deg:
            inside |= torch.remainder(angle_deg - low, 180) <= high - low
        return inside


def withheld_tilts(
    tilt_deg: ArrayLike, kind: Withholding, limits_deg: Sequence[float] | None = None
) -> NDArray[np.bool_]:
    """Choose the tilts of a series to keep back.

    Parameters
    ----------
    tilt_deg
        ``(n,)`` tilt angles of the whole series.
    kind
        ``outer``: those steeper than an angle, on both sides. ``side``: those above an angle. ``inner``:
        those between two angles, to half a degree; the wedge of what is given then still is that of the whole
        range, so the gap counts as measured in the fit and in refinement, as it does wherever tilts failed.
    limits_deg
        The angle, or the two. If not given, for a highest tilt of 60 degrees: 43, 30, or 6 and 36; less in
        proportion for other ranges, but for `outer`, which keeps 17 degrees back. Of an inner block of half
        that width nearly all could come by leakage.

    Returns
    -------
    NDArray
        ``(n,)`` True for those to keep back.

    Raises
    ------
    InputError
        If there are not so many angles, none or nearly all tilts would be kept back, or an inner block is not
        inside.

    Examples
    --------
    >>> withheld_tilts([-60, -40, -20, 0, 20, 40, 60], "outer", [50]).tolist()
    [True, False, False, False, False, False, True]
    """
    tilts = np.asarray(tilt_deg, dtype=np.float64)
    highest = float(tilts.max())
    defaults = {
        "outer": [float(np.abs(tilts).max()) - 17],
        "side": [highest / 2],
        "inner": [highest * 0.1, highest * 0.6],
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
        # Refined angles are a little beside the nominal ones that people give.
        withheld = (tilts >= limits[0] - 0.5) & (tilts <= limits[1] + 0.5)
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

    Examples
    --------
    >>> withheld_cone(given_deg=[-30, -10, 10, 30], withheld_deg=[40, 50, 60])
    Cone(parts_deg=((41.0, 61.0),), gap_deg=(11.0,))
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
