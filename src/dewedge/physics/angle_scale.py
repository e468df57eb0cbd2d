"""A factor by which all tilt angles are wrong, measured from the tilt images themselves.

A point at (z, x) lies at x cos(a) + z sin(a) in the image of tilt a. With angles that are all too small by a
factor, a specimen stretched along z explains nearly all of the second term, and nothing explains the first:
what is far from the axis moves across steep images otherwise than it should, and is blurred. So the factor
for which a small reconstruction is sharpest is the right one. The height of the box goes with one over the
factor, as the specimen's does, or else the stretch alone would look like a change of sharpness.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dewedge.geometry import Floats, TiltGeometry
from dewedge.physics.projection import back_project
from dewedge.physics.reconstruction import tilt_weights_rad
from dewedge.physics.sharpness import log_ratio, moments, passed, peak

# Smallest images that are judged, in pixels, and fewest tilts.
SMALLEST = 72
_FEWEST = 9
# Logarithms of the factors that are looked through, and steps about the best one.
_COARSE = 0.06 * np.arange(-7, 8)
_NEAR = 0.03 * np.arange(-2, 3)
_STEEPEST_DEG = 85.0
# So many coarse steps to either side of the best factor, sharpness must be less by so much: a flat specimen
# of little contrast has no peak, but falls off towards large factors (by at most 0.03 towards small ones).
_REACH, _LEAST_DROP = 2, 0.08
# Factors nearer to one are no finding: of good alignments they are up to 1.5 % off (docs/notebook/check.md).
_LEAST_SCALE = 0.04


class AngleScale(NamedTuple):
    """Factor by which all tilt angles have to be multiplied to fit the images, and its standard error."""

    factor: float
    error: float

    @property
    def is_off(self) -> bool:
        """True if it differs from one by more than three standard errors, and by so much that it matters."""
        return abs(self.factor - 1) > max(3 * self.error, _LEAST_SCALE)


def estimate_angle_scale(images: Tensor, geometry: TiltGeometry, thickness: int) -> AngleScale | None:
    """Estimate by what factor the angles of ``(n, y, x)`` aligned tilt images have to be multiplied.

    Parameters
    ----------
    images
        Images of about 100 pixels a side.
    thickness
        Number of z slices that hold the specimen for certain, in the images' pixels: of a box that is too
        thin, what juts out decides.

    Returns
    -------
    AngleScale or None
        None if the images are too small or too few, or no factor makes a reconstruction clearly sharper than
        those beside it.

    Raises
    ------
    InputError
        If all tilt angles are the same.
    """
    steepest = np.abs(geometry.tilt_deg).max()
    coarse = _COARSE[np.exp(_COARSE) * steepest < _STEEPEST_DEG]
    if min(geometry.image_shape_yx) < SMALLEST or geometry.n_tilts < _FEWEST or len(coarse) <= 2 * _REACH:
        return None
    weighted = (
        passed(images) * torch.from_numpy(tilt_weights_rad(geometry.tilt_deg)).to(images)[:, None, None]
    )

    def sharpness(logs: Floats) -> Floats:
        """``(factors, parts)`` logarithms of the sharpness in parts of the field."""
        tilts = geometry.tilt_deg
        return np.array([log_ratio(_moments(weighted, tilts, thickness, np.exp(log))) for log in logs])

    # The mean of parts: of all moments together, a few beads would decide.
    curve = sharpness(coarse).mean(axis=1)
    best = int(curve.argmax())
    if not _REACH <= best < len(coarse) - _REACH:
        return None
    if curve[best] - max(curve[best - _REACH], curve[best + _REACH]) < _LEAST_DROP:
        return None
    near = coarse[best] + _NEAR
    parts = sharpness(near)
    log = peak(near, parts.mean(axis=1))
    # Without each part in turn.
    others = [peak(near, np.delete(parts, i, axis=1).mean(axis=1)) for i in range(parts.shape[1])]
    known = [other for other in others if other is not None]
    if log is None or len(known) < len(others):
        return None
    factor = float(np.exp(log))
    return AngleScale(factor, factor * float(np.sqrt((len(known) - 1) * np.var(known))))


def _moments(weighted: Tensor, tilt_deg: Floats, thickness: int, factor: float) -> Floats:
    """``(parts, 2)`` moments per slice."""
    depth = max(1, round(thickness / factor))
    return moments(back_project(weighted, tilt_deg * factor, (depth, *weighted.shape[1:]))) / depth
