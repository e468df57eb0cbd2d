"""How much a network puts into the missing wedge, and what it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dewedge.geometry import Floats, TiltRange
from dewedge.learn.amplitude import WedgeAmplitude
from dewedge.learn.extra_wedge import blocks, standardised
from dewedge.learn.grey_scale import PairGreyScale
from dewedge.learn.loss import cut_wedge
from dewedge.learn.network import UNet
from dewedge.learn.objective import applied
from dewedge.learn.precision import AUTOCAST, Precision
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.spectra import power_inside_outside


class FilledPower(NamedTuple):
    """Power of what a network makes of a tomogram, in the tomogram's grey scale.

    Parameters
    ----------
    inside, outside
        ``(s,)`` power in the missing wedge and elsewhere, summed over shells.
    middle
        ``(z, y, x)`` block from the middle, to be looked at.
    """

    inside: Floats
    outside: Floats
    middle: NDArray[np.float32]


@torch.no_grad()
def filled_power(
    network: UNet,
    halves: tuple[NDArray[Any], NDArray[Any]],
    tilt_range: TiltRange,
    edges: Sequence[float],
    scale: PairGreyScale,
    clip: float | None,
    amplitude: WedgeAmplitude | None,
    precision: Precision,
    device: torch.device,
) -> FilledPower:
    """Apply a network to the mean of two half-sets, block by block, and measure what it puts where.

    Parameters
    ----------
    network
        In evaluation, on ``device``.
    halves
        ``(z, y, x)`` half-sets, in memory or memory-mapped.
    tilt_range
        Of the series.
    edges
        Of the shells in cycles per voxel.
    scale, clip
        The grey scale that inputs have, and where they are clipped.
    amplitude
        Factors of what the network fills the wedge with; None to take it as predicted.
    precision, device
        Of the network's computations.

    Raises
    ------
    InputError
        If what the network makes is constant or not finite, or the edges do not rise.
    """
    found, dtype = [], AUTOCAST.get(precision)
    places = blocks(halves[0].shape, network.multiple)
    for i, block in enumerate(places):
        inputs = np.mean([standardised(half[block], scale, clip) for half in halves], axis=0)
        mask = wedge_mask(inputs.shape, tilt_range, device=device)
        volume = cut_wedge(torch.from_numpy(inputs)[None].to(device), mask)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            predicted = applied(network, volume)
        if amplitude is not None:
            predicted = cut_wedge(predicted, amplitude.mask(inputs.shape, tilt_range, device))
        # Parted before the taper of the sums, by which what is outside would leak into the wedge.
        kept = cut_wedge(predicted, mask)
        added, measured, whole = (
            part[0].cpu().numpy() * np.float32(scale.std_half) for part in (predicted - kept, kept, predicted)
        )
        if i == len(places) // 2:
            middle = whole
        inside, _ = power_inside_outside(added, tilt_range, edges)
        _, outside = power_inside_outside(measured, tilt_range, edges)
        found.append((inside.aa, outside.aa))
    insides, outsides = zip(*found, strict=True)
    return FilledPower(np.sum(insides, axis=0), np.sum(outsides, axis=0), middle)
