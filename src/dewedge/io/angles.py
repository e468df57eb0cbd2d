"""Tilt angles in text files: IMOD's .tlt and .rawtlt, one angle in degrees a line."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dewedge.errors import InputError
from dewedge.io.files import StrPath, write_text_atomic
from dewedge.io.text_files import read_numbers


def read_tilt_angles(path: StrPath) -> NDArray[np.float64]:
    """``(n,)`` tilt angles in degrees, in the order of the images.

    Raises
    ------
    InputError
        If a line holds anything but one angle between -90 and 90, or the angles look like radians.
    """
    rows, line_numbers = read_numbers(path, 1, "one tilt angle in degrees")
    angles = rows[:, 0]
    if np.abs(angles).max() >= 90:
        worst = int(np.abs(angles).argmax())
        raise InputError(
            f"{path}, line {line_numbers[worst]}: expected a tilt angle between -90 and 90 degrees, "
            f"got {angles[worst]:g}"
        )
    if angles.size > 3 and np.abs(angles).max() < 1.6 and (angles != np.round(angles)).any():
        raise InputError(
            f"{path}: expected tilt angles in degrees, these lie between {angles.min():g} and "
            f"{angles.max():g} and look like radians: convert them to degrees"
        )
    return angles


def write_tilt_angles(path: StrPath, tilt_deg: ArrayLike) -> None:
    """Write ``(n,)`` tilt angles in degrees, four decimals, one a line.

    Errors as `dewedge.io.files.write_text_atomic`.
    """
    write_text_atomic(path, "".join(f"{angle:9.4f}\n" for angle in np.asarray(tilt_deg, dtype=np.float64)))
