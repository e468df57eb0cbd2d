"""Gold beads: where they lie, and what they leave of the beam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import Floats
from dewedge.physics.fourier import fourier_crop

# Beads of nominally 10 nm: in 10499 their edges lie 42 A from their middles.
RADIUS_A, RADIUS_SIGMA_A = 42.0, 3.0
# 10499 shows 17 beads in 6300 x 6520 A.
AREA_PER_BEAD_A2 = 1550.0**2
# In 10499 a bead keeps 0.58 of what passes beside it, at all tilts, and is flat up to a fifth of its radius
# from its edge, with a bright fringe of 5 %: both amplitude and phase saturate within a path of some 20 A.
TRANSMISSION, PHASE_CONTRAST, SATURATION_A = 0.66, 0.7, 20.0
# Contrast of gold in the truth over that of protein: 10.57 A of scattering length (gemmi) in 16.96 A^3 are
# 29.8 V, less 4.5 V of ice, over 2.0 V. Images know saturation only.
DENSITY = 12.6
_TRIES = 300
# Beads are drawn with samples of this fraction of a pixel.
_OVERSAMPLING = 4


@dataclass(frozen=True, eq=False)
class Beads:
    """Gold beads.

    Parameters
    ----------
    centres_zyx
        ``(n, 3)`` index coordinates in voxels.
    radii_A
        ``(n,)`` radii in Angstrom.
    """

    centres_zyx: Floats
    radii_A: Floats


def place_beads(
    shape_zyx: tuple[int, int, int],
    field_yx: tuple[int, int],
    ice_thickness_A: float,
    n_gold: int | None,
    voxel_size_A: float,
    rng: np.random.Generator,
    gold_free: bool = False,
) -> Beads:
    """Put beads at random under both surfaces of the ice, none over another.

    Parameters
    ----------
    n_gold
        Number of beads in the field of view, and as dense beyond it; if not given, one in 1550 x 1550 A, or
        none with ``gold_free``.

    Raises
    ------
    InputError
        If there is no room.
    """
    in_field = field_yx[0] * field_yx[1]
    if n_gold is None:
        n_gold = 0 if gold_free else round(in_field * voxel_size_A**2 / AREA_PER_BEAD_A2)
    if n_gold and ice_thickness_A < 4 * RADIUS_A:
        raise InputError(f"gold: ice of {ice_thickness_A:g} A is too thin for beads of 10 nm; ask for none")
    low = np.array([n // 2 - f // 2 for n, f in zip(shape_zyx[1:], field_yx, strict=True)], dtype=np.float64)
    high = low + field_yx
    n_beyond = round(n_gold * (shape_zyx[1] * shape_zyx[2] / in_field - 1))
    centres: list[Floats] = []
    for i in range(n_gold + n_beyond):
        for _ in range(_TRIES):
            yx = rng.uniform(low + 3, high - 3) if i < n_gold else rng.uniform(0, shape_zyx[1:])
            if i >= n_gold and (yx >= low - 3).all() and (yx < high + 3).all():
                continue
            depth_A = ice_thickness_A / 2 - RADIUS_A - rng.uniform(5, 60)
            z = shape_zyx[0] // 2 + rng.choice([-1, 1]) * depth_A / voxel_size_A
            centre = np.array([z, *yx])
            if all(np.linalg.norm(centre - other) > 2.4 * RADIUS_A / voxel_size_A for other in centres):
                break
        else:
            raise InputError(
                f"gold: found room for {len(centres)} of {n_gold + n_beyond} beads; ask for fewer"
            )
        centres.append(centre)
    radii = np.clip(rng.normal(RADIUS_A, RADIUS_SIGMA_A, len(centres)), 0.7 * RADIUS_A, 1.3 * RADIUS_A)
    return Beads(np.array(centres, dtype=np.float64).reshape(-1, 3), radii)


def bead_image(shape_yx: tuple[int, int], centres_yx: Floats, radii_A: Floats, pixel_size_A: float) -> Tensor:
    """``(y, x)`` saturation of each pixel by beads, 1 - exp(-path in gold / 20 A), cut at Nyquist.

    Parameters
    ----------
    centres_yx
        ``(n, 2)`` coordinates of the beads' centres in pixels from index N // 2; those outside are cut.
    """
    fine_shape = (shape_yx[0] * _OVERSAMPLING, shape_yx[1] * _OVERSAMPLING)
    fine_A = pixel_size_A / _OVERSAMPLING
    image = np.zeros(fine_shape, dtype=np.float32)
    for centre, radius in zip(centres_yx * _OVERSAMPLING + np.array(fine_shape) // 2, radii_A, strict=True):
        half = int(np.ceil(radius / fine_A)) + 1
        middle = np.round(centre).astype(int)
        low, high = np.maximum(middle - half, 0), np.minimum(middle + half + 1, fine_shape)
        if (low >= high).any():
            continue
        y, x = (
            (np.arange(first, last) - c) * fine_A for first, last, c in zip(low, high, centre, strict=True)
        )
        path_A = 2 * np.sqrt(np.maximum(radius**2 - y[:, None] ** 2 - x**2, 0))
        box = image[low[0] : high[0], low[1] : high[1]]
        box[...] = np.maximum(box, 1 - np.exp(-path_A / SATURATION_A))
    return fourier_crop(torch.from_numpy(image), shape_yx)


def add_beads(volume: NDArray[np.float32], beads: Beads, voxel_size_A: float) -> None:
    """Add the beads' density, `DENSITY` times protein's, to a ``(z, y, x)`` volume, protein positive."""
    for centre, radius in zip(beads.centres_zyx, beads.radii_A, strict=True):
        half = int(np.ceil(radius / voxel_size_A)) + 1
        low = np.maximum(np.round(centre).astype(int) - half, 0)
        high = np.minimum(np.round(centre).astype(int) + half + 1, volume.shape)
        if (low >= high).any():
            continue
        offsets = np.meshgrid(
            *(np.arange(a, b) - c for a, b, c in zip(low, high, centre, strict=True)), indexing="ij"
        )
        distance = np.sqrt(sum(offset**2 for offset in offsets))
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        volume[box] += (DENSITY * np.clip(radius / voxel_size_A - distance + 0.5, 0, 1)).astype(np.float32)


def bead_mask(
    shape_zyx: tuple[int, int, int], beads: Beads, voxel_size_A: float, margin_A: float
) -> NDArray[np.bool_]:
    """``(z, y, x)`` True within ``margin_A`` of a bead."""
    mask = np.zeros(shape_zyx, dtype=bool)
    for centre, radius in zip(beads.centres_zyx, beads.radii_A, strict=True):
        reach = (radius + margin_A) / voxel_size_A
        low = np.maximum(np.floor(centre - reach).astype(int), 0)
        high = np.minimum(np.ceil(centre + reach).astype(int) + 1, shape_zyx)
        if (low >= high).any():
            continue
        offsets = np.meshgrid(
            *(np.arange(a, b) - c for a, b, c in zip(low, high, centre, strict=True)), indexing="ij"
        )
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        mask[box] |= sum(offset**2 for offset in offsets) <= reach**2
    return mask
