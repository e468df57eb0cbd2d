"""What the tilts of a half-set measured of a specimen: transfer and noise at every frequency.

A tilt image holds one plane of the specimen's spectrum, times the share of the signal that damage and CTF
left there, plus noise. In a cube of N voxels a plane is as thick as one over N, so far from zero there are
gaps between planes; near zero they overlap. Back-projection adds the planes up:

    F v(k) = H(k) F x(k) + noise of power S(k)
    H(k) = sum over tilts of w |k_r| P(u) a(k),    S(k) = sum over tilts of (w |k_r|)^2 P(u) s

with w the angle that the tilt stands for, |k_r| the ramp filter at the distance k_r from the tilt axis, a the
signal, s the noise, u the distance of k from the plane and P(u) = N sinc(N u)^2. P is the square of the
transform of a box of N voxels: what correlates with matter anywhere in the cube is the back-projected ray as
far as both lie in it, the triangle of their overlap. A mask of the missing wedge is the special case of
planes without gaps, all alike: H and S are one where the tilts reach, and nothing elsewhere.

The radial part of both is that of the filter, and of all tilts together. The fit has measures of its own for
that (`dewedge.learn.signal`), so `Transfer` gives H relative to its mean in each shell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dewedge.errors import InputError
from dewedge.physics.fourier import frequencies, turned_back
from dewedge.physics.reconstruction import tilt_weights_rad

Floats = NDArray[np.float64]

# Cycles per voxel at which signal and noise of a tilt are told; the corner of a square is 0.71.
RADII = np.linspace(0.0, 0.72, 145)
# Points of the table for each frequency of the cube, of which the nearest is taken: across planes, and along
# the tilt axis, where H changes as the signal does.
_ACROSS, _ALONG = 4, 2
# Shells for each frequency of the cube.
_SHELLS = 2
# The ramp filter at zero, in units of one over the width: its mean over what a cube tells apart, where a
# plane's distance from the axis is blurred by the square of a sinc.
_RAMP_AT_ZERO = 0.3
# Shells about zero hold too few points for a mean, and take that of the next.
_FIRST_SHELL = 3


@dataclass(frozen=True, eq=False)
class MeasuredPlanes:
    """The planes of a specimen's spectrum that a set of tilt images measured.

    Parameters
    ----------
    tilt_deg
        ``(n,)`` tilt angles, about y.
    signal
        ``(n, m)`` share of the specimen's amplitude that is in each image at the frequencies `RADII`.
    noise
        ``(n, m)`` variance of its noise there, in any unit.

    Raises
    ------
    InputError
        If shapes do not fit, a number is not finite, or all angles are the same.
    """

    tilt_deg: Floats
    signal: Floats
    noise: Floats

    def __post_init__(self) -> None:
        tilts = np.asarray(self.tilt_deg, dtype=np.float64)
        if tilts.ndim != 1:
            raise InputError(f"tilt angles of shape {tilts.shape}: expected a list")
        object.__setattr__(self, "tilt_deg", tilts)
        for name in ("signal", "noise"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != (tilts.size, RADII.size):
                raise InputError(f"{name} of shape {values.shape}: expected {(tilts.size, RADII.size)}")
            if not np.isfinite(values).all() or (values < 0).any():
                raise InputError(f"{name}: expected finite numbers, none below zero")
            object.__setattr__(self, name, values)
        tilt_weights_rad(tilts)

    def as_dict(self) -> dict[str, Any]:
        """Names and values, fit for JSON."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MeasuredPlanes:
        """Planes of the names and values that `as_dict` gives.

        Raises
        ------
        InputError
            If a name is missing, or values cannot be those of planes.
        """
        try:
            return cls(**{name: np.array(values[name], dtype=np.float64) for name in cls.__annotations__})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"measured planes: {error}") from error


