"""The tilt about x by which a tomogram was levelled, as its power spectrum shows it, against what is told.

The missing wedge is as good as empty. Where it is taken at the wrong angle about x, part of it holds measured
power: the angle at which it holds least is the tilt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dewedge.check.finding import Finding
from dewedge.check.wedge import wedge_spectrum
from dewedge.geometry import Floats, TiltRange
from dewedge.physics.fourier import frequencies
from dewedge.scores.spectra import from_wedge_axis, wedge_angle_deg

_STEP_DEG = 2.0
_SCANNED_DEG = np.arange(-20.0, 20.1, _STEP_DEG)
# Cycles per voxel: below, the ends of boxes leak; above, filters may have taken everything.
_BAND = (0.08, 0.38)
_SHELLS_PER_CYCLE = 64
# Steps of the spectrum from the axis in which tilts meet, and degrees about the edges of the wedge, left out.
_OFF_AXIS = 4.0
_EDGE_DEG = 2.0
# Power in an empty wedge over that outside, and how many times more tells one angle from another.
_EMPTY = 0.2
_CLEAR = 1.5


def measure_x_tilt(power: Floats, tilt_range: TiltRange) -> float | None:
    """Tilt about x in degrees at which the wedge is emptiest.

    Parameters
    ----------
    power
        As `dewedge.check.wedge.wedge_spectrum` makes it.
    tilt_range
        Of which only the tilts about y count.

    Returns
    -------
    float or None
        None if no angle from -18 to 18 degrees leaves the wedge empty, as after filling it, or none is
        clearly better than others.
    """
    leaks = np.array([_leak(power, tilt_range._replace(x_tilt_deg=tilt)) for tilt in _SCANNED_DEG])
    best = int(leaks.argmin())
    if not 0 < best < leaks.size - 1 or leaks[best] > _EMPTY or leaks.max() < _CLEAR * leaks[best]:
        return None
    before, here, after = np.log(leaks[best - 1 : best + 2])
    return float(_SCANNED_DEG[best] + _STEP_DEG * (before - after) / 2 / (before - 2 * here + after))


def check_x_tilt(series: str, volume: NDArray[Any], tilt_range: TiltRange, where: str) -> list[Finding]:
    """Find another tilt about x than told in a ``(z, y, x)`` volume, which ``where`` names."""
    power = wedge_spectrum(volume)
    measured = measure_x_tilt(power, tilt_range)
    if measured is None:
        return []
    told_leak, least = (
        _leak(power, tilt_range._replace(x_tilt_deg=t)) for t in (tilt_range.x_tilt_deg, measured)
    )
    if told_leak < _CLEAR * least:
        return []
    told = f"{tilt_range.x_tilt_deg:g} degrees" if tilt_range.x_tilt_deg else "none"
    return [
        Finding(
            "warning",
            series,
            f"its spectrum shows a tilt about x of {measured:.1f} degrees, by which it was levelled; told is "
            f"{told}",
            where,
            "The second wedge would be cut beside the missing one",
            f"Give it: --x-tilt {measured:.1f} (of several tomograms once for each, in their order)",
        )
    ]


def _leak(power: Floats, tilt_range: TiltRange) -> float:
    """Mean power inside the wedge over that outside, in shells, of what `wedge_spectrum` gives."""
    depth, _, width = power.shape
    k = frequencies(power.shape)  # the half with kx >= 0, which holds all
    angle = wedge_angle_deg(k, tilt_range).numpy()
    radius = (k[0] ** 2 + k[1] ** 2 + k[2] ** 2).sqrt().numpy()
    used = (from_wedge_axis(k, tilt_range) > _OFF_AXIS / min(depth, width)).numpy()
    used = used & (radius >= _BAND[0]) & (radius < _BAND[1])
    inside = used & ((angle > tilt_range.max_deg + _EDGE_DEG) | (angle < tilt_range.min_deg - _EDGE_DEG))
    outside = used & (angle > tilt_range.min_deg + _EDGE_DEG) & (angle < tilt_range.max_deg - _EDGE_DEG)
    shell = (radius * _SHELLS_PER_CYCLE).astype(int)
    sums = [
        np.bincount(shell[part], values, int(_BAND[1] * _SHELLS_PER_CYCLE) + 1)
        for part in (inside, outside)
        for values in (power[..., : radius.shape[-1]][part], np.ones(int(part.sum())))
    ]
    power_in, count_in, power_out, count_out = sums
    filled = (count_in > 0) & (power_out > 0)
    ratio = power_in[filled] * count_out[filled] / power_out[filled]
    return float(ratio.sum() / count_in[filled].sum())
