"""Place of the tilt axis, and of the specimen about it, measured from the tilt images themselves.

Alignments are often right from image to image and still share one error: all images are shifted alike along
x, or turned alike, and back-projection turns about a wrong axis. Points become arcs, and the fourth moment of
the voxels, which is large where density is in few of them, falls. It needs neither beads nor half-sets, and
Gaussian noise does not change where it is largest.

Most of a common shift s only moves the specimen in the volume, x by s c and z by s d with c and d such that
c cos(a) + d sin(a) comes nearest to 1 over the tilts a; the rest, s (1 - c cos(a) - d sin(a)), no place in
the specimen explains. It is 0.18 s (root mean square) for -60 to 60 degrees. In the same way most of a common
turn only shears the specimen. Images are moved by the rest alone while the axis is looked for: then the same
matter stays in the same voxels, and what enters at the edges does not hide what becomes sharper.

An offset of all tilt angles is the specimen turned about the axis: nothing is blurred, and no image tells.
Only that a specimen is usually flat and lies across the beam speaks for an offset, see `slab_tilt`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dewedge.geometry import Floats, TiltGeometry
from dewedge.physics.fourier import fourier_crop
from dewedge.physics.projection import back_project
from dewedge.physics.reconstruction import tilt_weights_rad
from dewedge.physics.sharpness import CLIP, PARTS_YX, RIM, log_ratio, moments, passed, peak_of

# Smallest images that are judged, in pixels.
SMALLEST = 96
# Largest displacement, as a share of the images' width, and angle that are looked for.
_LARGEST_SHIFT, _LARGEST_ANGLE_DEG = 0.1, 5.0
# Places about the best one through whose values the parabola goes: shifts in pixels, and by how many pixels
# turns move the ends of the images, in units of these.
_NEAR = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
_TURNED_PX = 1.5
_ROUNDS = 3
# Columns of the field in which the specimen's height is found.
_COLUMNS = 12


class AxisEstimate(NamedTuple):
    """Shift and turn by which the tilt axis of aligned images is off y through index N // 2.

    Parameters
    ----------
    shift_px, shift_error_px
        What has to be added to x of all images, after they were turned, and its standard error; pixels.
    angle_deg, angle_error_deg
        By what all images have to be turned about their middle, counted as `TiltGeometry.axis_angle_deg`, and
        its standard error.
    gain
        By how much the fourth moment of the voxels is larger for it: 0.1 for ten percent.
    slab_deg, slab_error_deg
        Angle about the tilt axis by which the specimen lies across the beam, see `slab_tilt`.
    """

    shift_px: float
    shift_error_px: float
    angle_deg: float
    angle_error_deg: float
    gain: float
    slab_deg: float
    slab_error_deg: float


def estimate_axis(images: Tensor, geometry: TiltGeometry, thickness: int) -> AxisEstimate | None:
    """Estimate by how much the tilt axis of ``(n, y, x)`` aligned images is off.

    A wide range of shifts is looked through at half as many pixels a side; about the best one, shift and
    angle in turn are the peaks of parabolas through the logarithm of the fourth moment over the square of the
    second. Their errors are the jackknife's over parts of the field.

    Parameters
    ----------
    images
        Images of 100 to 400 pixels a side: with more it takes longer, with fewer it is less exact.
    thickness
        Number of z slices, in the images' pixels.

    Returns
    -------
    AxisEstimate or None
        None if the images are too small, or there is no peak within 10 % of their width and 5 degrees.
    """
    height, width = geometry.image_shape_yx
    if min(height, width) < SMALLEST or np.ptp(geometry.tilt_deg) < 1:
        return None
    small = _Sharpness(fourier_crop(images, (height // 2, width // 2)), geometry.tilt_deg, thickness // 2)
    steps = math.ceil(_LARGEST_SHIFT * width / 4)
    shifts = 2.0 * np.arange(-steps, steps + 1)
    best = int(log_ratio(small.at([(shift, 0.0) for shift in shifts]).sum(axis=1)).argmax())
    if best in (0, len(shifts) - 1):
        return None
    sharpness = _Sharpness(images, geometry.tilt_deg, thickness)
    turns = _NEAR * math.degrees(_TURNED_PX * 2 / max(height, width))
    by_shift, by_angle = (float(2 * shifts[best]), 0.0), (0.0, 0.0)
    for _ in range(_ROUNDS):
        (shift, _), (angle, _) = by_shift, by_angle
        new_shift = peak_of(shift + _NEAR, sharpness.at([(s, angle) for s in shift + _NEAR]))
        if new_shift is None:
            return None
        new_angle = peak_of(angle + turns, sharpness.at([(new_shift[0], a) for a in angle + turns]))
        if new_angle is None:
            return None
        by_shift, by_angle = new_shift, new_angle
        if abs(by_shift[0] - shift) <= 1 and abs(by_angle[0] - angle) <= turns[-1] / 4:
            break
    shift, angle = by_shift[0], by_angle[0]
    if abs(angle) > _LARGEST_ANGLE_DEG:
        return None
    before, after = log_ratio(sharpness.at([(0.0, 0.0), (shift, angle)]).sum(axis=1))
    slab_deg, slab_error_deg = slab_tilt(sharpness.volume(shift, angle))
    return AxisEstimate(
        shift_px=shift,
        shift_error_px=by_shift[1],
        angle_deg=angle,
        angle_error_deg=by_angle[1],
        gain=float(np.exp(after - before)) - 1,
        slab_deg=slab_deg,
        slab_error_deg=slab_error_deg,
    )


def blur_px(shift_px: float, angle_deg: float, tilt_deg: Floats, shape_yx: tuple[int, int]) -> float:
    """Root mean square, over tilts and field, of the displacement that no place in the specimen explains."""
    turn = math.radians(angle_deg)
    height, width = (turn * n / math.sqrt(12) for n in shape_yx)
    along_x = np.mean(unexplained(tilt_deg) ** 2) * (shift_px**2 + height**2)
    along_y = np.var(np.cos(np.radians(tilt_deg))) * width**2
    return float(np.sqrt(along_x + along_y))


def unexplained(tilt_deg: Floats) -> Floats:
    """``(n,)`` part of a common shift by 1 along x that no place in the specimen explains, for each tilt.

    Examples
    --------
    All of it is explained where two tilts are given:

    >>> unexplained(np.array([0.0, 60.0])).round(6) + 0
    array([0., 0.])
    >>> float(np.sqrt(np.mean(unexplained(np.arange(-60.0, 61.0, 3.0)) ** 2)))
    0.18
    """
    angles = np.radians(tilt_deg)
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    constant = np.ones(len(angles))
    rest: Floats = constant - places @ np.linalg.lstsq(places, constant, rcond=None)[0]
    return rest


def with_axis(geometry: TiltGeometry, angle_deg: float, shift_px: float) -> TiltGeometry:
    """Geometry with the tilt axis put where images want it.

    All images are turned by the angle, and shifted along x by the part of the common shift, in raw pixels,
    that no place in the specimen explains: the rest would only move the tomogram.
    """
    return geometry.moved(angle_deg, shift_px * unexplained(geometry.tilt_deg))


def slab_tilt(volume: Tensor) -> tuple[float, float]:
    """Angle in degrees by which a flat specimen lies turned about the tilt axis y, and its standard error.

    Where there is specimen the density varies more: the middle of that along z is found in columns of the
    field, and a line through these, z = x tan(angle). The error is that of parts along y.

    Parameters
    ----------
    volume
        ``(z, y, x)`` band-passed reconstruction.
    """
    depth, _, width = volume.shape
    rim = int(RIM * width)
    inner = volume[:, :, rim : width - rim]
    spread = 1.4826 * inner.abs().median()
    power = inner.clamp(-CLIP * spread, CLIP * spread).square()
    z = torch.arange(depth, dtype=torch.float64) - depth // 2
    x = torch.arange(inner.shape[2], dtype=torch.float64) - (width // 2 - rim)
    places = torch.stack([part.mean() for part in torch.tensor_split(x, _COLUMNS)])
    angles = []
    for part in torch.tensor_split(power, PARTS_YX[0], dim=1):
        columns = torch.tensor_split(part.mean(dim=1).double().cpu(), _COLUMNS, dim=1)
        profiles = torch.stack([column.mean(dim=1) for column in columns])
        # The upper half: below it lie noise and the rays of the specimen, centred on the volume's middle.
        low, high = profiles.quantile(0.2, dim=1, keepdim=True), profiles.amax(dim=1, keepdim=True)
        above = (profiles - (low + high) / 2).clamp(min=0)
        weight = above.sum(dim=1).clamp(min=1e-30)
        middle = (above * z).sum(dim=1) / weight
        across = places - (weight * places).sum() / weight.sum()
        slope = (weight * across * middle).sum() / (weight * across.square()).sum()
        angles.append(math.degrees(math.atan(float(slope))))
    return float(np.mean(angles)), float(np.std(angles, ddof=1) / math.sqrt(len(angles)))


class _Sharpness:
    """Second and fourth moments of the voxels for shifts and turns of all images."""

    def __init__(self, images: Tensor, tilt_deg: Floats, thickness: int) -> None:
        self.images = passed(images) * torch.from_numpy(tilt_weights_rad(tilt_deg)).to(images)[:, None, None]
        self.tilt_deg = tilt_deg
        self.thickness = max(1, thickness)
        self.rest = unexplained(tilt_deg)
        cos = np.cos(np.radians(tilt_deg))
        self.rest_of_turn = 1 - cos.mean() / cos

    def volume(self, shift: float, angle_deg: float) -> Tensor:
        """``(z, y, x)`` reconstruction of images moved by the unexplained part of a shift and a turn."""
        turn = math.radians(angle_deg)
        moved = self.images
        if angle_deg:
            moved = _sheared(moved, -turn * self.rest_of_turn, 0 * self.rest, -2)
        moved = _sheared(moved, turn * self.rest, shift * self.rest, -1)
        return back_project(moved, self.tilt_deg, (self.thickness, *moved.shape[1:]))

    def at(self, places: Sequence[tuple[float, float]]) -> Floats:
        """``(places, parts, 2)`` sums of squares and of fourth powers in parts of the field."""
        return np.array([moments(self.volume(shift, angle)) for shift, angle in places])


def _sheared(images: Tensor, slope: Floats, shift: Floats, axis: int) -> Tensor:
    """Periodic images moved along ``axis``, each by its slope times the other coordinate plus its shift.

    By phases, which change no frequency's power: no place looks sharper than another for its interpolation.
    """
    n, other = images.shape[axis], images.shape[-3 - axis]
    across = torch.arange(other, dtype=torch.float64) - other // 2
    moved = torch.from_numpy(slope)[:, None] * across + torch.from_numpy(shift)[:, None]
    turns = -2 * torch.pi * moved[:, :, None] * torch.fft.rfftfreq(n, dtype=torch.float64)
    if n % 2 == 0:
        # The last frequency has no phase of its own.
        turns[..., -1] = 0
    turns = (turns if axis == -1 else turns.transpose(1, 2)).to(images)
    spectrum = torch.fft.rfft(images, dim=axis) * torch.polar(torch.ones_like(turns), turns)
    result: Tensor = torch.fft.irfft(spectrum, n=n, dim=axis)
    return result
