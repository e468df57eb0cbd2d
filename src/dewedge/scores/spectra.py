"""Spectra of tapered volumes up to a highest frequency, their directions, and sums over shells.

Volumes can be memory-mapped; of the spectrum only what is asked for is in memory. The edges of a box are no
edges of the specimen: without a taper, their transform runs along the axes and falls into every direction.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import Floats, TiltRange
from dewedge.physics.fourier import frequencies, multiplicity
from dewedge.scores.volumes import finite, mean_of, products

# Share of an axis over which a volume fades out, half of it at either end: all of it, a Hann window. With
# half of it, back-projected rays that end at the top and bottom of a slab leak over tens of degrees.
TAPER = 1.0
# Frequencies nearer to the tilt axis than so many steps of the slab's spectrum belong to all tilts: half the
# width of the peak into which the taper spreads each of them.
OFF_AXIS = 2.0


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Part of the half-spectrum of a real volume.

    Parameters
    ----------
    values
        ``(kz, ky, kx)`` complex64.
    frequency
        Frequencies of the three axes in cycles per voxel, float64, broadcastable against ``values``.
    multiplicity
        ``(kx,)`` how often each column occurs in the whole spectrum, 1 or 2.
    independent
        Share of the coefficients that are independent of each other, below 1 because of the taper.
    """

    values: Tensor
    frequency: tuple[Tensor, Tensor, Tensor]
    multiplicity: Tensor
    independent: float

    @property
    def radius(self) -> Tensor:
        """``(kz, ky, kx)`` distance from zero frequency in cycles per voxel."""
        kz, ky, kx = self.frequency
        return (kz**2 + ky**2 + kx**2).sqrt()


def taper_window(n: int, taper: float = TAPER) -> Floats:
    """``(n,)`` weights: 1 in the middle, falling as a raised cosine to zero just outside both ends.

    ``taper`` is the share of the axis, between 0 and 1, over which it falls; half of that at either end.

    Examples
    --------
    >>> taper_window(5)
    array([0.25, 0.75, 1.  , 0.75, 0.25])
    """
    if taper <= 0:
        return np.ones(n)
    depth = (np.minimum(np.arange(n), np.arange(n)[::-1]) + 1) / (taper * (n + 1) / 2)
    window: Floats = np.sin(np.pi / 2 * np.minimum(depth, 1)) ** 2
    return window


def tapered_spectrum(
    volume: ArrayLike, name: str, highest: float | Sequence[float] = 0.5, taper: float = TAPER
) -> Spectrum:
    """Spectrum of a ``(z, y, x)`` volume, its mean removed, its three axes tapered.

    Parameters
    ----------
    volume
        In memory or memory-mapped; it is read section by section.
    name
        For messages.
    highest
        Highest frequency along each axis in cycles per voxel: of all three, or of z, y and x.
    taper
        Share of each axis over which the volume fades out (`taper_window`).

    Raises
    ------
    InputError
        If the volume has not three axes, is constant, or holds a value that is not finite.
    """
    data = np.asarray(volume)
    if data.ndim != 3 or min(data.shape) < 4:
        raise InputError(f"{name}: expected a volume of three axes (z, y, x), got shape {data.shape}")
    mean = mean_of(data, name)
    depth, _, width = data.shape
    limits = np.broadcast_to(np.asarray(highest, dtype=np.float64), 3)
    windows = [taper_window(n, taper) for n in data.shape]
    in_plane = torch.from_numpy(windows[1][:, None] * windows[2])
    k = [axis.double() for axis in frequencies(data.shape)]
    kept = [
        torch.nonzero(axis.flatten().abs() <= limit + 1e-9).flatten()
        for axis, limit in zip(k, limits.tolist(), strict=True)
    ]
    sections = torch.empty(depth, len(kept[1]), len(kept[2]), dtype=torch.complex64)
    for target, section, weight in zip(sections, data, windows[0], strict=True):
        values = torch.from_numpy(finite(section, name).astype(np.float64) - mean) * in_plane * weight
        spectrum = torch.fft.rfft2(values.float(), norm="ortho")
        target[...] = spectrum.index_select(1, kept[2]).index_select(0, kept[1])
    values = torch.fft.fft(sections, dim=0, norm="ortho").index_select(0, kept[0])
    kz, ky, kx = (axis.flatten()[index] for axis, index in zip(k, kept, strict=True))
    return Spectrum(
        values,
        (kz[:, None, None], ky[:, None], kx),
        multiplicity(width)[kept[2]].double(),
        _independent(windows),
    )


