"""The model of projection that AreTomo, RELION and Warp share, as our geometry.

A point of the specimen at (x, y, z) from the centre of the volume lies, in the raw image, at

    centre + t + Rz(axis) P Ry(tilt) Rx(x_tilt) (x, y, z)

where Rz turns counter-clockwise (y upwards), P drops z and the first row of Ry is (cos, 0, sin). The angle of
the axis is IMOD's. The centre is index N / 2 of an image axis in RELION and Warp, (N - 1) / 2 in AreTomo and
IMOD.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from dewedge.geometry import Floats

Centre = Literal["N/2", "(N-1)/2"]

# A tilt about x that varies by less than this between images moves nothing by a pixel.
_STEADY_DEG = 0.1
_NOTICEABLE_DEG = 0.05


def to_geometry_arrays(
    axis_deg: ArrayLike, shift_xy: ArrayLike, image_shape_yx: tuple[int, int], centre: Centre
) -> tuple[Floats, Floats]:
    """Transforms ``(n, 2, 2)`` and shifts ``(n, 2)`` on (y, x) of a `dewedge.geometry.TiltGeometry`.

    Parameters
    ----------
    axis_deg
        ``(n,)`` tilt-axis angles in degrees.
    shift_xy
        ``(n, 2)`` shifts t in (x, y) and raw pixels.
    image_shape_yx, centre
        Shape of the raw images, and where the program has their centre.

    Examples
    --------
    >>> linear_yx, shift_yx = to_geometry_arrays([90.0], [[3.0, 0.0]], (64, 64), "N/2")
    >>> (linear_yx @ [0, 3] + shift_yx).round(6).tolist()  # the centre lies 3 pixels off in x
    [[0.0, 0.0]]
    """
    angle = np.radians(np.asarray(axis_deg, dtype=np.float64))
    cos, sin = np.cos(angle), np.sin(angle)
    # The turn back, on (y, x): [[cos, sin], [-sin, cos]] on (x, y) with both axes reversed.
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    raw_yx = _centre_offset_yx(image_shape_yx, centre) - np.asarray(shift_xy, dtype=np.float64)[:, ::-1]
    return linear, np.einsum("nij,nj->ni", linear, raw_yx)


def from_geometry_arrays(
    linear_yx: Floats, shift_yx: Floats, image_shape_yx: tuple[int, int], centre: Centre
) -> tuple[Floats, Floats]:
    """Inverse of `to_geometry_arrays` where the transforms are rotations.

    Returns
    -------
    (n,) and (n, 2) float64
        Tilt-axis angles in degrees, and shifts in (x, y) and raw pixels.
    """
    axis_deg = np.degrees(np.arctan2(linear_yx[:, 1, 0], linear_yx[:, 1, 1]))
    raw_yx = np.linalg.solve(linear_yx, shift_yx[:, :, None])[:, :, 0]
    return axis_deg, (_centre_offset_yx(image_shape_yx, centre) - raw_yx)[:, ::-1]


def x_tilt_notes(x_tilt_deg: ArrayLike, where: str) -> tuple[str, ...]:
    """Notes on tilts of the volume about x, one or ``(n,)``, which our geometry leaves out.

    A tilt common to all images merely turns the tomogram; what varies between images cannot be expressed.
    """
    tilts = np.asarray(x_tilt_deg, dtype=np.float64)
    mean, spread = float(tilts.mean()), float(np.ptp(tilts))
    notes = []
    if spread > _STEADY_DEG:
        notes.append(f"{where}: tilts about x that vary by {spread:.2g} degrees between images are not used")
    if abs(mean) > _NOTICEABLE_DEG:
        notes.append(
            f"{where}: the tilt of {mean:.2g} degrees about x is not used: the tomogram comes out turned "
            "by it"
        )
    return tuple(notes)


def _centre_offset_yx(image_shape_yx: tuple[int, int], centre: Centre) -> Floats:
    """Our centre, N // 2, from theirs."""
    size = np.array(image_shape_yx, dtype=np.float64)
    offset: Floats = size // 2 - (size / 2 if centre == "N/2" else (size - 1) / 2)
    return offset
