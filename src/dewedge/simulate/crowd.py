"""A crowd of small proteins: what fills a cell between the large complexes, weak and at all frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import oaconvolve
from scipy.spatial import KDTree

# Volume per dalton of protein in A^3: partial specific volume 0.74 cm^3 per g (Erickson 2009, Biol. Proced.
# Online 11, 32).
VOLUME_PER_DALTON_A3 = 1.23
# Masses of the small proteins; each kind takes an equal share of the volume. The median bacterial protein has
# some 30 kDa (Brocchieri and Karlin 2005, Nucleic Acids Res. 33, 3390), and most of them form oligomers.
MASSES_KDA = (20.0, 40.0, 80.0)
# Radius of gyration in A of a globular protein: 2.2 residues^0.38, 110 Da each (Skolnick, Kolinski and Ortiz
# 1997, J. Mol. Biol. 265, 217).
_GYRATION_A, _GYRATION_EXPONENT, _RESIDUE_DA = 2.2, 0.38, 110.0
# Places tried at a time, for each protein that is still without one.
_TRIES = 4
_SUBVOXELS = 4  # of a voxel's edge, when a ball is sampled


def small_proteins(
    room: NDArray[np.bool_], voxel_size_A: float, volume_fraction: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Density of small proteins that fill ``room`` at random, none of them within another.

    Spheres of the proteins' volumes are placed at random, the largest first, where no other is (random
    sequential addition). Each protein is drawn at the voxel of its centre, as a ball that has its radius of
    gyration.

    Parameters
    ----------
    room
        ``(z, y, x)`` True where their centres may be.
    volume_fraction
        Share of the room that they take. Spheres placed so jam at 0.38; what finds no room is left out.

    Returns
    -------
    NDArray
        ``(z, y, x)`` float32, about 1 in solid protein. It leaks out of the room by a protein's radius.

    Source: Widom 1966, J. Chem. Phys. 44, 3888 (random sequential addition).
    """
    density = np.zeros(room.shape, dtype=np.float32)
    places = np.flatnonzero(room)
    placed: list[tuple[float, NDArray[np.float64]]] = []
    for mass_kDa in sorted(MASSES_KDA, reverse=True):
        volume_A3 = 1000 * mass_kDa * VOLUME_PER_DALTON_A3
        n = round(volume_fraction / len(MASSES_KDA) * places.size * voxel_size_A**3 / volume_A3)
        radius = (3 * volume_A3 / (4 * np.pi)) ** (1 / 3) / voxel_size_A
        centres = _place_spheres(places, room.shape, n, radius, placed, rng)
        placed.append((radius, centres))
        impulses = np.zeros(room.shape, dtype=np.float32)
        np.add.at(impulses, tuple(np.rint(centres).astype(int).T), np.float32(volume_A3 / voxel_size_A**3))
        gyration_A = _GYRATION_A * (1000 * mass_kDa / _RESIDUE_DA) ** _GYRATION_EXPONENT
        density += oaconvolve(impulses, _ball(gyration_A * np.sqrt(5 / 3) / voxel_size_A), mode="same")
    return density


def _place_spheres(
    places: NDArray[np.int64],
    shape: tuple[int, ...],
    n: int,
    radius: float,
    others: Sequence[tuple[float, NDArray[np.float64]]],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """``(n, 3)`` centres of spheres, in voxels, that overlap neither each other nor others; fewer if jammed.

    ``places`` are the flat indices of the voxels for them; ``others`` are radii and centres.
    """
    trees = [(other_radius, KDTree(centres)) for other_radius, centres in others if len(centres)]
    centres = np.empty((0, 3))
    while len(centres) < n:
        tried = places[rng.integers(places.size, size=_TRIES * (n - len(centres)))]
        points = np.stack(np.unravel_index(tried, shape), axis=1) + rng.uniform(-0.5, 0.5, (len(tried), 3))
        for other_radius, tree in (*trees, (radius, KDTree(centres))):
            reach = radius + other_radius
            points = points[np.isinf(tree.query(points, distance_upper_bound=reach)[0])]
        later = KDTree(points).query_pairs(2 * radius, output_type="ndarray")[:, 1]
        points = np.delete(points, later, axis=0)
        if not len(points):
            break
        centres = np.concatenate([centres, points[: n - len(centres)]])
    return centres


def _ball(radius: float) -> NDArray[np.float32]:
    """``(k, k, k)`` ball of this radius in voxels, of sum 1; k is odd.

    As for maps, a voxel holds the density smoothed by a Gaussian of half its size.
    """
    half = math.ceil(radius) + 2
    axis = np.arange(-half * _SUBVOXELS, half * _SUBVOXELS + 1) / _SUBVOXELS
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    ball = ndimage.gaussian_filter((distance <= radius).astype(np.float32), _SUBVOXELS / 2)
    sampled = ball[::_SUBVOXELS, ::_SUBVOXELS, ::_SUBVOXELS]
    return sampled / sampled.sum()
