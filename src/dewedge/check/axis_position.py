"""The place and direction of the tilt axis in aligned images: measured, told, and put right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from dewedge.check.binning import small_aligned
from dewedge.check.finding import Finding
from dewedge.geometry import TiltGeometry
from dewedge.physics.tilt_axis import SMALLEST, AxisEstimate, blur_px, estimate_axis

# Images are binned until no side is longer than this.
_LONGEST_SIDE = 192
# Thickness of a specimen where none is known.
USUAL_THICKNESS_A = 2000.0
# In units of the standard error: what is put right, and what is warned of if it also blurs so many voxels.
_PUT_RIGHT, _WARNED_OF, _BLUR_VOXELS = 2.0, 3.0, 0.25


def measure_axis(
    stacks: Sequence[Iterable[NDArray[Any]]], geometry: TiltGeometry, thickness: int | None
) -> AxisEstimate | None:
    """Measure by how much the tilt axis of a series is off, in pixels of its raw images.

    Parameters
    ----------
    stacks
        The ``(y, x)`` raw images, in memory or memory-mapped; of several stacks, such as those of even and of
        odd frames, the mean is taken.
    geometry
        Their geometry.
    thickness
        Of the tomogram in raw pixels; 200 nm if not known.

    Returns
    -------
    AxisEstimate or None
        None if it cannot be told.

    Raises
    ------
    InputError
        If an image is constant or holds a value that is not finite.
    """
    small = small_aligned(stacks, geometry, _LONGEST_SIDE, SMALLEST)
    if small is None:
        return None
    aligned, binned, factor = small
    slices = (thickness or USUAL_THICKNESS_A / geometry.pixel_size_A) / factor
    with torch.no_grad():
        found = estimate_axis(aligned, binned, max(4, round(slices)))
    if found is None:
        return None
    return found._replace(shift_px=found.shift_px * factor, shift_error_px=found.shift_error_px * factor)


def describe_axis(found: AxisEstimate | None) -> str:
    """Describe what was measured, in a line."""
    if found is None:
        return "not told by the images"
    return (
        f"images want {found.shift_px:+.1f} ± {found.shift_error_px:.1f} pixels along x and a turn of "
        f"{found.angle_deg:+.2f} ± {found.angle_error_deg:.2f} degrees (sharper by {found.gain:.1%}); the "
        f"specimen lies {found.slab_deg:+.0f} ± {found.slab_error_deg:.0f} degrees about the axis"
    )


def put_right(found: AxisEstimate) -> tuple[float, float]:
    """The angle in degrees and the shift in raw pixels by which images and axis are moved.

    Each is 0 if it is within twice its standard error, and has the digits of `describe_move`: they do not
    depend on how a machine sums, so that what was begun on one goes on on another.
    """
    angle_deg, shift_px = _significant(found, _PUT_RIGHT)
    return round(angle_deg, 3), round(shift_px, 2)


def describe_move(angle_deg: float, shift_px: float) -> str:
    """Describe what is done, with the flags that would do the same."""
    if not angle_deg and not shift_px:
        return "left as it is"
    flags = [
        f"--axis-turn {angle_deg:.3f}" if angle_deg else "",
        f"--axis-shift {shift_px:.2f}" if shift_px else "",
    ]
    return f"put right, as by {' '.join(filter(None, flags))}"


def check_axis_position(
    series: str, found: AxisEstimate | None, geometry: TiltGeometry, binning: int, *, moved: bool = False
) -> list[Finding]:
    """Find a tilt axis that is off by so much that the tomogram is blurred.

    Parameters
    ----------
    geometry
        Of the raw images.
    binning
        Of the tomogram.
    moved
        Whether it will be put right: then it is a note, not a warning.
    """
    if found is None:
        return []
    angle, shift = _significant(found, _WARNED_OF)
    blur = blur_px(shift, angle, geometry.tilt_deg, geometry.aligned_shape_yx) / binning
    if blur < _BLUR_VOXELS:
        return []
    parts = [
        f"{abs(shift):.1f} ± {found.shift_error_px:.1f} pixels beside the images' middle" if shift else "",
        f"turned by {abs(angle):.2f} ± {found.angle_error_deg:.2f} degrees" if angle else "",
    ]
    return [
        Finding(
            "note" if moved else "warning",
            series,
            f"it lies {' and '.join(part for part in parts if part)}",
            "tilt axis",
            f"That blurs the tomogram by {blur:.2g} voxels (root mean square), unevenly in direction",
            f"{'Nothing: it is put right' if moved else 'Give --refine-axis auto, which puts it right'} "
            f"({shift:+.1f} pixels along x, {angle:+.2f} degrees)",
        )
    ]


def _significant(found: AxisEstimate, in_errors: float) -> tuple[float, float]:
    """Angle and shift, each 0 unless it is larger than so many of its standard errors."""
    angle = found.angle_deg if abs(found.angle_deg) > in_errors * found.angle_error_deg else 0.0
    shift = found.shift_px if abs(found.shift_px) > in_errors * found.shift_error_px else 0.0
    return angle, shift
