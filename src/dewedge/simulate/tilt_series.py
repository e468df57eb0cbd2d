"""Tilt series of a known volume: projections, noise, order of acquisition, and misalignment of known size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.physics.projection import Projector

Images = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SimulatedSeries:
    """A simulated tilt series. All stacks are ``(n, y, x)`` float32, protein dark, ice at 0.

    Parameters
    ----------
    clean
        Without noise.
    noisy
        With noise; the mean of ``even`` and ``odd`` where these are given.
    geometry
        The geometry of the images, in the order of their tilt angles.
    even, odd
        Averages of the even and odd movie frames: independent noise, each of twice the variance.
    """

    clean: Images
    noisy: Images
    geometry: TiltGeometry
    even: Images | None = None
    odd: Images | None = None


def simulate_tilt_series(
    volume: NDArray[np.float32],
    geometry: TiltGeometry,
    snr: float,
    rng: np.random.Generator,
    frames: bool = False,
) -> SimulatedSeries:
    """Project a ``(z, y, x)`` density, protein positive, and add white Gaussian noise.

    Parameters
    ----------
    geometry
        Geometry of the raw images; one pixel is as wide as one voxel.
    snr
        Variance of the whole clean series over the variance of the noise.
    frames
        Make the two half-sets of movie frames as well.

    Raises
    ------
    InputError
        If the SNR is not positive or the volume is constant.
    """
    if not snr > 0:
        raise InputError(f"SNR {snr:g}: expected a positive number")
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    clean = -Projector(geometry, shape).forward(torch.from_numpy(volume)).numpy()
    sigma = float(np.sqrt(clean.var(dtype=np.float64) / snr))
    if not sigma > 0:
        raise InputError("specimen: holds nothing, so there is no SNR; ask for more particles")
    if not frames:
        return SimulatedSeries(clean, _with_noise(clean, sigma, rng), geometry)
    even, odd = (_with_noise(clean, sigma * np.sqrt(2), rng) for _ in range(2))
    return SimulatedSeries(clean, np.float32(0.5) * (even + odd), geometry, even, odd)


def tilt_geometry(
    tilt_deg: ArrayLike,
    volume_shape_zyx: tuple[int, int, int],
    pixel_size_A: float,
    rng: np.random.Generator,
    axis_angle_deg: float = 0.0,
    jitter_A: float = 0.0,
    exposure_e_per_A2: float = 0.0,
) -> TiltGeometry:
    """Geometry of a dose-symmetric series of raw images that show the whole volume at zero tilt.

    Parameters
    ----------
    tilt_deg
        ``(n,)`` tilt angles in degrees; the images lie in ascending order.
    axis_angle_deg
        Tilt-axis angle in the raw images in degrees, that of `TiltGeometry.axis_angle_deg`.
    jitter_A
        Standard deviation, along y and x, of the shift that aligns each raw image, in Angstrom.
    exposure_e_per_A2
        Electrons per square Angstrom for each image, for the record only; 0 records none.

    Raises
    ------
    InputError
        If a value cannot be used.
    """
    if not (np.isfinite(jitter_A) and jitter_A >= 0):
        raise InputError(f"jitter {jitter_A:g} A: expected 0 or more")
    tilts = np.sort(np.atleast_1d(np.asarray(tilt_deg, dtype=np.float64)))
    if tilts.ndim != 1 or tilts.size == 0 or not np.isfinite(tilts).all():
        raise InputError("tilt angles: expected at least one, all finite")
    order = dose_symmetric_order(tilts)
    _, height, width = volume_shape_zyx
    cos, sin = np.cos(np.radians(axis_angle_deg)), np.sin(np.radians(axis_angle_deg))
    swapped = abs(sin) > np.sqrt(0.5)
    return TiltGeometry(
        tilt_deg=tilts,
        image_shape_yx=(width, height) if swapped else (height, width),
        pixel_size_A=pixel_size_A,
        linear_yx=np.broadcast_to([[cos, -sin], [sin, cos]], (tilts.size, 2, 2)),
        shift_yx=rng.normal(scale=jitter_A / pixel_size_A, size=(tilts.size, 2)),
        acquisition_order=order,
        pre_exposure_e_per_A2=order * np.float64(exposure_e_per_A2) if exposure_e_per_A2 else None,
    )


def dose_symmetric_order(tilt_deg: ArrayLike) -> NDArray[np.int64]:
    """``(n,)`` rank in time of each tilt: from the lowest tilt outwards, one up, two down, two up, ...

    Examples
    --------
    >>> dose_symmetric_order([-9, -6, -3, 0, 3, 6, 9]).tolist()
    [6, 3, 2, 0, 1, 4, 5]

    Source: Hagen, Wan and Briggs 2017, J. Struct. Biol. 197, 191 (groups of one angle).
    """
    tilts = np.asarray(tilt_deg, dtype=np.float64)
    ascending = np.argsort(tilts, kind="stable").tolist()
    start = int(np.abs(tilts[ascending]).argmin())
    branches = [ascending[start + 1 :], ascending[:start][::-1]]
    sequence = [ascending[start]]
    side = 0
    while branches[0] or branches[1]:
        # The branches alternate, and each turn but the first takes two tilts of its branch.
        count = 1 if len(sequence) == 1 else 2
        sequence += branches[side][:count]
        branches[side] = branches[side][count:]
        side = 1 - side
    order = np.empty(tilts.size, dtype=np.int64)
    order[sequence] = np.arange(tilts.size)
    return order


def _with_noise(clean: Images, sigma: float, rng: np.random.Generator) -> Images:
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    return clean + np.float32(sigma) * noise