def tapered_image_spectrum(image: ArrayLike, highest: float = 0.5) -> Spectrum:
    """Spectrum of a ``(y, x)`` image, its mean removed, both axes tapered, as the plane kz = 0.

    It goes up to ``highest`` along both axes, in cycles per pixel.
    """
    data = np.asarray(image, dtype=np.float64)
    windows = [taper_window(n) for n in data.shape]
    values = torch.from_numpy((data - data.mean()) * windows[0][:, None] * windows[1])
    ky, kx = (axis.double().flatten() for axis in frequencies(data.shape))
    rows, columns = (torch.nonzero(axis.abs() <= highest + 1e-9).flatten() for axis in (ky, kx))
    spectrum = torch.fft.rfft2(values.float(), norm="ortho").index_select(1, columns).index_select(0, rows)
    return Spectrum(
        spectrum[None],
        (torch.zeros(1, 1, 1, dtype=torch.float64), ky[rows][:, None], kx[columns]),
        multiplicity(data.shape[1])[columns].double(),
        _independent(windows),
    )


def plane_angle_deg(spectrum: Spectrum, axis: int = 1) -> Tensor:
    """Angle in degrees, folded to (-90, 90], of the plane through zero frequency that holds a frequency.

    About axis 1, the tilt axis y, it is atan2(kz, kx), the tilt angle that measures this plane. About axis 2
    it is atan2(kz, ky): that of a tilt series about x. It broadcasts against the spectrum.
    """
    kz, ky, kx = spectrum.frequency
    return folded_angle_deg(kz, kx if axis == 1 else ky)


def folded_angle_deg(kz: Tensor, across: Tensor) -> Tensor:
    """Angle atan2(kz, across) in degrees, folded to (-90, 90], of tensors that broadcast.

    Examples
    --------
    >>> folded_angle_deg(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, -1.0]))
    tensor([ 45.,  90., -45.])
    """
    return 90 - torch.remainder(90 - torch.rad2deg(torch.atan2(kz, across)), 180)


def wedge_angle_deg(frequency: Sequence[Tensor], tilt_range: TiltRange) -> Tensor:
    """Tilt angle in degrees, folded to (-90, 90], that measures these frequencies of z, y and x.

    They broadcast, and the result against them; of the range only the tilt about x counts (`TiltRange`).
    """
    return folded_angle_deg(_along_beam(frequency, tilt_range), frequency[2])


def from_wedge_axis(frequency: Sequence[Tensor], tilt_range: TiltRange) -> Tensor:
    """Distance of frequencies of z, y and x from the edge in which all tilts meet, likewise."""
    return torch.hypot(_along_beam(frequency, tilt_range), frequency[2])


def _along_beam(frequency: Sequence[Tensor], tilt_range: TiltRange) -> Tensor:
    kz, ky, _ = frequency
    tilt = math.radians(tilt_range.x_tilt_deg)
    return kz * math.cos(tilt) + ky * math.sin(tilt) if tilt else kz


def from_axis(spectrum: Spectrum, axis: int = 1) -> Tensor:
    """Distance from the axis 1 (y) or 2 (x) in cycles per voxel, broadcast against the spectrum."""
    kz, ky, kx = spectrum.frequency
    return torch.hypot(kz, kx if axis == 1 else ky)


def parted_by_wedge(spectrum: Spectrum, tilt_range: TiltRange, thickness: int) -> tuple[Tensor, Tensor]:
    """Frequencies inside the missing wedge, and outside: True there; both broadcast against the spectrum.

    Neither holds those near the tilt axis, where all tilts measured, for a slab so many voxels thick.
    """
    angle = wedge_angle_deg(spectrum.frequency, tilt_range)
    measured = (angle >= tilt_range.min_deg) & (angle <= tilt_range.max_deg)
    off_axis = from_wedge_axis(spectrum.frequency, tilt_range) >= OFF_AXIS / thickness
    return ~measured & off_axis, measured & off_axis


def near_axis(spectrum: Spectrum, direction_zyx: Sequence[float], within_deg: float) -> Tensor:
    """``(kz, ky, kx)`` True in the double cone of ``within_deg`` about a direction of any length."""
    unit = np.asarray(direction_zyx, dtype=np.float64)
    unit = unit / np.linalg.norm(unit)
    kz, ky, kx = spectrum.frequency
    along = (kz * unit[0] + ky * unit[1] + kx * unit[2]).abs()
    return along >= np.cos(np.radians(within_deg)) * spectrum.radius


def checked_edges(edges: Sequence[float]) -> tuple[float, ...]:
    """Edges of shells in cycles per voxel, as they are.

    Raises
    ------
    InputError
        If they do not rise, begin below zero, or are fewer than two.

    Examples
    --------
    >>> checked_edges([0, 0.1, 0.25])
    (0.0, 0.1, 0.25)
    """
    values = tuple(float(edge) for edge in edges)
    if len(values) < 2 or values[0] < 0 or any(a >= b for a, b in itertools.pairwise(values)):
        raise InputError(f"shells {values}: expected rising edges in cycles per voxel, at least two")
    return values