class Transfer:
    """Transfer of measured planes in a cube, relative to its mean in each shell, in a table.

    Parameters
    ----------
    planes
        What was measured.
    width
        Edge of the cube in voxels.
    x_tilt_deg
        Tilt of all planes about x, as `dewedge.geometry.TiltRange` has it.
    """

    def __init__(self, planes: MeasuredPlanes, width: int, x_tilt_deg: float = 0.0) -> None:
        self._x_tilt_deg = x_tilt_deg
        self._width = width
        across, along = _ACROSS * width, _ALONG * width  # even: the last point is at 0.5
        kz = torch.linspace(-0.5, 0.5, across + 1)[:, None, None]
        ky = torch.linspace(0, 0.5, along // 2 + 1)[:, None]
        kx = torch.linspace(0, 0.5, across // 2 + 1)
        table = transfer_at(planes, width, kz, ky, kx)
        angle = torch.rad2deg(torch.atan2(kz, kx)).expand(table.shape)
        low, high = float(planes.tilt_deg.min()), float(planes.tilt_deg.max())
        within = (angle >= low) & (angle <= high)
        shell = ((kz.square() + ky.square() + kx.square()).sqrt() * _SHELLS * width).round().long()
        count = torch.bincount(shell[within], minlength=int(shell.max()) + 1).clamp(min=1)
        mean = torch.bincount(shell[within], table[within].double(), len(count)) / count
        mean[:_FIRST_SHELL] = mean[_FIRST_SHELL]
        table /= mean.clamp(min=1e-3 * float(mean.max())).float()[shell]
        self._table = table.half().flatten()

    def at(self, rotation: Tensor, size: int) -> Tensor:
        """Transfer H of the planes turned with a cube.

        Parameters
        ----------
        rotation
            ``(3, 3)`` rotation R of the (z, y, x) column vectors of the specimen: H of it is H(R^T k).
        size
            Edge n of the cube in voxels.

        Returns
        -------
        Tensor
            ``(n, n, n // 2 + 1)`` transfer on the half-spectrum, zero frequency at index 0, on the device of
            the rotation.
        """
        self._table = self._table.to(rotation.device)
        z, y, x = turned_back(frequencies((size,) * 3, rotation.device), rotation, self._x_tilt_deg)
        # H is even, and so it is in ky alone: a quarter holds all.
        z = torch.where(x < 0, -z, z) + 0.5
        across, along = _ACROSS * self._width, _ALONG * self._width
        i = (z * across).round_().clamp_(0, across).int()
        j = (y.abs() * along).round_().clamp_(max=along // 2).int()
        k = (x.abs() * across).round_().clamp_(max=across // 2).int()
        place = (i * (along // 2 + 1) + j) * (across // 2 + 1) + k
        return self._table.index_select(0, place.flatten()).view(place.shape).float()


def transfer_at(planes: MeasuredPlanes, width: int, kz: Tensor, ky: Tensor, kx: Tensor) -> Tensor:
    """Transfer H at frequencies in cycles per voxel, broadcastable.

    The cube is ``width`` voxels wide; the result is float32. The filter is the ramp alone; with planes all
    around, without gaps, and a signal of 1, H is 1.

    Sources: Bracewell 1956, Aust. J. Phys. 9, 198 (planes of a projection); Crowther, DeRosier and Klug 1970,
    Proc. R. Soc. A 317, 319 (how far planes of a body of this width reach).
    """
    return _added_up(planes, planes.signal, 1, width, kz, ky, kx)


def noise_at(planes: MeasuredPlanes, width: int, kz: Tensor, ky: Tensor, kx: Tensor) -> Tensor:
    """Power S of the noise at frequencies in cycles per voxel, as `transfer_at`."""
    return _added_up(planes, planes.noise, 2, width, kz, ky, kx)


def _added_up(
    planes: MeasuredPlanes, values: Floats, power: int, width: int, kz: Tensor, ky: Tensor, kx: Tensor
) -> Tensor:
    """Sum over the planes of ``(n, m)`` values at `RADII`, times a power of the filter."""
    total = torch.zeros((kz + ky + kx).shape)
    weights, tables = tilt_weights_rad(planes.tilt_deg), torch.from_numpy(values).float()
    for tilt, weight, table in zip(np.radians(planes.tilt_deg), weights, tables, strict=True):
        distance = kz * math.cos(tilt) - kx * math.sin(tilt)
        from_axis = kz * math.sin(tilt) + kx * math.cos(tilt)
        thick = width * torch.sinc(width * distance).square()
        ramp = weight * (from_axis.square() + (_RAMP_AT_ZERO / width) ** 2).sqrt()
        radius = (from_axis.square() + ky.square()).sqrt_()
        total += _interpolated(table, radius).mul_(ramp**power * thick)
    return total


def constant(tilt_deg: ArrayLike) -> Floats:
    """``(n, m)`` signal or noise of 1 in all images at all frequencies."""
    return np.ones((np.size(tilt_deg), RADII.size))


def _interpolated(table: Tensor, radius: Tensor) -> Tensor:
    """A row of a table over `RADII` at these radii."""
    place = (radius / float(RADII[1])).clamp_(max=RADII.size - 1 - 1e-3)
    index = place.int()
    share = (place - index).flatten()
    low, high = (table[begin:].index_select(0, index.flatten()) for begin in (0, 1))
    return torch.lerp(low, high, share).view(radius.shape)
