"""Rounds of a fit, after each of which the network's prediction fills the missing wedge of its inputs.

A rotated crop lacks two wedges, its own and the one that is cut from it, but the tomogram to be refined lacks
one. With the crop's own wedge filled, the network is fitted to what it will be applied to.

A large tomogram is filled, and drawn from, one band of rows along the tilt axis in each round: the wedge does
not depend on them.
"""

from __future__ import annotations

import math

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.options import FitOptions
from dewedge.learn.refine import fill_wedge
from dewedge.learn.sampling import CropSampler, Inputs, TomogramPair
from dewedge.learn.tiling import tile_axis, tile_size
from dewedge.physics.rotation import source_size

AUTO_SHARE = 0.1  # of the time of a fit that goes into filling, where the interval is "auto"
STEP_COST = 3  # times the cost of applying the network: forward and backward pass
BAND_VOXELS = 2**25
BAND_CUBES = 2  # rows of a band, at least, in edges of the largest source of a crop


def round_epochs(sampler: CropSampler, config: NetworkConfig, options: FitOptions) -> int | None:
    """Epochs in a round; None if the inputs stay as they are.

    With the interval ``auto``, as many as cost ten times what filling costs, counted in voxels.
    """
    if options.update_interval != "auto":
        return options.update_interval
    voxels = 0
    for pair in sampler.pairs:
        depth, _, width = pair.shape_zyx
        rows = bands(pair, sampler.size)[0]
        shape = (depth, rows.stop - rows.start, width)
        axes = [tile_axis(n, *_tiles(sampler, config), config.multiple) for n in shape]
        voxels += _halves(pair, sampler) * math.prod(len(axis.starts) * axis.size for axis in axes)
    epoch = STEP_COST * options.epoch_samples * options.cube_size**3
    return max(1, round(voxels / (AUTO_SHARE * epoch)))


def bands(pair: TomogramPair, size: int) -> list[slice]:
    """Bands of rows that cover a tomogram, all of one width, for cubes of ``size`` voxels."""
    depth, height, width = pair.shape_zyx
    rows = max(BAND_VOXELS // (depth * width), BAND_CUBES * source_size(size))
    if rows >= height:
        return [slice(0, height)]
    count = -(-height // rows)
    starts = [(height - rows) * i // (count - 1) for i in range(count)]
    return [slice(start, start + rows) for start in starts]


def filled_inputs(
    sampler: CropSampler, config: NetworkConfig, weights: dict[str, Tensor], round_: int, fabric: Fabric
) -> list[Inputs]:
    """The inputs of a round: a band of both half-sets of each tomogram, what they lack predicted."""
    network = UNet(config)
    network.load_state_dict(weights)
    tile, overlap = _tiles(sampler, config)

    def filled(half: NDArray[np.float32], pair: TomogramPair, std: float) -> NDArray[np.float32]:
        return fill_wedge(
            half,
            network,
            pair.tilt_range,
            input_std=float(np.std(half, dtype=np.float64)) / std,
            tile=tile,
            overlap=overlap,
            device=fabric.device,
            precision="bf16-mixed" if fabric.strategy.precision.precision == "bf16-mixed" else "32-true",
        )

    inputs = []
    for pair, scale in zip(sampler.pairs, sampler.grey_scales, strict=True):
        possible = bands(pair, sampler.size)
        rows = possible[round_ % len(possible)]
        half0 = filled(pair.half0[:, rows], pair, scale.std_half)
        half1 = half0
        if _halves(pair, sampler) == 2:
            half1 = filled(pair.half1[:, rows], pair, scale.std_half)
        inputs.append(Inputs(rows, half0, half1))
    return inputs


def _tiles(sampler: CropSampler, config: NetworkConfig) -> tuple[int, int]:
    """Largest edge and least overlap of the tiles."""
    return tile_size(config, sampler.size), sampler.size // 3 // config.multiple * config.multiple


def _halves(pair: TomogramPair, sampler: CropSampler) -> int:
    """How many volumes are inputs."""
    return 1 if sampler.swap == "never" or pair.half1 is pair.half0 else 2
