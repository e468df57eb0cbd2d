"""Errors that an alignment leaves: residual shifts, a displaced and turned axis, errors of the angles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dewedge.geometry import Floats, TiltGeometry


@dataclass(frozen=True, kw_only=True)
class Misalignment:
    """Size of the errors of an alignment.

    Parameters
    ----------
    shift_yx_A
        Standard deviation of the residual shift of each image along y and along x. Chosen: the mean
        residual of a bead alignment is often some 10 A; along the tilt axis the half-sets of 10499 agree
        beyond 50 A, which leaves no more than some 3 A.
    axis_shift_A
        Displacement of the tilt axis, common to all images. In 10499 it is 60 to 100 A
        (docs/results/empiar-10499.md).
    axis_angle_deg
        Standard deviation of the error of the tilt-axis angle, common to all images. Chosen: what IMOD leaves
        is a few tenths of a degree.
    tilt_deg
        Standard deviation of the error of each tilt angle: a goniometer's 0.1 degrees.
    """

    shift_yx_A: tuple[float, float] = (3.0, 12.0)
    axis_shift_A: float = 80.0
    axis_angle_deg: float = 0.2
    tilt_deg: float = 0.1


@dataclass(frozen=True, eq=False)
class Residuals:
    """True places of the images: a point that an alignment without errors puts at q lies at ``R q + shift``.

    Parameters
    ----------
    tilt_deg
        ``(n,)`` true tilt angles.
    turn_deg
        Angle of R, counter-clockwise where y points upwards.
    shift_yx
        ``(n, 2)`` shifts in pixels.
    """

    tilt_deg: Floats
    turn_deg: float
    shift_yx: Floats


def draw_residuals(geometry: TiltGeometry, size: Misalignment | None, rng: np.random.Generator) -> Residuals:
    """Errors of the alignment that ``geometry`` tells; none if ``size`` is None.

    What a shift of the whole specimen does, dx cos(a) + dz sin(a) along x and dy along y, is taken out by
    least squares, and so is the mean error of the tilt angles: the truth stays in the frame of the series.
    """
    n = geometry.n_tilts
    if size is None:
        return Residuals(geometry.tilt_deg, 0.0, np.zeros((n, 2)))
    draws, turn, errors = rng.normal(size=(n, 2)), rng.normal(), rng.normal(size=n)
    side = rng.choice([-1, 1])
    shifts_A: Floats = np.array(size.shift_yx_A) * draws
    shifts_A[:, 1] += side * size.axis_shift_A
    errors = size.tilt_deg * (errors - errors.mean())
    true_tilt_deg = np.clip(geometry.tilt_deg + errors, -89.9, 89.9)
    angles = np.radians(true_tilt_deg)
    movable = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shifts_A[:, 1] -= movable @ np.linalg.lstsq(movable, shifts_A[:, 1], rcond=None)[0]
    shifts_A[:, 0] -= shifts_A[:, 0].mean()
    return Residuals(true_tilt_deg, size.axis_angle_deg * turn, shifts_A / geometry.pixel_size_A)


def turn_matrix_yx(angle_deg: float) -> Floats:
    """``(2, 2)`` matrix that turns (y, x) column vectors counter-clockwise where y points upwards."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cos, sin], [-sin, cos]])
