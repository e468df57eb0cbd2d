"""How far off what fills the missing wedge can be, from how much predictions of the same thing differ.

Members of an ensemble predict the wedge: networks that were fitted apart, each with the tomogram turned in
ways that keep its wedge in place, each from both half-sets. How much they differ is known everywhere; how
much error that means is learnt where a further wedge was cut that tilts did measure
(`dewedge.learn.extra_wedge`): there the error itself is known, up to the noise of a half-set.

A wedge is cut from both half-sets, and their predictions are averaged, as the result is made of both. Noise
at frequencies that were cut is in neither prediction, so half-set 0 can judge what was made of itself, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from dewedge.geometry import TiltRange
from dewedge.learn.amplitude import WedgeAmplitude
from dewedge.learn.extra_wedge import (
    azimuths,
    block_edge,
    blocks,
    judged_band,
    missing_band,
    standardised,
    turned,
)
from dewedge.learn.grey_scale import PairGreyScale
from dewedge.learn.loss import cut_wedge
from dewedge.learn.network import UNet
from dewedge.learn.objective import applied, filled_online
from dewedge.learn.precision import AUTOCAST, Precision
from dewedge.learn.refine import turns_in_place
from dewedge.learn.tiling import tile_axis
from dewedge.physics.fourier import frequencies
from dewedge.physics.wedge import wedge_in_place, wedge_mask
from dewedge.scores.spectra import taper_window
from dewedge.scores.uncertainty import Calibration, Evidence

Volume = NDArray[np.float32]

TURNS = 2  # at most: none, and by preference that about the tilt axis
TAPER = 0.2  # of the blocks in which errors are looked at, whose edges are none of the specimen
STEP = 3  # voxels between those that are looked at, along each axis: neighbours tell the same
OVERLAP = 24  # voxels, of the blocks of the map


class Member(NamedTuple):
    """A network in evaluation, and how strong what it fills the wedge with may be; None for as predicted."""

    network: UNet
    amplitude: WedgeAmplitude | None


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks that predict the same wedge, and how they are applied.

    Parameters
    ----------
    members
        On ``device``.
    tilt_range
        Of the series.
    scale, clip
        The grey scale of the fit, and where it clipped its inputs.
    lowest, highest
        Frequencies in cycles per voxel. Nothing coarser is looked at, where a slab looks different along z,
        and nothing finer, where there is no signal.
    thickness
        Of the tomogram in voxels.
    precision, device
        Of the networks' computations.
    """

    members: Sequence[Member]
    tilt_range: TiltRange
    scale: PairGreyScale
    clip: float | None
    lowest: float
    highest: float
    thickness: int
    precision: Precision
    device: torch.device

    @property
    def multiple(self) -> int:
        """Number of voxels that edges of what any member is given must be multiples of."""
        return max(member.network.multiple for member in self.members)

    def given(self, halves: Sequence[NDArray[Any]]) -> Volume:
        """Stack ``(z, y, x)`` half-sets as ``(2, z, y, x)``, as the networks are given them."""
        return np.stack([standardised(half, self.scale, self.clip) for half in halves])

    def smoothed(self, power: NDArray[np.floating]) -> Volume:
        """Smooth a ``(z, y, x)`` power by a Gaussian whose standard deviation is the finest wavelength."""
        smooth: Volume = gaussian_filter(power, 1 / self.highest, mode="nearest")
        return smooth

    def wedge(self, shape_zyx: Sequence[int]) -> Tensor:
        """``(z, y, x // 2 + 1)`` True in the missing wedge, from the lowest frequency to the highest."""
        k = frequencies(shape_zyx, self.device)
        return missing_band(k, self.tilt_range, self.thickness) & self._within(k)

    def other_wedge(self, shape_zyx: Sequence[int], rotation: NDArray[np.float64]) -> Tensor:
        """``(z, y, x // 2 + 1)`` True at what is cut from a turned tomogram, and was measured.

        ``rotation`` is ``(3, 3)``, on (z, y, x). From the lowest frequency to the highest.
        """
        k = frequencies(shape_zyx, self.device)
        return judged_band(k, self.tilt_range, rotation, self.thickness) & self._within(k)

    def _within(self, k: Sequence[Tensor]) -> Tensor:
        square = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
        return (square >= self.lowest**2) & (square < self.highest**2)

    def spread(
        self, given: Volume, band: Tensor, rotation: NDArray[np.float64] | None = None
    ) -> tuple[Volume, Volume]:
        """``(z, y, x)`` mean of all predictions in a band, and variance of what differs among them, smoothed.

        The latter is the variance between members, and that of their mean between half-sets.

        Parameters
        ----------
        given
            ``(2, z, y, x)`` half-sets as `given` makes them.
        band
            ``(z, y, x // 2 + 1)`` True at the frequencies to look at.
        rotation
            By which the half-sets were turned, and with them their wedge, which is filled first; None for not
            at all.
        """
        total, squares, between = (np.zeros(given.shape[1:], np.float32) for _ in range(3))
        count = 0
        for half0, half1 in self._predictions(torch.from_numpy(given).to(self.device), band, rotation):
            mean = (half0 + half1) / 2
            total += mean
            squares += mean**2
            between += ((half0 - half1) / 2) ** 2
            count += 1
        total /= count
        # One network, and a wedge that no turn leaves in place: only the half-sets differ.
        members = np.maximum(squares / count - total**2, 0) * (count / (count - 1)) if count > 1 else 0
        variance = between / count + members
        return total, self.smoothed(variance)

    @torch.no_grad()
    def _predictions(
        self, given: Tensor, band: Tensor, rotation: NDArray[np.float64] | None
    ) -> Iterator[Volume]:
        """``(2, z, y, x)`` predictions of each member in each turn, from both half-sets."""
        shape = (given.shape[1], given.shape[2], given.shape[3])
        # Turns that keep the wedge in place: it may be cut before them.
        turns = turns_in_place(self.tilt_range)[:TURNS]
        cut = wedge_in_place(shape, self.tilt_range, self.device)
        measured = cut_wedge(given, cut)
        dtype = AUTOCAST.get(self.precision)
        for (network, amplitude), axes in itertools.product(self.members, turns):
            with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
                inputs = measured.flip(axes)
                if rotation is not None:
                    turn = np.diag([-1.0 if axis + 1 in axes else 1.0 for axis in range(3)])
                    own = wedge_mask(shape, self.tilt_range, torch.from_numpy(turn @ rotation), self.device)
                    inputs = filled_online(network, inputs, cut, own)
                predicted = applied(network, inputs).flip(axes)
            kept = band.float()
            if amplitude is not None:
                kept = kept * amplitude.mask(shape, self.tilt_range, self.device)
            yield cut_wedge(predicted, kept).cpu().numpy()


