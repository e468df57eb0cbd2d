"""Refinement: a fitted network applied to whole tomograms, tile by tile."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import convert_conv3d_weight_memory_format

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.grey_scale import GreyScale, clipped_scale, match_grey_range, mean_and_covariance
from dewedge.learn.network import UNet
from dewedge.learn.precision import Precision
from dewedge.learn.tiling import TILE, tile_axis, tile_groups
from dewedge.physics.wedge import wedge_mask

# Axes of (b, z, y, x) tiles that rotations by 180 degrees flip: none, about y, about z, about x.
HALF_TURNS: tuple[tuple[int, ...], ...] = ((), (1, 3), (2, 3), (1, 2))
# Lowest and highest tilt of a symmetric range differ by less in size.
SYMMETRIC_DEG = 6.0
COLUMN_VOXELS = 2**24  # of a band of rows that are in memory at a time
FFT_VOXELS = 2**20  # of whole (z, x) sections whose spectra are in memory at a time


def refine(
    sources: Sequence[NDArray[Any]],
    output: NDArray[np.float32] | None,
    network: UNet,
    tilt_range: TiltRange,
    *,
    input_std: float,
    clip: float | None = None,
    tile: int = TILE,
    overlap: int = 24,
    device: torch.device | None = None,
    precision: Precision = "32-true",
    batch_size: int = 1,
    average_rotations: Literal[1, 2, 4] = 1,
    average_shifts: int = 1,
    names: Sequence[str] | None = None,
    fabric: Fabric | None = None,
    on_tile: Callable[[int, int], None] | None = None,
) -> list[GreyScale]:
    """Cut the wedge from whole tomograms, apply the network to overlapping tiles, blend, average.

    The wedge mask depends on (kz, kx) alone, so the cut is exact row by row along y. Memory does not grow
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
    input_std
        Standard deviation to which a source is scaled for the network: 1 for half-sets,
        :attr:`~dewedge.learn.checkpoint.Model.full_std` for the full reconstruction.
    clip
        What the network sees is clipped at so many standard deviations from the mean, as in its fit; more,
        such as the density of gold beads beyond that, is given back to the result. None to clip nothing.
    tile
        Largest edge of the tiles in voxels, a multiple of ``network.multiple``.
    overlap
        Least overlap of neighbouring tiles in voxels. With the defaults, the result differs from one
        application to the whole volume by 2 % of its standard deviation, by 10 % in the worst plane; with an
        overlap of 32 by 1 and 5 % (docs/speed.md).
    device
        Where the network runs; the CPU if not given.
    precision
        ``bf16-mixed`` for bfloat16 where torch deems it safe; see
        :func:`~dewedge.learn.precision.preferred_precision`.
    batch_size
        Tiles at a time; beyond rounding, the result does not depend on it.
    average_rotations
        Average the predictions over rotations by 180 degrees: 1 for none; 2 for that about the tilt axis; 4
        for those about all axes. The latter two turn the wedge of an asymmetric tilt range over, so
        beyond `SYMMETRIC_DEG` 4 is taken for 2.
    average_shifts
        Average each of these predictions over as many positions of the tile, one voxel apart along all axes.
        With :attr:`~dewedge.learn.network.NetworkConfig.fold` of them every voxel is predicted at all places
        of a block along each axis, and fine stripes along the axes, images of what is coarse, cancel
        (cycle spinning; Coifman and Donoho 1995).
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
        If a source is constant or holds values that are not finite, if shapes differ, or if the tile or the
        overlap does not suit the network.

    Source: Wiedemann and Heckel 2024, algorithm 1, step 3.
    """
    device = device or torch.device("cpu")
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
    z, y, x = (tile_axis(n, tile, overlap, network.multiple) for n in shape)
    scales = []
    for source, name in zip(sources, names, strict=True):
        means, covariance = mean_and_covariance([source], [name])
        plain = GreyScale(float(means[0]), float(np.sqrt(covariance[0, 0])))
        scales.append(plain if clip is None else clipped_scale([source], clip))
    mean = np.float64(sum(scale.mean for scale in scales) / len(scales))

    network = convert_conv3d_weight_memory_format(network.to(device), torch.channels_last_3d).eval()
    mask = wedge_mask((shape[0], 1, shape[2]), tilt_range, device=device)
    z_weights, y_weights, x_weights = (torch.from_numpy(axis.weights).to(device) for axis in (z, y, x))
    symmetric = abs(tilt_range.min_deg + tilt_range.max_deg) < SYMMETRIC_DEG
    turns = HALF_TURNS[: average_rotations if symmetric else min(average_rotations, 2)]
    total = len(sources) * len(z.starts) * len(y.starts) * len(x.starts)
    done = 0

    def add_band(k: int, column: range, left: int, blended: Tensor) -> None:
        """Add the predictions of one band of rows of a column of tiles, which begins at voxel ``left``."""
        rows = y.source[y.starts[k] : y.starts[k] + y.size]
        here = x.source[left : left + blended.shape[2]]
        tiles_zx = [(i, j) for i in range(len(z.starts)) for j in column]
        so_far = done
        for source, scale in zip(sources, scales, strict=True):
            band = _read_cut(source, rows, z.source, here, scale, input_std, clip, mask)
            gain = scale.std / input_std / len(sources)
            for begin in range(0, len(tiles_zx), batch_size):
                batch = tiles_zx[begin : begin + batch_size]
                boxes = [
                    (
                        slice(z.starts[i], z.starts[i] + z.size),
                        slice(None),
                        slice(x.starts[j] - left, x.starts[j] - left + x.size),
                    )
                    for i, j in batch
                ]
                tiles = torch.stack([band[box] for box in boxes])
                predictions = _predict(network, tiles, precision, turns, average_shifts)
                for (i, j), box, prediction in zip(batch, boxes, predictions, strict=True):
                    prediction *= gain * z_weights[i, :, None, None]
                    prediction *= y_weights[k, :, None] * x_weights[j]
                    blended[box] += prediction
                so_far += len(batch)
                if on_tile is not None:
                    on_tile(so_far, total)

    written = 0  # voxels along x that a column before this one assigned
    turn = 0
    for column in tile_groups(x, COLUMN_VOXELS // (len(z.source) * y.size)):
        left, right = x.starts[column[0]], x.starts[column[-1]] + x.size
        blended = torch.zeros(len(z.source), y.size, right - left, device=device)
        for k, first in enumerate(y.starts):
            theirs, turn = turn % processes, turn + 1
            if theirs == rank:
                add_band(k, column, left, blended)
            done += len(sources) * len(z.starts) * len(column)
            if output is None:
                if theirs == rank:
                    torch.distributed.send(blended, dst=0)
                    blended.zero_()
                continue
            if theirs != rank:
                received = torch.empty_like(blended)
                torch.distributed.recv(received, src=theirs)
                blended += received
                if on_tile is not None:
                    on_tile(done, total)
            following = y.starts[k + 1] if k + 1 < len(y.starts) else len(y.source)
            finished = slice(first, min(following, shape[1]))
            _write_rows(output, blended, finished, left, written, mean)
            if clip is not None:
                beyond = slice(written, min(left + blended.shape[2], shape[2]))
                for source, scale in zip(sources, scales, strict=True):
                    _give_back(output, source, (finished, beyond), scale, clip, len(sources))
            kept = blended[:, following - first :].clone()
            blended.zero_()[:, : kept.shape[1]] = kept
        written = right
    return scales


def fill_wedge(
    source: NDArray[Any],
    network: UNet,
    tilt_range: TiltRange,
    *,
    input_std: float,
    tile: int,
    overlap: int,
    device: torch.device,
    precision: Precision,
    renormalise: bool = False,
) -> NDArray[np.float32]:
    """A tomogram whose missing wedge is filled by the network's prediction; what was measured stays.

    F^-1 W F v + F^-1 (1 - W) F f(v), in memory; parameters as those of `refine`. With ``renormalise`` the
    prediction, and then the result, get the range of grey values of v, as in IsoNet: what fills the wedge is
    as strong as what noise was taken from.

    Source: Wiedemann and Heckel 2024, Methods; Liu et al. 2022 (IsoNet).
    """
    filled = np.empty(source.shape, dtype=np.float32)
    refine(
        [source],
        filled,
        network,
        tilt_range,
        input_std=input_std,
        tile=tile,
        overlap=overlap,
        device=device,
        precision=precision,
    )
    missing = 1 - wedge_mask((source.shape[0], 1, source.shape[2]), tilt_range)
    measured = np.asarray(source, dtype=np.float32)
    if renormalise:
        match_grey_range(filled, measured)
    filled -= measured
    _cut_wedge_from_rows(torch.from_numpy(filled), missing)
    filled += measured
    if renormalise:
        match_grey_range(filled, measured)
    return filled


def _read_cut(
    source: NDArray[Any],
    rows: NDArray[np.int64],
    z_source: NDArray[np.int64],
    x_source: NDArray[np.int64],
    scale: GreyScale,
    input_std: float,
    clip: float | None,
    mask: Tensor,
) -> Tensor:
    """Standardised rows along y, the wedge cut from their whole sections, then these voxels of z and x."""
    band = torch.empty(len(z_source), len(rows), len(x_source), device=mask.device)
    z_index, x_index = (torch.from_numpy(index).to(mask.device) for index in (z_source, x_source))
    step = _fft_rows(source.shape)
    for begin in range(0, len(rows), step):
        some = _read_rows(source, rows[begin : begin + step], scale, clip).mul_(input_std).to(mask.device)
        _cut_wedge_from_rows(some, mask)
        band[:, begin : begin + step] = some.index_select(0, z_index).index_select(2, x_index)
    return band


def _read_rows(source: NDArray[Any], rows: NDArray[np.int64], scale: GreyScale, clip: float | None) -> Tensor:
    """``(z, len(rows), x)`` standardised rows along y, section by section so that float64 stays small."""
    band = np.empty((source.shape[0], len(rows), source.shape[2]), dtype=np.float32)
    begin, end = int(rows.min()), int(rows.max()) + 1
    for section, target in zip(source, band, strict=True):
        target[...] = ((section[begin:end].astype(np.float64) - scale.mean) / scale.std)[rows - begin]
    if clip is not None:
        np.clip(band, -clip, clip, out=band)
    return torch.from_numpy(band)


def _cut_wedge_from_rows(band: Tensor, mask: Tensor) -> None:
    """Multiply, in place, the (z, x) spectrum of every row of ``(z, y, x)`` with ``(z, 1, x // 2 + 1)``."""
    size = (band.shape[0], band.shape[2])
    for rows in torch.split(band, _fft_rows(band.shape), dim=1):
        rows.copy_(torch.fft.irfftn(torch.fft.rfftn(rows, dim=(0, 2)) * mask, s=size, dim=(0, 2)))


def _fft_rows(shape_zyx: Sequence[int]) -> int:
    return max(1, FFT_VOXELS // (shape_zyx[0] * shape_zyx[2]))


@torch.no_grad()
def _predict(
    network: UNet, tiles: Tensor, precision: Precision, turns: Sequence[tuple[int, ...]], shifts: int
) -> Tensor:
    """``(b, d, h, w)`` float32 output of the network, averaged over turns, given by the axes they flip, and
    over shifts, which wrap what leaves a tile around."""
    total = torch.zeros_like(tiles)
    for axes, shift in itertools.product(turns, range(shifts)):
        moved = tiles.flip(axes).roll((shift,) * 3, (1, 2, 3))
        with torch.autocast(tiles.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            prediction: Tensor = network(moved.unsqueeze(1))
        total += prediction.squeeze(1).float().roll((-shift,) * 3, (1, 2, 3)).flip(axes)
    return total / (len(turns) * shifts)


def _write_rows(
    output: NDArray[np.float32], blended: Tensor, rows: slice, left: int, written: int, mean: np.float64
) -> None:
    """Write finished rows of the column that begins at ``left``; before ``written``, add to what is there."""
    right = min(left + blended.shape[2], output.shape[2])
    finished = blended[: output.shape[0], : rows.stop - rows.start, : right - left].cpu().numpy()
    shared = max(written - left, 0)
    for target, section in zip(output, finished, strict=True):
        target[rows, left : left + shared] += section[:, :shared]
        target[rows, left + shared : right] = section[:, shared:] + mean  # a float64 sum, rounded once


def _give_back(
    output: NDArray[np.float32],
    source: NDArray[Any],
    yx: tuple[slice, slice],
    scale: GreyScale,
    clip: float,
    n_sources: int,
) -> None:
    """Add what clipping took from a source, in these rows and columns, to its share of the output."""
    low, high = scale.mean - clip * scale.std, scale.mean + clip * scale.std
    for target, section in zip(output, source, strict=True):
        whole = section[yx].astype(np.float64)
        target[yx] += (whole - whole.clip(low, high)) / n_sources
