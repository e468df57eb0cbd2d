"""Bands of rows of a tomogram: read, with the wedge cut; written, where they are finished."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.learn.grey_scale import GreyScale
from dewedge.physics.wedge import WedgeCut


def read_cut(
    source: NDArray[Any],
    rows: range,
    z_source: NDArray[np.int64],
    x_source: NDArray[np.int64],
    scale: GreyScale,
    input_std: float,
    clip: float | None,
    cut: WedgeCut,
) -> Tensor:
    """Standardised rows along y, reflected beyond the end, the wedge cut, then these voxels of z and x."""
    band = torch.empty(len(z_source), len(rows), len(x_source), device=cut.device)
    z_index, x_index = (torch.from_numpy(index).to(cut.device) for index in (z_source, x_source))
    for part in cut.parts(rows):
        some = _read_rows(source, cut.needed(part)).to(cut.device)
        # The mean leaves before the scale, so that a large offset costs no precision.
        some.sub_(scale.mean).mul_(1 / scale.std)
        if clip is not None:
            some.clamp_(-clip, clip)
        some.mul_(input_std)
        cut(some)
        kept = some[:, cut.margin : cut.margin + len(part)]
        begin = part.start - rows.start
        band[:, begin : begin + len(part)] = kept.index_select(0, z_index).index_select(2, x_index)
    return band


def _read_rows(source: NDArray[Any], rows: NDArray[np.int64]) -> Tensor:
    """``(z, len(rows), x)`` float32 rows along y, section by section as they lie in a file."""
    band = np.empty((source.shape[0], len(rows), source.shape[2]), dtype=np.float32)
    begin, end = int(rows.min()), int(rows.max()) + 1
    for section, target in zip(source, band, strict=True):
        target[...] = section[begin:end][rows - begin]
    return torch.from_numpy(band)


def write_rows(
    output: NDArray[np.float32], blended: Tensor, rows: slice, left: int, written: int, mean: np.float64
) -> None:
    """Write finished rows of the column that begins at ``left``; before ``written``, add to what is there."""
    right = min(left + blended.shape[2], output.shape[2])
    finished = blended[: output.shape[0], : rows.stop - rows.start, : right - left].cpu().numpy()
    shared = max(written - left, 0)
    for target, section in zip(output, finished, strict=True):
        target[rows, left : left + shared] += section[:, :shared]
        target[rows, left + shared : right] = section[:, shared:] + mean  # a float64 sum, rounded once


def give_back(
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
