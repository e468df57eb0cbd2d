"""Shifts of tilt images against their neighbours in angle: whether a series is aligned at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dewedge.check.finding import Finding
from dewedge.geometry import Floats
from dewedge.io.tilt_series import FEWEST_TILTS

# Each image is held against so many after it in angle; those but the next only within so many degrees.
_NEIGHBOURS, _NEAR_DEG = 3, 10.0
# Scales, in binned pixels, between which images are compared, and where they are cut, for beads to inform but
# not to decide: two beads at different heights are shifted differently.
_FINE_PX, _COARSE_PX, _CUT_STD = 1.0, 6.0, 3.0
# Largest median by which measured shifts contradict each other, in binned pixels; beyond it noise is fitted.
_CONTRADICTION_PX = 0.2
# An image that resembles its neighbours so much less than usual, such as a dark one, is left out.
_UNLIKE = 0.5
# In binned pixels, under a hundredth of the image's side: least root mean square of the shifts, and least
# median of their steps from image to image. Of an aligned series some steps are large, where structure at
# another height comes to dominate, and thus many shifts, but not most steps.
_SHIFT_PX, _STEP_PX = 0.7, 0.4


class Shifts(NamedTuple):
    """Shifts of the images that no place of the specimen explains, in pixels of the measured images.

    Parameters
    ----------
    shift_yx
        ``(n, 2)`` of each image that resembles its neighbours, by angle.
    """

    shift_yx: Floats

    @property
    def rms_px(self) -> float:
        """Root mean square of the lengths of the shifts."""
        return float(np.sqrt(np.square(self.shift_yx).sum(axis=1).mean()))

    @property
    def largest_px(self) -> float:
        """Length of the longest shift."""
        return float(np.linalg.norm(self.shift_yx, axis=1).max())

    @property
    def step_px(self) -> float:
        """Median distance between the shifts of neighbours in angle."""
        return float(np.median(np.linalg.norm(np.diff(self.shift_yx, axis=0), axis=1)))


def measure_shifts(aligned: NDArray[np.float32], tilt_deg: Floats) -> Shifts | None:
    """Shifts of ``(n, y, x)`` aligned and binned images, None where noise hides them.

    Neighbours in angle, the steeper one stretched along x to the tilt of the other, are cross-correlated. Of
    the places that fit all these shifts best, what moving the specimen does is taken out: dy along y,
    dx cos a + dz sin a along x, and so is a common shift along x, which is a displaced tilt axis.
    """
    order = np.argsort(tilt_deg, kind="stable")
    angles = np.radians(tilt_deg[order])
    images = _prepared(aligned[order])
    near = np.radians(_NEAR_DEG)
    pairs = [
        (i, j)
        for i in range(len(order))
        for j in range(i + 1, min(i + 1 + _NEIGHBOURS, len(order)))
        if j == i + 1 or angles[j] - angles[i] <= near
    ]
    if len(pairs) < len(order):  # nothing by which shifts could contradict each other
        return None
    measured = [_shift_between(images[i], images[j], np.cos(angles[i]), np.cos(angles[j])) for i, j in pairs]
    differences, likeness = np.array([shift for shift, _ in measured]), np.array([c for _, c in measured])
    equations = np.zeros((len(pairs), len(order)))
    for row, (i, j) in enumerate(pairs):
        equations[row, [i, j]] = -1, 1
    solved = [_robust_solution(equations, of_axis, np.maximum(likeness, 0)) for of_axis in differences.T]
    alike = np.array([np.median(likeness[row != 0]) for row in equations.T])
    fits = alike > _UNLIKE * np.median(alike)
    if max(error for _, error in solved) > _CONTRADICTION_PX or fits.sum() < FEWEST_TILTS:
        return None
    along_x = np.stack([np.ones(len(order)), np.cos(angles), np.sin(angles)], axis=1)
    places = np.stack([place for place, _ in solved], axis=1)[fits]
    for axis, movable in enumerate((along_x[fits, :1], along_x[fits])):
        places[:, axis] -= movable @ np.linalg.lstsq(movable, places[:, axis], rcond=None)[0]
    return Shifts(places)


def describe_shifts(found: Shifts | None, pixel_size_A: float) -> str:
    """Describe what was measured, in a line; ``pixel_size_A`` is that of the measured images."""
    if found is None:
        return "not told by the images"
    rms, largest, step = (px * pixel_size_A for px in (found.rms_px, found.largest_px, found.step_px))
    return f"{rms:.0f} A (root mean square; up to {largest:.0f}), {step:.0f} A from image to image"


def check_shifts(series: str, found: Shifts | None, pixel_size_A: float) -> list[Finding]:
    """Find images that are not aligned; ``pixel_size_A`` is that of the measured images."""
    if found is None or found.rms_px < _SHIFT_PX or found.step_px < _STEP_PX:
        return []
    return [
        Finding(
            "warning",
            series,
            f"images are shifted against their neighbours in angle by {describe_shifts(found, pixel_size_A)}",
            "alignment",
            "Not aligned, or by another stack's alignment, points become rows of dots and membranes double",
            "Align the tilt series first, in AreTomo or IMOD, and give its .aln, or its .xf (--xf)",
        )
    ]


def _prepared(images: NDArray[np.float32]) -> Floats:
    """Band-passed images, cut at some standard deviations."""
    passed: Floats = ndimage.gaussian_filter(images, (0, _FINE_PX, _FINE_PX)).astype(np.float64)
    passed -= ndimage.gaussian_filter(images, (0, _COARSE_PX, _COARSE_PX))
    middle = np.median(passed, axis=(1, 2), keepdims=True)
    std = 1.4826 * np.median(np.abs(passed - middle), axis=(1, 2), keepdims=True)
    return np.clip(passed - middle, -_CUT_STD * std, _CUT_STD * std)


def _shift_between(first: Floats, second: Floats, cos0: float, cos1: float) -> tuple[Floats, float]:
    """Shift (y, x) of the second image against the first, and their correlation there."""
    flat = max(cos0, cos1)
    spectra = []
    for image, cos in ((first, cos0), (second, cos1)):
        stretched = _stretched(image, cos / flat)
        height, width = stretched.shape
        stretched *= np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
        stretched -= stretched.mean()
        spectra.append(np.fft.rfft2(stretched / max(float(np.linalg.norm(stretched)), 1e-30)))
    correlation = np.fft.irfft2(spectra[1] * spectra[0].conj(), s=first.shape)
    # Of images that wrap around, shifts of more than a quarter mean nothing.
    for axis, size in enumerate(first.shape):
        far = np.minimum(np.arange(size), size - np.arange(size)) > size // 4
        correlation[far if axis == 0 else (slice(None), far)] = -1
    shift_yx, likeness = _peak(correlation)
    return shift_yx * [1, (cos0 + cos1) / (2 * flat)], likeness


def _stretched(image: Floats, factor: float) -> Floats:
    """An image whose x coordinate about its middle was divided by ``factor``."""
    width = image.shape[1]
    x = np.arange(width)
    from_x = width // 2 + (x - width // 2) * factor
    return np.stack([np.interp(from_x, x, row) for row in image])


def _peak(correlation: Floats) -> tuple[Floats, float]:
    """Place of the highest value by a parabola along each axis, and that value; index 0 is no shift."""
    top = np.unravel_index(correlation.argmax(), correlation.shape)
    place = []
    for axis, (index, size) in enumerate(zip(top, correlation.shape, strict=True)):
        line = correlation[:, top[1]] if axis == 0 else correlation[top[0]]
        before, here, after = line[index - 1], line[index], line[(index + 1) % size]
        bend = before - 2 * here + after
        offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
        place.append((index + np.clip(offset, -0.5, 0.5) + size / 2) % size - size / 2)
    return np.array(place), float(correlation[top])


def _robust_solution(equations: Floats, values: Floats, weights: Floats) -> tuple[Floats, float]:
    """Solution by weighted least squares in which few wrong values count little; median of all errors.

    Iterated with Huber's weights, from ``weights`` on.
    """
    own = weights
    for _ in range(10):
        solution = np.asarray(
            np.linalg.lstsq(equations * own[:, None], values * own, rcond=None)[0], np.float64
        )
        errors = np.abs(equations @ solution - values)
        own = weights / np.maximum(1, errors / max(2 * 1.4826 * float(np.median(errors)), 0.1))
    return solution, float(np.median(errors))
