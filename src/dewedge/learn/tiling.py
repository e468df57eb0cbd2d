"""Overlapping tiles along one axis, and the weights that blend them.

Tiles of a volume are products of those of its axes, and so are their weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.learn.network import NetworkConfig

TILE = 128  # of 64 to 160 the best compromise of speed, overlap and memory on CPUs (docs/notebook/speed.md)


def tile_size(network: NetworkConfig, cube_size: int) -> int:
    """Edge, in voxels, of tiles that suit a network: the cubes' where its normalisation depends on it."""
    return cube_size if network.normalisation == "instance" else TILE


class AxisTiles(NamedTuple):
    """Tiles of one edge that cover an axis of n voxels, padded to a multiple of the network's.

    Attributes
    ----------
    source
        ``(padded,)`` index of the voxel each voxel of the padded axis comes from: itself, then reflected.
    size
        Edge of the tiles.
    starts
        First voxel of each tile; the last tile ends with the padded axis.
    weights
        ``(n_tiles, size)`` float32, positive; at every voxel they add up to 1.
    """

    source: NDArray[np.int64]
    size: int
    starts: list[int]
    weights: NDArray[np.float32]


def tile_axis(n: int, largest: int, overlap: int, multiple: int) -> AxisTiles:
    """Cover an axis by the fewest tiles, evenly spread.

    All starts are multiples of ``multiple``, as the edges are: a network that is equivariant to shifts by
    that many voxels does the same in every tile. Tiles are made smaller where as many still overlap enough.

    Parameters
    ----------
    n
        Voxels of the axis.
    largest
        Largest edge of a tile, a multiple of ``multiple``.
    overlap
        Least overlap of neighbours, over which the weights rise (raised cosine).
    multiple
        What the network needs.

    Raises
    ------
    InputError
        If the tile is no multiple, or does not exceed the overlap.

    Examples
    --------
    >>> tiles = tile_axis(20, largest=8, overlap=2, multiple=2)
    >>> tiles.starts, tiles.size
    ([0, 6, 12], 8)
    """
    if largest < multiple or largest % multiple:
        raise InputError(f"tile of {largest} voxels: expected a multiple of {multiple} for this network")
    overlap = _up_to_multiple(overlap, multiple)
    if not 0 <= overlap < largest:
        raise InputError(
            f"overlap of {overlap} voxels: expected at least 0 and less than the tile, {largest}"
        )
    padded = _up_to_multiple(n, multiple)
    count = max(1, -(-(padded - overlap) // (largest - overlap)))
    size = padded if count == 1 else _up_to_multiple(-(-(padded - overlap) // count) + overlap, multiple)
    starts = [(padded - size) * i // max(count - 1, 1) // multiple * multiple for i in range(count)]

    inside = np.arange(size)
    depth = np.minimum(inside, inside[::-1]) + 0.5
    window = np.sin(np.pi / 2 * np.minimum(depth / max(overlap, 0.5), 1)) ** 2
    total = np.zeros(padded)
    for start in starts:
        total[start : start + size] += window
    weights = np.stack([window / total[start : start + size] for start in starts])
    source = np.pad(np.arange(n), (0, padded - n), mode="reflect")
    return AxisTiles(source, size, starts, weights.astype(np.float32))


def tile_groups(axis: AxisTiles, largest: int) -> list[range]:
    """Tiles in groups of neighbours that span at most ``largest`` voxels together, or are one tile alone.

    Examples
    --------
    >>> tile_groups(tile_axis(20, largest=8, overlap=2, multiple=2), largest=14)
    [range(0, 2), range(2, 3)]
    """
    groups: list[range] = []
    first = 0
    for i, start in enumerate(axis.starts):
        if i > first and start + axis.size - axis.starts[first] > largest:
            groups.append(range(first, i))
            first = i
    return [*groups, range(first, len(axis.starts))]


def smaller_tile(tile: int, overlap: int, network: NetworkConfig) -> int | None:
    """Edge of about half the length; None if it would not exceed the overlap, or the result depend on it.

    All lengths are in voxels.
    """
    half = tile // 2 // network.multiple * network.multiple
    usable = half > _up_to_multiple(overlap, network.multiple) and network.normalisation != "instance"
    return half if usable else None


def _up_to_multiple(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
