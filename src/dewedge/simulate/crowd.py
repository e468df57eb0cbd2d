"""A crowd of small proteins: what fills a cell between the large complexes, weak and at all frequencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Volume per dalton of protein in A^3: partial specific volume 0.74 cm^3 per g (Erickson 2009, Biol. Proced.
# Online 11, 32).
VOLUME_PER_DALTON_A3 = 1.23
# Masses of the small proteins; each kind takes an equal share of the volume. The median bacterial protein has
# some 30 kDa (Brocchieri and Karlin 2005, Nucleic Acids Res. 33, 3390), and most of them form oligomers.
MASSES_KDA = (20.0, 40.0, 80.0)
# Radius of gyration in A of a globular protein: 2.2 residues^0.38, 110 Da each (Skolnick, Kolinski and Ortiz
# 1997, J. Mol. Biol. 265, 217).
_GYRATION_A, _GYRATION_EXPONENT, _RESIDUE_DA = 2.2, 0.38, 110.0


def small_proteins(
    room: NDArray[np.bool_], voxel_size_A: float, volume_fraction: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Density of small proteins that fill ``room`` at random.

    Each protein is a Gaussian of its radius of gyration; its voxel is drawn, and where many came to lie by
    chance the density is lowered to the fluctuations of a fluid of hard spheres, which keep each other away:
    at frequency 0 their power is (1 - f)^4 / (1 + 2 f)^2 of that of independent ones, with f the volume
    fraction, and it returns to theirs beyond the reciprocal of the spheres' diameter.

    Parameters
    ----------
    room
        ``(z, y, x)`` True where they may be.
    volume_fraction
        Share of the room that they take.

    Returns
    -------
    NDArray
        ``(z, y, x)`` float32, 1 in solid protein. It leaks out of the room by a protein's radius.

    Sources: Percus and Yevick 1958, Phys. Rev. 110, 1; Thiele 1963, J. Chem. Phys. 39, 474 (compressibility).
    """
    density = np.zeros(room.shape, dtype=np.float32)
    if volume_fraction <= 0 or not room.any():
        return density
    places = np.flatnonzero(room)
    crowd = (1 - volume_fraction) ** 2 / (1 + 2 * volume_fraction)
    excess = np.zeros(room.shape, dtype=np.float32)
    for mass_kDa in MASSES_KDA:
        volume_A3 = 1000 * mass_kDa * VOLUME_PER_DALTON_A3
        share = volume_fraction / len(MASSES_KDA)
        n = rng.poisson(share * places.size * voxel_size_A**3 / volume_A3)
        at, count = np.unique(places[rng.integers(places.size, size=n)], return_counts=True)
        each = np.zeros(room.shape, dtype=np.float32)
        each.flat[at] = count * (volume_A3 / voxel_size_A**3)
        excess += each
        radius_A = _GYRATION_A * (1000 * mass_kDa / _RESIDUE_DA) ** _GYRATION_EXPONENT
        # As for maps, a voxel holds the density smoothed by a Gaussian of half its size.
        sigma_A = np.sqrt(radius_A**2 / 3 + voxel_size_A**2 / 4)
        density += ndimage.gaussian_filter(each, sigma_A / voxel_size_A, mode="constant", truncate=3)
    excess -= np.float32(volume_fraction) * room
    mean_volume_A3 = 1000 * np.mean(MASSES_KDA) * VOLUME_PER_DALTON_A3
    diameter_A = 2 * (3 * mean_volume_A3 / (4 * np.pi)) ** (1 / 3)
    even = ndimage.gaussian_filter(excess, diameter_A / 2 / voxel_size_A, mode="constant", truncate=3)
    density -= np.float32(1 - crowd) * even
    return density
