"""Tilt angles that are all wrong by one factor: measured, and told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from dewedge.check.axis_position import USUAL_THICKNESS_A
from dewedge.check.binning import small_aligned
from dewedge.check.finding import Finding
from dewedge.geometry import TiltGeometry
from dewedge.physics.angle_scale import SMALLEST, AngleScale, estimate_angle_scale

# Images are binned until no side is longer than this.
_LONGEST_SIDE = 128
# Of the box, in thicknesses: beads lie on the ice, not in it.
_BOX = 2


def measure_angle_scale(
    stacks: Sequence[Iterable[NDArray[Any]]], geometry: TiltGeometry, thickness: int | None
) -> AngleScale | None:
    """Measure by what factor the tilt angles of a series have to be multiplied; None if it cannot be told.

    Parameters
    ----------
    stacks
        The ``(y, x)`` raw images, or those of even and of odd frames, as `small_aligned` takes them.
    geometry
        Their geometry.
    thickness
        Of the tomogram in raw pixels, if known; no less than 200 nm is taken.

    Raises
    ------
    InputError
        If an image is constant or holds a value that is not finite.
    """
    small = small_aligned(stacks, geometry, _LONGEST_SIDE, SMALLEST)
    if small is None:
        return None
    aligned, binned, factor = small
    thickest = max(thickness or 0, USUAL_THICKNESS_A / geometry.pixel_size_A)
    with torch.no_grad():
        return estimate_angle_scale(aligned, binned, round(_BOX * thickest / factor))


def describe_angle_scale(found: AngleScale | None) -> str:
    """Describe what was measured, in a line."""
    if found is None:
        return "not told by the images"
    return f"images fit best with {found.factor:.3f} ± {found.error:.3f} times the angles"


def check_angle_scale(series: str, found: AngleScale | None) -> list[Finding]:
    """Find tilt angles that are all too large, or all too small."""
    if found is None or not found.is_off:
        return []
    return [
        Finding(
            "warning",
            series,
            f"images fit best with {found.factor:.2f} ± {found.error:.2f} times the angles",
            "tilt angles",
            "With angles that are all too small or too large the tomogram is stretched along the beam and "
            "blurred away from the tilt axis, in both half-sets alike",
            "Look whether the angle file is the one of this alignment, and in degrees; an alignment that "
            "lets the angles float together can stretch them",
        )
    ]
