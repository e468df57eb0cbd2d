"""IMOD's .xf files: the linear transform of each tilt image from raw to aligned.

A line holds A11 A12 A21 A22 DX DY: X' = A11 X + A12 Y + DX, Y' = A21 X + A22 Y + DY, in pixels of the
stack the file belongs to, about the centre of the image. IMOD's centre lies at index (N - 1) / 2 of an axis
and the tilt axis goes through it; ours is index N // 2, half a pixel further where N is even.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dewedge.errors import InputError
from dewedge.geometry import Floats
from dewedge.io.files import StrPath, write_text_atomic
from dewedge.io.text_files import read_numbers


def read_xf(path: StrPath) -> tuple[Floats, Floats]:
    """Matrices ``(n, 2, 2)`` that multiply (x, y) column vectors from the left, shifts ``(n, 2)`` in (x, y).

    Raises
    ------
    InputError
        If a line does not hold six numbers, or a matrix cannot be inverted.
    """
    rows, line_numbers = read_numbers(path, 6, "six numbers (A11 A12 A21 A22 DX DY)")
    matrices = rows[:, :4].reshape(-1, 2, 2)
    flat = np.abs(np.linalg.det(matrices)) < 1e-3
    if flat.any():
        number = line_numbers[int(flat.argmax())]
        raise InputError(f"{path}, line {number}: expected a matrix that can be inverted (A11 A12 A21 A22)")
    return matrices, rows[:, 4:]


def write_xf(path: StrPath, matrices: ArrayLike, shifts_xy: ArrayLike) -> None:
    """Write matrices ``(n, 2, 2)`` on (x, y) and shifts ``(n, 2)`` in (x, y) and pixels.

    Errors as `dewedge.io.files.write_text_atomic`.
    """
    rows = np.concatenate([np.reshape(matrices, (-1, 4)), np.reshape(shifts_xy, (-1, 2))], axis=1)
    line = "{:13.9f}" * 4 + "{:14.6f}" * 2 + "\n"
    write_text_atomic(path, "".join(line.format(*row) for row in rows.tolist()))


def xf_to_geometry_arrays(
    matrices: ArrayLike, shifts_xy: ArrayLike, image_shape_yx: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Turn .xf transforms into ``linear_yx`` and ``shift_yx`` of a `dewedge.geometry.TiltGeometry`.

    A raw pixel at p from our centre lies at p + e from IMOD's, e = 1/2 for an axis of even length, else 0.
    The aligned coordinate stays IMOD's, so that the tilt axis lies at 0: A p + (A e + d).

    Examples
    --------
    >>> linear_yx, shift_yx = xf_to_geometry_arrays([np.eye(2)], [[0, 0]], image_shape_yx=(64, 65))
    >>> shift_yx
    array([[0.5, 0. ]])
    """
    linear = np.asarray(matrices, dtype=np.float64)
    shifts = np.asarray(shifts_xy, dtype=np.float64) + linear @ _centre_offset_xy(image_shape_yx)
    return linear[:, ::-1, ::-1].copy(), shifts[:, ::-1].copy()


def geometry_arrays_to_xf(
    linear_yx: ArrayLike, shift_yx: ArrayLike, image_shape_yx: tuple[int, int]
) -> tuple[Floats, Floats]:
    """The inverse of `xf_to_geometry_arrays`: matrices ``(n, 2, 2)`` and shifts ``(n, 2)`` on (x, y)."""
    matrices = np.asarray(linear_yx, dtype=np.float64)[:, ::-1, ::-1].copy()
    shifts_xy = np.asarray(shift_yx, dtype=np.float64)[:, ::-1] - matrices @ _centre_offset_xy(image_shape_yx)
    return matrices, shifts_xy


def _centre_offset_xy(image_shape_yx: tuple[int, int]) -> Floats:
    height, width = image_shape_yx
    return np.array([width // 2 - (width - 1) / 2, height // 2 - (height - 1) / 2])
