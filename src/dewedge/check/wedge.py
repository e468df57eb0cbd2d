"""The missing wedge that a tomogram's power spectrum shows, against the one that is said of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dewedge.check.finding import Finding
from dewedge.geometry import Floats, TiltRange

# Largest box (voxels of each axis) whose transform is taken at a time, and how many boxes are read.
_BOX = 128
_BOXES = 3
# Rings in cycles per voxel. A filter may have emptied one of them; the clearest counts.
_RINGS = ((0.08, 0.16), (0.16, 0.26), (0.26, 0.38))
_BIN_DEG = 2.0
# Least power that is told from none, as a share of the median in a ring.
_FLOOR = 0.03
# Powers of ten between measured and missing, from which a wedge is clear; and over other axes of tilt.
_CLEAR = 0.7
_CLEARER = 0.3
_NARROWEST_DEG = 40.0
_EDGE_DEG = 6.0
_TOLERANCE_DEG = 6.0


class MeasuredWedge(NamedTuple):
    """A wedge found in a power spectrum.

    Parameters
    ----------
    tilt_axis, beam_axis
        Axes of the array: 1 and 0 for a ``(z, y, x)`` tomogram in our frame.
    tilt_range
        Of the angle atan2(k along the beam axis, k along the third axis).
    contrast
        Powers of ten between the power inside and outside.
    """

    tilt_axis: int
    beam_axis: int
    tilt_range: TiltRange
    contrast: float


def wedge_spectrum(volume: NDArray[Any]) -> Floats:
    """Mean power spectrum ``(z, y, x)`` of boxes along the middle of a volume, zero frequency at index 0."""
    shape = tuple(min(n, _BOX) for n in volume.shape)
    # Boxes side by side along the longer of y and x.
    along = 1 if volume.shape[1] >= volume.shape[2] else 2
    count = min(_BOXES, volume.shape[along] // shape[along])
    power = np.zeros(shape)
    for k in range(count):
        starts = [(n - size) // 2 for n, size in zip(volume.shape, shape, strict=True)]
        starts[along] += (2 * k - count + 1) * shape[along] // 2
        box = tuple(slice(start, start + size) for start, size in zip(starts, shape, strict=True))
        part = np.asarray(volume[box]).astype(np.float64)
        part -= part.mean()
        for axis, n in enumerate(shape):
            part *= np.hanning(n + 2)[1:-1].reshape([-1 if i == axis else 1 for i in range(3)])
        power += np.abs(np.fft.fftn(part)) ** 2
    return power / count


def angular_power(power: Floats, first: int, second: int, ring: tuple[float, float]) -> Floats:
    """``(90,)`` power of a ring by the angle atan2(k_first, k_second), -90 to 90 degrees, radially whitened.

    It is averaged over the third axis first. NaN where the ring has no sample. ``power`` has zero frequency
    at index 0; the ring goes from one radius to another, in cycles per voxel.
    """
    [third] = {0, 1, 2} - {first, second}
    plane = power.mean(axis=third)
    if first > second:
        plane = plane.T
    k_first, k_second = (np.fft.fftfreq(power.shape[axis]) for axis in (first, second))
    radius = np.hypot(k_first[:, None], k_second)
    angle = np.degrees(np.arctan2(k_first[:, None], k_second))
    shell = (radius * 2 * max(plane.shape)).astype(int)
    counts = np.bincount(shell.ravel())
    mean = np.bincount(shell.ravel(), plane.ravel()) / np.maximum(counts, 1)
    inside = (radius >= ring[0]) & (radius < ring[1])
    white = plane[inside] / np.maximum(mean[shell[inside]], np.finfo(float).tiny)
    bins = round(180 / _BIN_DEG)
    index = ((angle[inside] + 90) / _BIN_DEG).astype(int) % bins
    with np.errstate(invalid="ignore", divide="ignore"):
        profile: Floats = np.bincount(index, white, bins) / np.bincount(index, minlength=bins)
    return profile


def measure_wedge(volume: NDArray[Any]) -> MeasuredWedge | None:
    """The clearest wedge in the power spectrum of a ``(z, y, x)`` volume, about any of its axes.

    The power on each ring of the plane across a tilt axis is one inside the measured range and nearly none
    outside. None if there is no sharp step from one to the other, as after filling the wedge.
    """
    power = wedge_spectrum(volume)
    found = [wedge for axis in (1, 2, 0) if (wedge := _about(power, axis)) is not None]
    if not found:
        return None
    best = max(found, key=lambda wedge: wedge.contrast)
    others = [wedge.contrast for wedge in found if wedge is not best]
    return best if best.contrast > max(others, default=0) + _CLEARER else None


def check_wedge(series: str, volume: NDArray[Any], tilt_range: TiltRange, where: str) -> list[Finding]:
    """Find another tilt axis, the opposite sign or another range than said in a ``(z, y, x)`` volume.

    ``where`` names the volume.
    """
    measured = measure_wedge(volume)
    if measured is None:
        why = "It may be filtered, filled already, or too small to tell; the tilt range cannot be verified"
        return [Finding("note", series, "no clear missing wedge in its spectrum", where, why, "Nothing")]
    low, high, _ = measured.tilt_range
    shown = f"{low:.0f} to {high:.0f} degrees"
    why = "The second wedge would be cut at the wrong place, and the network would learn nothing true"
    if (measured.tilt_axis, measured.beam_axis) != (1, 0):
        names = {measured.tilt_axis: "y (tilt axis)", measured.beam_axis: "z (beam)"}
        order = ", ".join(names.get(axis, "x") for axis in range(3))
        return [
            Finding(
                "error",
                series,
                f"its axes seem to be {order}, slowest first, not z, y, x: the missing wedge lies along "
                f"array axis {measured.beam_axis}, about array axis {measured.tilt_axis}",
                where,
                why,
                "Reorder the axes to z, y, x with the tilt axis along y (IMOD: trimvol -rx, clip rotx)",
            )
        ]
    given = f"{tilt_range.min_deg:g} to {tilt_range.max_deg:g}"
    # Half a frequency sample of a thin box is a larger angle.
    tolerance = _TOLERANCE_DEG + np.degrees(0.5 / min(volume.shape[0], _BOX) / np.mean(_RINGS))
    if _fits(measured.tilt_range, tilt_range, tolerance):
        return []
    if _fits(measured.tilt_range, TiltRange(-tilt_range.max_deg, -tilt_range.min_deg), tolerance):
        return [
            Finding(
                "error",
                series,
                f"its spectrum shows tilts of {shown}, the sign opposite to {given} as given",
                where,
                why,
                f"Give the range as {-tilt_range.max_deg:g} to {-tilt_range.min_deg:g}; the tomogram may be "
                "mirrored in z against its tilt series",
            )
        ]
    return [
        Finding(
            "warning",
            series,
            f"its spectrum shows tilts of {shown}, given are {given}",
            where,
            "Frequencies count as measured that are not, or the other way round",
            f"Give the range of the tilts, such as --tilt-range {low:.0f} {high:.0f}",
        )
    ]


def _fits(measured: TiltRange, given: TiltRange, tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(measured[:2], given[:2], strict=True))


def _about(power: Floats, axis: int) -> MeasuredWedge | None:
    """The clearest wedge about one axis of the array."""
    first, second = (other for other in range(3) if other != axis)
    best: tuple[float, float, float] | None = None
    for ring in _RINGS:
        step = _step(angular_power(power, first, second, ring))
        if step is not None and (best is None or step[0] > best[0]):
            best = step
    if best is None:
        return None
    contrast, low, high = best
    if abs(low + high) / 2 <= 45:
        return MeasuredWedge(axis, first, TiltRange(low, high), contrast)
    # The measured range lies about k_first: turn by 90 degrees to the angle atan2(k_second, k_first).
    low, high = 90 - high, 90 - low
    if low > 45:
        low, high = low - 180, high - 180
    return MeasuredWedge(axis, second, TiltRange(max(low, -90.0), min(high, 90.0)), contrast)


def _step(profile: Floats) -> tuple[float, float, float] | None:
    """Contrast, lowest and highest angle of the two levels that fit the logarithm of a profile best."""
    filled = np.isfinite(profile)
    if filled.mean() < 0.6:
        return None
    n = len(profile)
    places = np.arange(n)
    profile = np.interp(places, places[filled], profile[filled], period=n)
    log = np.log10(np.maximum(profile, _FLOOR * np.median(profile[profile > np.median(profile) / 10])))
    total, square = log.sum(), (log**2).sum()
    sums = np.concatenate([[0.0], np.cumsum(np.tile(log, 2))])
    start = places[:, None]
    width = np.arange(round(_NARROWEST_DEG / _BIN_DEG), n - 3)
    inside = sums[start + width] - sums[start]
    error = square - inside**2 / width - (total - inside) ** 2 / (n - width)
    error[inside / width <= (total - inside) / (n - width)] = np.inf
    i, j = np.unravel_index(int(error.argmin()), error.shape)
    mean_in, mean_out = inside[i, j] / width[j], (total - inside[i, j]) / (n - width[j])
    contrast = float(mean_in - mean_out)
    edges = (int(i), int(i + width[j]))
    reach = round(_EDGE_DEG / _BIN_DEG)
    sharp = [
        sign * (log[np.arange(e, e + reach) % n].mean() - log[np.arange(e - reach, e) % n].mean())
        for sign, e in zip((1, -1), edges, strict=True)
    ]
    if contrast < _CLEAR or min(sharp) < 0.4 * contrast:
        return None
    low, high = (e * _BIN_DEG - 90 for e in edges)
    if (low + high) / 2 > 90:
        low, high = low - 180, high - 180
    return contrast, low, high