@dataclass(frozen=True, eq=False)
class ShellSums:
    """Sums over shells of frequency of two spectra a and b, over the whole spectrum.

    Parameters
    ----------
    aa, bb, ab
        ``(s,)`` sums of abs(a)^2, abs(b)^2 and the real part of a times the conjugate of b.
    count
        ``(s,)`` number of coefficients, k and -k both counted.
    independent
        ``(s,)`` number of independent ones among them: degrees of freedom of the sums.
    """

    aa: Floats
    bb: Floats
    ab: Floats
    count: Floats
    independent: Floats

    @property
    def correlation(self) -> Floats:
        """``(s,)`` correlation ab / sqrt(aa bb); NaN in an empty shell, 0 where a or b is nothing."""
        return _ratio(self.ab, np.sqrt(self.aa * self.bb), self.count)

    @property
    def explained(self) -> Floats:
        """``(s,)`` share (2 ab - aa) / bb of the power of b that subtracting a removes."""
        return _ratio(2 * self.ab - self.aa, self.bb, self.count)

    @property
    def slope(self) -> Floats:
        """``(s,)`` regression ab / aa of b on a: 1 where a has the right amplitude."""
        return _ratio(self.ab, self.aa, self.count)

    @property
    def chance(self) -> Floats:
        """``(s,)`` standard deviation of the correlation of independent noise: 1 / sqrt(independent)."""
        return _ratio(np.ones_like(self.count), np.sqrt(self.independent), self.count)

    def __add__(self, other: ShellSums) -> ShellSums:
        """The sums over the coefficients of both."""
        return ShellSums(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def total(self) -> ShellSums:
        """Sums over all shells, as over one."""
        return ShellSums(*(values.sum(keepdims=True) for values in vars(self).values()))


def shell_sums(a: Spectrum, b: Spectrum, edges: Sequence[float], mask: Tensor | None = None) -> ShellSums:
    """Sums of two spectra of one shape over the shells ``edges[i] <= abs(k) < edges[i + 1]``.

    Parameters
    ----------
    edges
        Of the shells in cycles per voxel.
    mask
        True at the frequencies to use; broadcast against the spectrum.

    Raises
    ------
    InputError
        If the edges do not rise.
    ValueError
        If the spectra differ in shape.
    """
    if a.values.shape != b.values.shape:
        raise ValueError(f"spectra of shapes {tuple(a.values.shape)} and {tuple(b.values.shape)}")
    bounds = torch.tensor(checked_edges(edges), dtype=torch.float64)
    n = len(bounds) - 1
    kz, ky, kx = a.frequency
    sums = torch.zeros(4, n, dtype=torch.float64)
    used = None if mask is None else mask.expand(a.values.shape)
    # Plane by plane, so that only the spectra are of the volume's size.
    for i in range(len(kz)):
        radius = (kz[i] ** 2 + ky**2 + kx**2).sqrt()
        shell = torch.bucketize(radius, bounds, right=True) - 1
        inside = (shell >= 0) & (shell < n)
        if used is not None:
            inside = inside & used[i]
        terms = torch.stack([*products(a.values[i], b.values[i]), torch.ones_like(radius)]) * a.multiplicity
        sums.index_add_(1, shell[inside], terms[:, inside].double())
    aa, bb, ab, count = sums.numpy()
    return ShellSums(aa, bb, ab, count, count * a.independent)


def power_inside_outside(
    volume: ArrayLike, tilt_range: TiltRange, edges: Sequence[float]
) -> tuple[ShellSums, ShellSums]:
    """Sums of a tomogram with itself in the missing wedge and outside, by shells, off the tilt axis.

    The tomogram is ``(z, y, x)``, edges are in cycles per voxel. Errors as `tapered_spectrum` and
    `shell_sums`.
    """
    spectrum = tapered_spectrum(volume, "tomogram", edges[-1])
    inside, outside = parted_by_wedge(spectrum, tilt_range, np.shape(volume)[0])
    return shell_sums(spectrum, spectrum, edges, inside), shell_sums(spectrum, spectrum, edges, outside)


def listed(values: Iterable[float]) -> list[float | None]:
    """Numbers as JSON has them: None for what is not finite.

    Examples
    --------
    >>> listed([0.5, math.nan, 2])
    [0.5, None, 2.0]
    """
    return [float(value) if math.isfinite(value) else None for value in values]


def _independent(windows: Sequence[Floats]) -> float:
    """Share of a spectrum's coefficients that stay independent of each other under a taper."""
    return float(np.prod([(w**2).sum() ** 2 / (w.size * (w**4).sum()) for w in windows]))


def _ratio(above: Floats, below: Floats, count: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(below > 0, above / below, 0.0)
    return np.where(count > 0, ratio, np.nan)