def gather(ensemble: Ensemble, halves: Sequence[NDArray[Any]]) -> Evidence:
    """Errors of what an ensemble fills other wedges with, and how much its members differ there.

    Parameters
    ----------
    ensemble
        The networks.
    halves
        ``(z, y, x)`` half-sets, in memory or memory-mapped.

    Returns
    -------
    Evidence
        On the grey scale of the fit. Held out is what lies beyond the middle of the tomogram along y.
    """
    found = []
    for i, block in enumerate(blocks(halves[0].shape, ensemble.multiple)):
        given = ensemble.given([half[block] for half in halves])
        y = np.arange(block[1].start, block[1].stop)[:, None]
        held_out = np.broadcast_to(y >= halves[0].shape[1] // 2, given.shape[1:])
        # Neighbours take turns: all of them twice would tell little more.
        for rotation in list(azimuths().values())[i % 2 :: 2]:
            found.append(_evidence(ensemble, given, held_out, rotation))
    return Evidence.joined(found)


def _evidence(
    ensemble: Ensemble, given: Volume, held_out: NDArray[np.bool_], rotation: NDArray[np.float64]
) -> Evidence:
    """That of a wedge cut from one block."""
    half0, half1 = there = np.stack([turned(half, rotation) for half in given])
    band = ensemble.other_wedge(half0.shape, rotation)
    predicted, variance = ensemble.spread(there, band, rotation)
    windows = [taper_window(n, TAPER).astype(np.float32) for n in half0.shape]
    window = windows[0][:, None, None] * windows[1][:, None] * windows[2]
    error, noise = (
        cut_wedge(torch.from_numpy(window * v).to(ensemble.device), band).cpu().numpy()
        for v in (predicted - half0, half0 - half1)
    )
    # Not in the margins, where the window fades.
    sample = [np.flatnonzero(one > 1 - 1e-6)[::STEP] for one in windows]
    place = np.ix_(*sample)
    count = int(np.prod([len(one) for one in sample]))
    return Evidence(
        error=error[place].ravel(),
        power=ensemble.smoothed(error**2)[place].ravel(),
        spread=variance[place].ravel(),
        noise=np.full(count, np.square(noise[place]).mean() / 2),
        held_out=turned(held_out, rotation)[place].ravel(),
        extent=float(ensemble.wedge(half0.shape).sum() / band.sum()),
    )


def fill_uncertainty(
    ensemble: Ensemble, halves: Sequence[NDArray[Any]], calibration: Calibration, output: Volume
) -> None:
    """Fill a map, of zeros, with one standard deviation of the error inside the missing wedge.

    Parameters
    ----------
    halves
        ``(z, y, x)`` half-sets, in memory or memory-mapped.
    output
        ``(z, y, x)``, in memory or memory-mapped, in the grey scale of the half-sets.
    """
    depth, height, width = output.shape
    multiple = ensemble.multiple
    edge = block_edge(depth, multiple)
    z = tile_axis(depth, -(-depth // multiple) * multiple, 0, multiple)
    y, x = (tile_axis(n, edge, OVERLAP, multiple) for n in (height, width))
    for (top, along_y), (left, along_x) in itertools.product(
        *(zip(axis.starts, axis.weights, strict=True) for axis in (y, x))
    ):
        place = np.ix_(z.source, y.source[top : top + y.size], x.source[left : left + x.size])
        given = ensemble.given([half[place] for half in halves])
        _, variance = ensemble.spread(given, ensemble.wedge(given.shape[1:]))
        error = calibration.variance(variance).astype(np.float32) * along_y[:, None] * along_x
        target = output[:, top : top + y.size, left : left + x.size]
        target += error[:depth, : target.shape[1], : target.shape[2]]
    for plane in output:
        plane[...] = ensemble.scale.std_half * np.sqrt(plane)
