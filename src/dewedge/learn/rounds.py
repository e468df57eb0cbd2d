"""Rounds of a fit, after each of which the network's prediction fills the missing wedge of its inputs.

A rotated crop lacks two wedges, its own and the one that is cut from it, but the tomogram to be refined lacks
one. With the crop's own wedge filled, the network is fitted to what it will be applied to.

Of a large tomogram one block is filled, and drawn from, in each round, and with it the part of the held-out
region that is looked at: a network that has learnt from filled inputs is validated on filled ones.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from dewedge.learn.fill import fill_wedge
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.objective import objective_of
from dewedge.learn.options import FitOptions
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.precision import AUTOCAST
from dewedge.learn.refine import RefineOptions
from dewedge.learn.sampling import CropSampler, Inputs, slices, whole_box
from dewedge.learn.tiling import tile_axis, tile_size
from dewedge.physics.rotation import source_size

AUTO_SHARE = 0.1  # of the time of a fit that goes into filling, where the interval is "auto"
STEP_COST = 3  # times the cost of applying the network: forward and backward pass
BLOCK_VOXELS = 2**24
BLOCK_CUBES = 2  # edge of a block, at least, in edges of the largest source of a crop


def round_epochs(sampler: CropSampler, config: NetworkConfig, options: FitOptions) -> int | None:
    """Epochs in a round; None if the inputs stay as they are.

    With the interval ``auto``, as many as cost ten times what filling costs, counted in voxels.

    Errors as `dewedge.learn.tiling.tile_axis`.
    """
    if not objective_of(options).has_rounds:
        return None
    if options.update_interval != "auto":
        return options.update_interval
    voxels = 0
    for number, pair in enumerate(sampler.pairs):
        for box in _boxes(sampler, number, 0):
            seen = _with_margin(box, pair, sampler.size)
            axes = [
                tile_axis(n, *_tiles(sampler, config), config.multiple) for n in (seen[1] - seen[0]).tolist()
            ]
            voxels += math.prod(len(axis.starts) * axis.size for axis in axes)
    epoch = STEP_COST * options.epoch_samples * options.cube_size**3
    return max(1, round(voxels / (AUTO_SHARE * epoch)))


def blocks(shape_zyx: tuple[int, int, int], size: int) -> list[NDArray[np.int64]]:
    """Boxes ``(2, 3)`` of one shape that cover a tomogram, as deep as it, for cubes of ``size`` voxels.

    They are square in y and x, but a small tomogram is one box. Their order is a shuffled one, so that few
    rounds see much of a tomogram.
    """
    depth, *section = shape_zyx
    if math.prod(shape_zyx) <= BLOCK_VOXELS:
        return [whole_box(shape_zyx)]
    edge = max(math.isqrt(BLOCK_VOXELS // depth), BLOCK_CUBES * source_size(size))
    height, width = (min(n, edge) for n in section)
    starts = [np.linspace(0, max(n - edge, 0), -(-n // edge)).astype(int) for n in section]
    boxes = [np.array([(0, y, x), (depth, y + height, x + width)]) for y, x in itertools.product(*starts)]
    return [boxes[i] for i in np.random.default_rng(0).permutation(len(boxes))]


def filled_inputs(
    sampler: CropSampler,
    config: NetworkConfig,
    weights: dict[str, Tensor],
    round_: int,
    fabric: Fabric,
    renormalise: bool = False,
) -> list[list[Inputs]]:
    """Fill the inputs of a round: boxes of half-set 0 of each tomogram, what they lack predicted.

    For ``renormalise`` and errors see :func:`~dewedge.learn.fill.fill_wedge`.
    """
    network = UNet(config)
    network.load_state_dict(weights)
    tile, overlap = _tiles(sampler, config)
    precision = fabric.strategy.precision.precision
    options = RefineOptions(
        tile=tile, overlap=overlap, precision=precision if precision in AUTOCAST else "32-true"
    )

    def filled(box: NDArray[np.int64], number: int) -> Inputs:
        pair = sampler.pairs[number]
        seen = _with_margin(box, pair, sampler.size)
        scale = sampler.grey_scales[number]
        part = pair.half0[slices(seen)]
        if sampler.clip is not None:
            reach = sampler.clip * scale.std_half
            part = np.clip(part, scale.mean - reach, scale.mean + reach)
        volume = fill_wedge(
            part,
            network,
            pair.tilt_range,
            options,
            input_std=float(np.std(part, dtype=np.float64)) / scale.std_half,
            device=fabric.device,
            renormalise=renormalise,
            fabric=fabric,
        )
        return Inputs(box, volume[slices(box - seen[0])])

    return [
        [filled(box, number) for box in _boxes(sampler, number, round_)]
        for number in range(len(sampler.pairs))
    ]


def _boxes(sampler: CropSampler, number: int, round_: int) -> list[NDArray[np.int64]]:
    """Boxes of a tomogram filled in a round: a block, and the validated part of the held-out region."""
    held_out = sampler.held_out[number]
    every = blocks(sampler.pairs[number].shape_zyx, sampler.size)
    possible = [box for box in every if _has_room(box, held_out)] or every
    validated = sampler.validated[number]
    apart = len(possible) > 1 and np.prod(validated[1] - validated[0]) > 0
    return [possible[round_ % len(possible)], *([validated] if apart else [])]


def _has_room(box: NDArray[np.int64], held_out: NDArray[np.int64]) -> bool:
    """True if half of a block or more lies on one side of the held-out region, which crops keep clear of.

    In others a place for a crop is found by many tries, or by none, and then it comes from where the wedge is
    not filled.
    """
    if np.prod(held_out[1] - held_out[0]) == 0:
        return True
    beside = np.maximum(box[1] - held_out[1], held_out[0] - box[0])
    return bool((2 * beside >= box[1] - box[0]).any())


def _with_margin(box: NDArray[np.int64], pair: TomogramPair, size: int) -> NDArray[np.int64]:
    """The box and a third of a cube more along y and x, where the tomogram goes on."""
    margin = np.array([0, 1, 1]) * (size // 3)
    return np.stack([np.maximum(box[0] - margin, 0), np.minimum(box[1] + margin, pair.shape_zyx)])


def _tiles(sampler: CropSampler, config: NetworkConfig) -> tuple[int, int]:
    """Largest edge and least overlap of the tiles."""
    return tile_size(config, sampler.size), sampler.size // 3 // config.multiple * config.multiple
