"""Tilt images against the geometry that is said of them: the tilt axis, and whose angle is whose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dewedge.check.finding import Finding, listed
from dewedge.geometry import Floats, TiltGeometry

Images = NDArray[np.float32]

# Radial frequencies, in cycles per binned pixel, of the lines that are compared.
_LINE_BAND = (0.03, 0.22)
_LINE_STEP_DEG = 2.0
# Only tilts at least so far apart tell the axis: near ones agree along every line.
_FAR_TILTS_DEG = 15.0
_AXIS_TOLERANCE_DEG = 5.0
_AXIS_COHERENCE = 0.25
# Least agreement of neighbours from which an order is judged, and by how much another one must be better.
_RESEMBLANCE = 0.25
_MARGIN = 0.1
_RATIO = 1.25
# Neighbours of a single image: so many to either side in angle.
_NEAR_RANKS = 3


class TiltAxis(NamedTuple):
    """The tilt axis that the images themselves show.

    Parameters
    ----------
    angle_deg
        Direction of the line along which the images agree best: degrees from y towards -x (IMOD's).
    coherence
        Agreement of distant tilts' phases along that line, 1 at most.
    on_axis
        The same along y, where the tilt axis of aligned images is.
    elsewhere
        Median over all directions.
    """

    angle_deg: float
    coherence: float
    on_axis: float
    elsewhere: float


def find_tilt_axis(aligned: Images, tilt_deg: Floats) -> TiltAxis:
    """Line of their transforms that ``(n, y, x)`` aligned and binned images have in common.

    All projections of one specimen about one axis share the central line of their transforms along that axis
    (phases included, so only where their shifts are right), and in general no other. All values are 0 where
    no tilts are far enough from each other.
    """
    far = np.abs(tilt_deg[:, None] - tilt_deg) > _FAR_TILTS_DEG
    if not far.any():
        return TiltAxis(0.0, 0.0, 0.0, 0.0)
    size = min(aligned.shape[1:])
    top, left = ((n - size) // 2 for n in aligned.shape[1:])
    window = np.hanning(size + 2)[1:-1]
    square = aligned[:, top : top + size, left : left + size].astype(np.float64)
    square = (square - square.mean(axis=(1, 2), keepdims=True)) * window[:, None] * window
    spectra = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(square, axes=(1, 2))), axes=(1, 2))
    radius = np.arange(max(2.0, _LINE_BAND[0] * size), _LINE_BAND[1] * size)
    angles = np.arange(-90.0, 90.0, _LINE_STEP_DEG)
    coherence = np.zeros(len(angles))
    for k, angle in enumerate(np.radians(angles)):
        # As geometry.axis_angle_deg: towards -x.
        where = [size // 2 + radius * np.cos(angle), size // 2 - radius * np.sin(angle)]
        lines = np.stack([_sampled(spectrum, where) for spectrum in spectra])
        lines /= np.maximum(np.abs(lines), 1e-30)
        coherence[k] = (lines @ lines.conj().T).real[far].mean() / len(radius)
    best = int(coherence.argmax())
    on_axis = coherence[np.abs(angles) <= _LINE_STEP_DEG].max()
    return TiltAxis(float(angles[best]), float(coherence[best]), float(on_axis), float(np.median(coherence)))


def check_axis(series: str, aligned: Images, raw: Images, geometry: TiltGeometry) -> list[Finding]:
    """Find a tilt axis that is not y after alignment.

    Parameters
    ----------
    aligned, raw
        ``(n, y, x)`` binned images, after and before alignment.
    geometry
        Of the images before alignment.
    """
    axis = find_tilt_axis(aligned, geometry.tilt_deg)
    if _disagrees(axis, 0.0, axis.on_axis):
        along_x = abs(axis.angle_deg) >= 90 - _AXIS_TOLERANCE_DEG
        what = (
            f"after alignment the tilt axis lies {_direction(axis.angle_deg)}, not along y (distant tilts "
            f"agree to {axis.coherence:.2f} there, to {axis.on_axis:.2f} along y)"
        )
    else:
        before = find_tilt_axis(raw, geometry.tilt_deg)
        if geometry.is_aligned or not _disagrees(before, geometry.axis_angle_deg, axis.on_axis):
            return []
        along_x = abs(abs(before.angle_deg - geometry.axis_angle_deg) - 90) < 3 * _AXIS_TOLERANCE_DEG
        what = (
            f"the raw images show the tilt axis {_direction(before.angle_deg)}, the alignment puts it "
            f"{_direction(geometry.axis_angle_deg)} (distant tilts agree to {before.coherence:.2f} "
            f"before, to {axis.on_axis:.2f} after alignment)"
        )
    cause = "the images are transposed or turned by 90 degrees, or " if along_x else ""
    return [
        Finding(
            "warning",
            series,
            what,
            "alignment",
            "The tomogram would be smeared and the wedge cut at the wrong place",
            f"Look whether {cause}the alignment is of another stack or mirrored; without an .xf give "
            "--axis-angle",
        )
    ]


def resemblance(aligned: Images) -> Floats:
    """``(n, n)`` largest correlation of band-passed images over shifts of up to an eighth of their size."""
    passed = ndimage.gaussian_filter(aligned, (0, 1, 1)) - ndimage.gaussian_filter(aligned, (0, 6, 6))
    passed = passed[:, ::2, ::2].astype(np.float32)
    n, height, width = passed.shape
    passed *= np.hanning(height + 2)[1:-1, None].astype(np.float32)
    passed *= np.hanning(width + 2)[1:-1].astype(np.float32)
    passed -= passed.mean(axis=(1, 2), keepdims=True)
    passed /= np.maximum(np.sqrt(np.square(passed).sum(axis=(1, 2), keepdims=True)), 1e-30)
    spectra = np.fft.rfft2(passed).astype(np.complex64)
    y, x = (np.minimum(np.arange(size), size - np.arange(size)) <= size // 8 for size in (height, width))
    alike = np.ones((n, n))
    for i in range(n - 1):
        correlation = np.fft.irfft2(spectra[i] * spectra[i + 1 :].conj(), s=(height, width))
        alike[i, i + 1 :] = alike[i + 1 :, i] = correlation[:, y][:, :, x].max(axis=(1, 2))
    return alike


def check_order(series: str, aligned: Images, tilt_deg: Floats, numbers: NDArray[np.intp]) -> list[Finding]:
    """Find angles that cannot be those of their images, since images next to each other in angle look alike.

    Parameters
    ----------
    aligned
        ``(n, y, x)`` aligned and binned images.
    tilt_deg
        ``(n,)`` their angles.
    numbers
        ``(n,)`` their places in the stack, from 0.
    """
    if len(aligned) < 4 * _NEAR_RANKS:
        return []
    alike = resemblance(aligned)
    given, found = np.argsort(tilt_deg, kind="stable"), _order_by_resemblance(alike)
    as_given, as_found = (float(alike[order[:-1], order[1:]].mean()) for order in (given, found))
    if as_found > max(_RESEMBLANCE, as_given + _MARGIN, as_given * _RATIO):
        first = listed((int(numbers[i]) + 1 for i in found), most=8)
        return [
            Finding(
                "error",
                series,
                f"images next to each other in angle agree to {as_given:.2f}; in the order that their "
                f"likeness gives ({first}), to {as_found:.2f}",
                "tilt angles",
                "Angles that belong to other images make a meaningless tomogram",
                "Give the angle file that is in the order of this stack (by angle, or by acquisition)",
            )
        ]
    return _single_images(series, alike, tilt_deg, numbers)


def _single_images(series: str, alike: Floats, tilt_deg: Floats, numbers: NDArray[np.intp]) -> list[Finding]:
    """Images that resemble one at a distant angle far more than those next to them."""
    rank = np.argsort(np.argsort(tilt_deg, kind="stable"))
    distance = np.abs(rank[:, None] - rank)
    near = np.where((distance > 0) & (distance <= _NEAR_RANKS), alike, -1).max(axis=1)
    distant = np.where(distance > _NEAR_RANKS, alike, -1)
    partner, far = distant.argmax(axis=1), distant.max(axis=1)
    return [
        Finding(
            "warning",
            series,
            f"resembles image {numbers[j] + 1} at {tilt_deg[j]:g} degrees ({far[i]:.2f}) more than its "
            f"neighbours in angle ({near[i]:.2f})",
            f"image {numbers[i] + 1} at {tilt_deg[i]:g} degrees",
            "Its angle is another image's; of the first or last one: the angle file is shifted by a line",
            "Compare angle file and stack, or leave this image out",
        )
        for i, j in enumerate(partner)
        if far[i] > max(_RESEMBLANCE, near[i] + _MARGIN, near[i] * 2 * _RATIO)
    ]


def _order_by_resemblance(alike: Floats) -> NDArray[np.intp]:
    """Indices in the order of the second eigenvector of the graph's Laplacian (spectral seriation)."""
    # All images share something; what they share beyond that falls off with the difference of their angles.
    shared = np.median(alike[~np.eye(len(alike), dtype=bool)])
    weights = np.maximum(alike - shared, 1e-4) ** 4
    np.fill_diagonal(weights, 0)
    _, vectors = np.linalg.eigh(np.diag(weights.sum(axis=1)) - weights)
    return np.argsort(vectors[:, 1])


def _disagrees(axis: TiltAxis, expected_deg: float, coherence: float) -> bool:
    """True if images agree along a line that is not the expected one, and much more than ``coherence``."""
    off = abs((axis.angle_deg - expected_deg + 90) % 180 - 90)
    strong = axis.coherence - axis.elsewhere > _AXIS_COHERENCE
    return strong and off > _AXIS_TOLERANCE_DEG and coherence < 0.5 * axis.coherence


def _direction(angle_deg: float) -> str:
    if abs(abs(angle_deg) - 90) <= _AXIS_TOLERANCE_DEG:
        return "along x"
    return f"at {angle_deg:.0f} degrees from y"


def _sampled(spectrum: NDArray[np.complex128], where: list[Floats]) -> NDArray[np.complex128]:
    real = ndimage.map_coordinates(spectrum.real, where, order=1)
    return real + 1j * ndimage.map_coordinates(spectrum.imag, where, order=1)
