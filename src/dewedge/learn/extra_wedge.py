"""A second wedge, cut where tilts did measure: what a network fills it with, held against the other half-set.

What fills the missing wedge cannot be held against anything. But a wedge of the same width can be cut
elsewhere, and what the network makes of the rest be held against the other half-set, which holds the signal
there and noise of its own. It tells how well this network knows this specimen, if specimens look alike from
all sides; wedges cut at several azimuths tell whether they do.

The fit goes from half-set 0 to half-set 1. What a network learns by heart is the noise of its targets. So the
other way, from half-set 1 to half-set 0, even a region that it was fitted to is a fair judge.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.geometry import Floats, TiltRange
from dewedge.learn.grey_scale import PairGreyScale
from dewedge.learn.loss import cut_wedge
from dewedge.learn.network import UNet
from dewedge.learn.objective import applied, filled_online
from dewedge.learn.precision import AUTOCAST, Precision
from dewedge.physics.fourier import turned_back
from dewedge.physics.rotation import cube_rotations
from dewedge.physics.transfer import MeasuredPlanes, transfer_at
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.extra_wedge import DISTANCES_DEG, Azimuth, ExtraWedge
from dewedge.scores.spectra import (
    OFF_AXIS,
    Spectrum,
    from_wedge_axis,
    shell_sums,
    tapered_spectrum,
    wedge_angle_deg,
)

Value = TypeVar("Value", np.float32, np.bool_)

BLOCK_VOXELS = 2**21  # that the network sees at once
LEAST_EDGE = 64  # of a block, in voxels
MOST_BLOCKS = 9


class ExtraWedges(NamedTuple):
    """Sums over all that was cut and, for each of `DISTANCES_DEG`, over what lies there; by azimuth."""

    whole: dict[Azimuth, ExtraWedge]
    by_distance: list[dict[Azimuth, ExtraWedge]]


def azimuths() -> dict[Azimuth, NDArray[np.float64]]:
    """Exact rotations that bring a measured wedge into the place of the missing one.

    The one whose axis is the tilt axis is none of them: beside the missing wedge nearly nothing would be left
    between the two.
    """
    rotations: dict[Azimuth, NDArray[np.float64]] = {}
    for rotation in cube_rotations("moving"):
        # R^T z and R^T y: what comes to lie along z and y.
        middle, axis = ("zyx"[int(np.abs(rotation[row]).argmax())] for row in (0, 1))
        if axis != "y":
            rotations.setdefault(Azimuth(middle, axis), rotation)
    return rotations


def extra_wedge(
    network: UNet,
    given: NDArray[Any],
    kept: NDArray[Any],
    tilt_range: TiltRange,
    edges: Sequence[float],
    scale: PairGreyScale,
    clip: float | None,
    precision: Precision,
    device: torch.device,
    planes: Sequence[MeasuredPlanes] = (),
) -> ExtraWedges:
    """Cut a wedge from a half-set at several azimuths, predict it, and hold it against the other half-set.

    Blocks of the tomogram are turned so that the wedge to be cut lies where the network expects the missing
    one. The true wedge, which turns with it, is filled first, by a prediction that has seen neither.

    Parameters
    ----------
    network
        In evaluation, on ``device``.
    given, kept
        ``(z, y, x)`` half-sets, in memory or memory-mapped: the network's input, and what it is held against.
    tilt_range
        Of the series.
    edges
        Of the shells in cycles per voxel.
    scale, clip
        The grey scale of the fit, and where it clipped its inputs.
    precision, device
        Of the network's computations.
    planes
        What the tilts of both half-sets measured; none if only their range is known.

    Returns
    -------
    ExtraWedges
        Sums over blocks.

    Raises
    ------
    InputError
        If a block is constant or holds a value that is not finite, or the edges do not rise.
    """
    found: list[dict[Azimuth, ExtraWedge]] = [{} for _ in range(1 + len(DISTANCES_DEG))]
    for block in blocks(given.shape, network.multiple):
        inputs, target = (standardised(half[block], scale, clip) for half in (given, kept))
        for azimuth, rotation in azimuths().items():
            there, other = (turned(half, rotation) for half in (inputs, target))
            predicted = _predicted(network, there, tilt_range, rotation, precision, device)
            # Parted before the taper, by which what both were given would leak into the cut wedge alike.
            spectra = [
                tapered_spectrum(inside_cut(v, tilt_range), "half-set", edges[-1])
                for v in (predicted, there, other)
            ]
            judged = judged_band(spectra[0].frequency, tilt_range, rotation, len(inputs))
            places = [judged, *(judged & band for band in bands(spectra[0].frequency, tilt_range))]
            # Blocks are of one shape.
            shares = (
                [one[azimuth].overlap for one in found]
                if azimuth in found[0]
                else overlaps(spectra[0], places, rotation, planes, tilt_range, len(inputs), edges)
            )
            for one, place, share in zip(found, places, shares, strict=True):
                sums, halves = (shell_sums(spectra[i], spectra[2], edges, place) for i in (0, 1))
                if azimuth in one:
                    sums, halves = one[azimuth].predicted + sums, one[azimuth].halves + halves
                one[azimuth] = ExtraWedge(sums, halves, share)
    return ExtraWedges(found[0], found[1:])


def bands(frequency: Sequence[Tensor], tilt_range: TiltRange) -> list[Tensor]:
    """True at the frequencies of each of `DISTANCES_DEG` from what tilts measured, about the tilt axis.

    ``frequency`` holds those of z, y and x, which broadcast; the result broadcasts against them.
    """
    angle = wedge_angle_deg(frequency, tilt_range)
    # Beyond 90 degrees it goes on from -90.
    above, below = angle - tilt_range.max_deg, tilt_range.min_deg - angle
    distance = torch.minimum(torch.remainder(above, 180), torch.remainder(below, 180))
    return [(distance >= low) & (distance < high) for low, high in DISTANCES_DEG]


def overlaps(
    spectrum: Spectrum,
    places: Sequence[Tensor],
    rotation: NDArray[np.float64],
    planes: Sequence[MeasuredPlanes],
    tilt_range: TiltRange,
    thickness: int,
    edges: Sequence[float],
) -> list[Floats]:
    """``(s,)`` mean product of both half-sets' transfers in each place, over the product of their means.

    All are 1 without ``planes``.

    Parameters
    ----------
    spectrum
        Whose frequencies and shells are meant.
    places
        True at the frequencies of each place; broadcast against the spectrum.
    rotation
        ``(3, 3)`` on (z, y, x), by which the specimen was turned.
    planes
        What the tilts of both half-sets measured.
    tilt_range
        Of the series; its tilt about x is that of the planes.
    thickness
        Of the slab in voxels.
    edges
        Of the shells in cycles per voxel.

    Raises
    ------
    InputError
        If the edges do not rise.
    """
    if not planes:
        return [np.ones(len(edges) - 1) for _ in places]
    k = turned_back([axis.float() for axis in spectrum.frequency], rotation, tilt_range.x_tilt_deg)
    first, second = (transfer_at(each, thickness, *k) for each in planes)
    one = torch.ones_like(first)
    found = []
    for place in places:
        both, alone, other, count = (
            shell_sums(replace(spectrum, values=a + 0j), replace(spectrum, values=b + 0j), edges, place).ab
            for a, b in ((first, second), (first, one), (one, second), (one, one))
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(both * count / (alone * other))
    return found


def inside_cut(volume: NDArray[np.float32], tilt_range: TiltRange) -> NDArray[np.float32]:
    """``(z, y, x)`` part of a turned volume of that shape that lies in the wedge that is cut."""
    whole = torch.from_numpy(volume)
    inside: NDArray[np.float32] = (whole - cut_wedge(whole, wedge_mask(whole.shape, tilt_range))).numpy()
    return inside


@torch.no_grad()
def _predicted(
    network: UNet,
    given: NDArray[np.float32],
    tilt_range: TiltRange,
    rotation: NDArray[np.float64],
    precision: Precision,
    device: torch.device,
) -> NDArray[np.float32]:
    volume = torch.from_numpy(given)[None].to(device)
    cut = wedge_mask(given.shape, tilt_range, device=device)
    true = wedge_mask(given.shape, tilt_range, torch.tensor(rotation), device=device)
    dtype = AUTOCAST.get(precision)
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        inputs = filled_online(network, cut_wedge(volume, cut), cut, true)
        return applied(network, inputs)[0].cpu().numpy()


def judged_band(
    frequency: Sequence[Tensor], tilt_range: TiltRange, rotation: NDArray[np.float64], thickness: int
) -> Tensor:
    """True at (z, y, x) frequencies that were cut and are not in the true wedge, which ``rotation`` turned.

    Frequencies are in cycles per voxel and broadcast. False near the axes of both wedges, for a slab so many
    voxels thick.
    """
    before = turned_back(frequency, rotation)
    off_axis = from_wedge_axis(before, tilt_range) >= OFF_AXIS / thickness
    return missing_band(frequency, tilt_range, thickness) & _measured(before, tilt_range) & off_axis


def missing_band(frequency: Sequence[Tensor], tilt_range: TiltRange, thickness: int) -> Tensor:
    """True at frequencies in the missing wedge of a slab so many voxels thick, not near its axis.

    ``frequency`` holds those of z, y and x in cycles per voxel, which broadcast.
    """
    off_axis = from_wedge_axis(frequency, tilt_range) >= OFF_AXIS / thickness
    return ~_measured(frequency, tilt_range) & off_axis


def _measured(frequency: Sequence[Tensor], tilt_range: TiltRange) -> Tensor:
    angle = wedge_angle_deg(frequency, tilt_range)
    return (angle >= tilt_range.min_deg) & (angle <= tilt_range.max_deg)


def blocks(shape_zyx: Sequence[int], multiple: int) -> list[tuple[slice, ...]]:
    """Blocks as deep as a tomogram, of edges that are multiples; at most `MOST_BLOCKS`, evenly spread."""
    depth, *section = (n // multiple * multiple for n in shape_zyx)
    most = block_edge(depth, multiple)
    edges = [min(most, n) for n in section]
    starts = [
        np.linspace(0, n - edge, -(-n // edge)).astype(int) for n, edge in zip(section, edges, strict=True)
    ]
    found = [
        (slice(depth), *(slice(start, start + edge) for start, edge in zip(corner, edges, strict=True)))
        for corner in itertools.product(*(axis.tolist() for axis in starts))
    ]
    step = len(found) / min(len(found), MOST_BLOCKS)
    return [found[int((i + 0.5) * step)] for i in range(min(len(found), MOST_BLOCKS))]


def block_edge(depth: int, multiple: int) -> int:
    """Largest edge along y and x of blocks so deep, all in voxels."""
    return max(math.isqrt(BLOCK_VOXELS // depth), LEAST_EDGE) // multiple * multiple


def standardised(half: NDArray[Any], scale: PairGreyScale, clip: float | None) -> NDArray[np.float32]:
    """Part of a half-set, of any shape, as a network is given it.

    ``clip`` is in standard deviations of a half-set; None for no limit.

    Examples
    --------
    >>> standardised(np.array([1.0, 3.0, 99.0]), PairGreyScale(mean=1, std_half=2, std_full=1), clip=6)
    array([0., 1., 6.], dtype=float32)
    """
    values = (np.asarray(half, dtype=np.float32) - np.float32(scale.mean)) / np.float32(scale.std_half)
    return values if clip is None else values.clip(-clip, clip)


def turned(volume: NDArray[Value], rotation: NDArray[np.float64]) -> NDArray[Value]:
    """Turn a ``(z, y, x)`` volume by an exact rotation ``(3, 3)``: axes and their directions are exchanged.

    Examples
    --------
    >>> quarter = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    >>> turned(np.array([[[1, 2]], [[3, 4]]], dtype=np.float32), quarter)[:, 0]
    array([[3., 1.],
           [4., 2.]], dtype=float32)
    """
    order = np.abs(rotation).argmax(axis=1)
    flipped = tuple(i for i in range(3) if rotation[i, order[i]] < 0)
    return np.ascontiguousarray(np.flip(volume.transpose(order.tolist()), flipped))
