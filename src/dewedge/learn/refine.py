"""Refinement: a fitted network applied to whole tomograms, tile by tile."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import convert_conv3d_weight_memory_format

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.amplitude import WedgeAmplitude
from dewedge.learn.bands import give_back, read_cut, write_rows
from dewedge.learn.blend import share_of_network
from dewedge.learn.grey_scale import GreyScale, clipped_scale, mean_and_covariance
from dewedge.learn.loss import cut_wedge
from dewedge.learn.network import UNet
from dewedge.learn.precision import AUTOCAST, Precision
from dewedge.learn.tiling import TILE, AxisTiles, tile_axis, tile_groups
from dewedge.physics.wedge import WedgeCut

# Axes of (b, z, y, x) tiles that rotations by 180 degrees flip: none, about y, about z, about x.
HALF_TURNS: tuple[tuple[int, ...], ...] = ((), (1, 3), (2, 3), (1, 2))
# Lowest and highest tilt of a symmetric range differ by less in size, as do wedges of opposite tilts about x.
SYMMETRIC_DEG = 6.0
COLUMN_VOXELS = 2**24  # of a band of rows that are in memory at a time
MOST_TILES = 8  # at once on a GPU, which they occupy
FEATURE_MAPS = 8  # of the finest level that a pass of the network holds at a time


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """Tiles, averages and precision with which a network is applied to a tomogram.

    Parameters
    ----------
    tile
        Largest edge of the tiles in voxels, a multiple of ``network.multiple``.
    overlap
        Least overlap of neighbouring tiles in voxels. With the defaults, the result differs from one
        application to the whole volume by 2 % of its standard deviation, by 10 % in the worst plane; with an
        overlap of 32 by 1 and 5 % (docs/notebook/speed.md).
    average_rotations
        Average the predictions over rotations by 180 degrees: 1 for none; 2 for that about the tilt axis; 4
        for those about all axes. Turns that move the wedge are left out (`turns_in_place`).
    average_shifts
        Average each of these predictions over as many positions of the tile, one voxel apart along all axes.
        With :attr:`~dewedge.learn.network.NetworkConfig.fold` of them every voxel is predicted at all places
        of a block along each axis, and fine stripes along the axes, images of what is coarse, cancel
        (cycle spinning; Coifman and Donoho 1995).
    precision
        Number format of the network; see :func:`~dewedge.learn.precision.preferred_precision`.
    tiles_at_once
        Tiles of a batch; beyond rounding, the result does not depend on it. None for
        :func:`tiles_that_fit`.
    """

    tile: int = TILE
    overlap: int = 24
    average_rotations: Literal[1, 2, 4] = 1
    average_shifts: int = 1
    precision: Precision = "32-true"
    tiles_at_once: int | None = None


def refine(
    sources: Sequence[NDArray[Any]],
    output: NDArray[np.float32] | None,
    network: UNet,
    tilt_range: TiltRange,
    options: RefineOptions,
    *,
    input_std: float,
    clip: float | None = None,
    wedge_amplitude: WedgeAmplitude | None = None,
    tv_share: float = 0.0,
    device: torch.device | None = None,
    names: Sequence[str] | None = None,
    fabric: Fabric | None = None,
    on_tile: Callable[[int, int], None] | None = None,
) -> list[GreyScale]:
    """Cut the wedge from whole tomograms, apply the network to overlapping tiles, blend, average.

    The wedge is cut row by row along y (`dewedge.physics.wedge.WedgeCut`). Memory does not grow
    with the tomogram: one band of rows at a time is read, refined and written, and of large (z, x) sections
    one column of tiles, for which the wedge is cut from the whole section anew.
    The grey scale of the result is that of the sources.

    Parameters
    ----------
    sources
        ``(z, y, x)`` arrays of one shape, in memory or memory-mapped: the full reconstruction alone, or both
        half-sets, which are refined one by one and averaged.
    output
        ``(z, y, x)`` float32 array, in memory or memory-mapped, that is assigned part by part; None on all
        processes but the first.
    network
        The fitted network. It is moved to ``device``.
    tilt_range
        Tilt range of the sources.
    options
        Tiles, averages and precision.
    input_std
        Standard deviation to which a source is scaled for the network: 1 for half-sets,
        :attr:`~dewedge.learn.checkpoint.Model.full_std` for the full reconstruction.
    clip
        What the network sees is clipped at so many standard deviations from the mean, as in its fit; more,
        such as the density of gold beads beyond that, is given back to the result. None to clip nothing.
    wedge_amplitude
        Factors of what the network fills the wedge with; None to take it as predicted.
    tv_share
        What is left out of the prediction at low frequencies, for `dewedge.learn.blend.sections_of_tv`.
    device
        Where the network runs; the CPU if not given.
    names
        Of the sources, for messages.
    fabric
        A launched Fabric whose processes all call this: they take the bands by turns, and the first one adds
        them up and writes. Beyond rounding, the result does not depend on their number.
    on_tile
        Called with the number of tiles done and of all tiles, of all processes.

    Returns
    -------
    list of GreyScale
        Of the sources.

    Raises
    ------
    InputError
        If a source is constant or holds values that are not finite, if shapes differ, if the tile or the
        overlap does not suit the network, or if what it predicts is not finite.
    ValueError
        If the output is not that of the first process alone, or has another shape.

    Source: Wiedemann and Heckel 2024, algorithm 1, step 3.
    """
    names = names or [f"tomogram {i}" for i in range(len(sources))]
    shape = sources[0].shape
    for source, name in zip(sources, names, strict=True):
        if source.ndim != 3 or source.shape != shape:
            raise InputError(f"{name}: shape {source.shape}; expected three axes, {shape} as {names[0]}")
    processes, rank = (1, 0) if fabric is None else (fabric.world_size, fabric.global_rank)
    if (output is None) != (rank > 0):
        raise ValueError("expected an output on the first process, and on no other")
    if output is not None and output.shape != shape:
        raise ValueError(f"output of shape {output.shape} for sources of {shape}")
    z, y, x = (tile_axis(n, options.tile, options.overlap, network.multiple) for n in shape)
    scales = []
    for source, name in zip(sources, names, strict=True):
        means, covariance = mean_and_covariance([source], [name])
        plain = GreyScale(float(means[0]), float(np.sqrt(covariance[0, 0])))
        scales.append(plain if clip is None else clipped_scale([source], clip))
    mean = np.float64(sum(scale.mean for scale in scales) / len(scales))

    device = device or torch.device("cpu")
    bands = _Bands(
        sources,
        scales,
        input_std,
        clip,
        convert_conv3d_weight_memory_format(network.to(device), torch.channels_last_3d).eval(),
        options,
        tilt_range,
        (z, y, x),
        WedgeCut(shape, tilt_range, device),
        wedge_amplitude,
        tv_share,
    )
    total = len(sources) * len(z.starts) * len(y.starts) * len(x.starts)
    done = 0

    def tell(tiles: int) -> None:
        nonlocal done
        done += tiles
        if on_tile is not None:
            on_tile(done, total)

    written = 0  # voxels along x that a column before this one assigned
    turns = itertools.cycle(range(processes))
    for column in tile_groups(x, COLUMN_VOXELS // (len(z.source) * y.size)):
        left, right = x.starts[column[0]], x.starts[column[-1]] + x.size
        blended = torch.zeros(len(z.source), y.size, right - left, device=device)
        for k, first in enumerate(y.starts):
            theirs = next(turns)
            if theirs == rank:
                bands.add(k, column, blended, tell)
            if theirs > 0:
                _gather(blended, theirs, rank)
            if theirs != rank:
                tell(len(sources) * len(z.starts) * len(column))
            if output is None:
                continue
            following = y.starts[k + 1] if k + 1 < len(y.starts) else len(y.source)
            finished = slice(first, min(following, shape[1]))
            write_rows(output, blended, finished, left, written, mean)
            if clip is not None:
                beyond = slice(written, min(right, shape[2]))
                for source, scale in zip(sources, scales, strict=True):
                    give_back(output, source, (finished, beyond), scale, clip, len(sources))
            kept = blended[:, following - first :].clone()
            blended.zero_()[:, : kept.shape[1]] = kept
        written = right
    return scales


def turns_in_place(tilt_range: TiltRange) -> list[tuple[int, ...]]:
    """Those of `HALF_TURNS` that leave the missing wedge where it is, to within `SYMMETRIC_DEG`.

    Examples
    --------
    >>> [len(turns_in_place(TiltRange(*angles))) for angles in ((-60, 60), (-40, 60), (-60, 60, 8))]
    [4, 2, 2]
    """
    symmetric = abs(tilt_range.min_deg + tilt_range.max_deg) < SYMMETRIC_DEG
    level = 2 * abs(tilt_range.x_tilt_deg) < SYMMETRIC_DEG
    stays = (True, level, level and symmetric, symmetric)
    return [axes for axes, there in zip(HALF_TURNS, stays, strict=True) if there]


def tiles_that_fit(network: UNet, voxels: int, device: torch.device) -> int:
    """Number of tiles of so many voxels that a device takes at once.

    One on a CPU, which gains nothing by more. On a GPU, at most `MOST_TILES`, those that half of its free
    memory holds, at `FEATURE_MAPS` float32 maps of the finest level a tile.
    """
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    config = network.config
    of_a_tile = 4 * FEATURE_MAPS * config.channels / config.fold**3 * voxels
    return max(1, min(MOST_TILES, int(free / 2 / of_a_tile)))


@dataclass(frozen=True, eq=False)
class _Bands:
    """What the bands of rows of a refinement have in common; parameters as those of `refine`."""

    sources: Sequence[NDArray[Any]]
    scales: Sequence[GreyScale]
    input_std: float
    clip: float | None
    network: UNet
    options: RefineOptions
    tilt_range: TiltRange
    axes: tuple[AxisTiles, AxisTiles, AxisTiles]
    cut: WedgeCut
    wedge_amplitude: WedgeAmplitude | None
    tv_share: float

    def add(self, k: int, column: range, blended: Tensor, tell: Callable[[int], None]) -> None:
        """Add the predictions of one band of rows of a column of tiles, which ``blended`` covers.

        ``tell`` is called with the number of tiles of each batch.
        """
        z, y, x = self.axes
        rows = range(y.starts[k], y.starts[k] + y.size)
        left = x.starts[column[0]]
        here = x.source[left : left + blended.shape[2]]
        tiles_zx = [(i, j) for i in range(len(z.starts)) for j in column]
        at_once = self.options.tiles_at_once
        if at_once is None:
            at_once = tiles_that_fit(self.network, z.size * y.size * x.size, blended.device)
        for source, scale in zip(self.sources, self.scales, strict=True):
            band = read_cut(source, rows, z.source, here, scale, self.input_std, self.clip, self.cut)
            gain = scale.std / self.input_std / len(self.sources)
            for begin in range(0, len(tiles_zx), at_once):
                batch = tiles_zx[begin : begin + at_once]
                boxes = [
                    (
                        slice(z.starts[i], z.starts[i] + z.size),
                        slice(None),
                        slice(x.starts[j] - left, x.starts[j] - left + x.size),
                    )
                    for i, j in batch
                ]
                predictions = self._predict(torch.stack([band[box] for box in boxes]))
                if not torch.isfinite(predictions).all():
                    raise InputError(
                        "the network's prediction is not finite: its weights do not suit this tomogram, or "
                        "are damaged; fit it again"
                    )
                for (i, j), box, prediction in zip(batch, boxes, predictions, strict=True):
                    prediction *= gain * self._weights[0][i, :, None, None]
                    prediction *= self._weights[1][k, :, None] * self._weights[2][j]
                    blended[box] += prediction
                tell(len(batch))

    @cached_property
    def _weights(self) -> tuple[Tensor, ...]:
        """``(n_tiles, size)`` weights of the tiles along each axis."""
        return tuple(torch.from_numpy(axis.weights).to(self.cut.device) for axis in self.axes)

    @cached_property
    def _response(self) -> Tensor | None:
        """Factors of the spectrum of a tile; None if all are 1."""
        depth, height, width = (axis.size for axis in self.axes)
        shape, device = (depth, height, width), self.cut.device
        factors = None
        if self.wedge_amplitude is not None:
            factors = self.wedge_amplitude.mask(shape, self.tilt_range, device)
        if self.tv_share > 0:
            left = share_of_network(shape, self.tv_share, device)
            factors = left if factors is None else factors * left
        return factors

    @torch.no_grad()
    def _predict(self, tiles: Tensor) -> Tensor:
        """``(b, d, h, w)`` float32 output of the network, averaged over turns and shifts.

        Turns are given by the axes they flip; shifts wrap what leaves a tile around.
        """
        options = self.options
        in_place = turns_in_place(self.tilt_range)
        turns = [axes for axes in HALF_TURNS[: options.average_rotations] if axes in in_place]
        dtype = AUTOCAST.get(options.precision)
        total = torch.zeros_like(tiles)
        for axes, shift in itertools.product(turns, range(options.average_shifts)):
            moved = tiles.flip(axes).roll((shift,) * 3, (1, 2, 3))
            with torch.autocast(tiles.device.type, dtype, enabled=dtype is not None):
                prediction: Tensor = self.network(moved.unsqueeze(1))
            total += prediction.squeeze(1).float().roll((-shift,) * 3, (1, 2, 3)).flip(axes)
        total /= len(turns) * options.average_shifts
        return total if self._response is None else cut_wedge(total, self._response)


def _gather(blended: Tensor, theirs: int, rank: int) -> None:
    """Add what process ``theirs`` has predicted to what the first one has, and forget it there."""
    if rank == theirs:
        torch.distributed.send(blended, dst=0)
        blended.zero_()
    elif rank == 0:
        received = torch.empty_like(blended)
        torch.distributed.recv(received, src=theirs)
        blended += received
