"""What is said about a series: tilt angles, pixel size and thickness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dewedge.check.finding import Finding, listed
from dewedge.geometry import TiltGeometry

# Tilt series are taken at 0.5 to 20 A per pixel; super-resolved or binned further they are still within.
_PIXEL_SIZES_A = (0.3, 50.0)
_SAME_ANGLE_DEG = 0.05
_LARGE_GAP_DEG = 8.0
_SMALL_RANGE_DEG = 60.0
_THICKNESS_NM = (20.0, 3000.0)


def check_angles(series: str, tilt_deg: NDArray[np.float64]) -> list[Finding]:
    """Findings on ``(n,)`` tilt angles in the order of the images."""
    findings: list[Finding] = []
    ascending = np.sort(tilt_deg)
    low, high = float(ascending[0]), float(ascending[-1])
    if max(-low, high) < 1.6 and len(tilt_deg) >= 10:
        return [
            Finding(
                "error",
                series,
                f"all lie between {low:.3g} and {high:.3g}",
                "tilt angles",
                "They look like radians, and would make a wedge of almost everything",
                "Write them in degrees",
            ),
        ]
    if high - low < _SMALL_RANGE_DEG:
        findings.append(
            Finding(
                "warning",
                series,
                f"only {high - low:g} degrees, from {low:g} to {high:g}",
                "tilt angles",
                "Most of the tomogram's transform is missing and must be guessed",
                "Check that all images are there",
            )
        )
    steps = np.diff(ascending)
    twice = np.flatnonzero(steps < _SAME_ANGLE_DEG)
    if twice.size:
        order = np.argsort(tilt_deg, kind="stable")
        images = sorted({int(i) + 1 for k in twice for i in order[k : k + 2]})
        findings.append(
            Finding(
                "warning",
                series,
                f"{twice.size + 1} images share an angle such as {ascending[twice[0]]:g}"
                if twice.size == 1
                else f"{len(images)} images share their angles",
                f"image {listed(images)}",
                "One may be a repeated exposure, or a line of the angle file may be double",
                "Leave the worse one out, or correct the angle file",
            )
        )
    usual = float(np.median(steps[steps >= _SAME_ANGLE_DEG]))
    for k in np.flatnonzero(steps > max(2.5 * usual, _LARGE_GAP_DEG)):
        findings.append(
            Finding(
                "warning",
                series,
                f"no image between {ascending[k]:g} and {ascending[k + 1]:g} degrees",
                "tilt angles",
                f"The usual step is {usual:.3g}; a gap leaves a second missing wedge, which "
                "the mask does not know",
                "Check that all images are there",
            )
        )
    direction = np.sign(np.diff(tilt_deg))
    if not (np.all(direction >= 0) or np.all(direction <= 0)):
        findings.append(
            Finding(
                "note",
                series,
                "not sorted",
                "tilt angles",
                "Right for a stack in order of acquisition, wrong for one sorted by angle",
                "Nothing, if the angle file is in the order of the stack",
            )
        )
    return findings


def check_lengths(series: str, pixel_size_A: float | None, thickness: int | None = None) -> list[Finding]:
    """Findings on a pixel or voxel size, and a thickness in the same pixels; None for what is not known."""
    findings = []
    if pixel_size_A is None:
        return [
            Finding(
                "warning",
                series,
                "no voxel size",
                "header",
                "Resolutions and the results' headers will lack it",
                "Set it in the header",
            )
        ]
    low, high = _PIXEL_SIZES_A
    if pixel_size_A == 1:
        findings.append(
            Finding(
                "warning",
                series,
                "pixel size exactly 1 A",
                "header",
                "Many programs write 1 where they do not know",
                "Give --pixel-size if it is another",
            )
        )
    elif not low <= pixel_size_A <= high:
        findings.append(
            Finding(
                "warning",
                series,
                f"pixel size {pixel_size_A:g} A",
                "header",
                f"Tilt series for cryo-ET have {low:g} to {high:g}; it may be in nm or of another binning",
                "Give --pixel-size in Angstrom if it is another",
            )
        )
    elif thickness is not None:
        thickness_nm = thickness * pixel_size_A / 10
        thin, thick = _THICKNESS_NM
        if not thin <= thickness_nm <= thick:
            findings.append(
                Finding(
                    "warning",
                    series,
                    f"thickness {thickness} pixels, {thickness_nm:.0f} nm",
                    "--thickness",
                    f"Specimens have {thin:g} to {thick:g} nm; it is counted in unbinned pixels",
                    "Check thickness and pixel size",
                )
            )
    return findings


def describe_geometry(geometry: TiltGeometry) -> str:
    """Number, shape, pixel size and range in one line."""
    height, width = geometry.image_shape_yx
    return (
        f"{geometry.n_tilts} images of {height} x {width} (y, x), {geometry.pixel_size_A:g} A, "
        f"tilts {geometry.tilt_range}"
    )
