"""Specimens wider than the field of view: a cell in ice, a lamella, or purified molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import Floats
from dewedge.simulate.crowd import small_proteins
from dewedge.simulate.gold import Beads, place_beads
from dewedge.simulate.molecules import Molecule
from dewedge.simulate.specimen import (
    LARGEST_VESICLE_A,
    LEAFLET_DISTANCE_A,
    LEAFLET_SIGMA_A,
    MEMBRANE_REACH_A,
    MOLECULES_PER_A3,
    add_membranes,
    add_molecules,
)

SpecimenKind = Literal["cell", "lamella", "purified"]

# Thickness of the ice. 10499: the gold at its two surfaces lies 1860 A apart. Lamellae are milled to 1000 to
# 2500 A (Wagner et al. 2020, Nat. Protoc. 15, 2041); films of purified molecules have some 500 to 1000 A.
ICE_THICKNESS_A: dict[str, float] = {"cell": 1800.0, "lamella": 1600.0, "purified": 1000.0}
# Slope of one surface of the ice against the other: smoothed images of 10499 vary by 0.93 to 1.10 of their
# mean untilted, by 0.77 to 1.29 at -60 degrees.
ICE_SLOPE = 0.03
# Number density of large molecules in a cell, some 8 % of its volume, and the share that small proteins take:
# together the 300 to 400 g per litre of a bacterium (Zimmerman and Trach 1991, J. Mol. Biol. 222, 599).
MOLECULES_PER_CELL_A3, CROWD_FRACTION = 90 / 1000**3, 0.2
# Rotations of each molecule: thousands of particles share them, which saves most of the time.
ROTATIONS = 100
# Half of the width of a Mycoplasma cell in 10499, and what it leaves free of the field on both sides.
CELL_HALF_WIDTH_A = 2000.0
CELL_SHARE_OF_FIELD = 0.31
CELL_BELOW_SURFACE_A = 160.0
# The next cell begins this far beyond the field's edge.
NEIGHBOUR_A = 200.0
AREA_PER_VESICLE_A2 = {"cell": 6000.0**2, "lamella": 3000.0**2, "purified": 2500.0**2}


@dataclass(frozen=True, eq=False)
class CrowdedSpecimen:
    """A specimen that reaches beyond the field of view.

    Parameters
    ----------
    volume
        ``(z, y, x)`` float32 density of all but gold: the contrast to ice, 0 in ice, about 1 in protein.
    voxel_size_A
        Voxel size in Angstrom.
    ice_thickness_A
        Thickness of the ice, in the middle of z.
    ice_slope_yx
        ``(2,)`` change of that thickness with y and x; only the loss of electrons follows it.
    species, centres_zyx, rotations
        The large molecules, as in `dewedge.simulate.specimen.Specimen`.
    beads
        The gold beads.
    """

    volume: NDArray[np.float32]
    voxel_size_A: float
    ice_thickness_A: float
    ice_slope_yx: Floats
    species: tuple[str, ...]
    centres_zyx: NDArray[np.int64]
    rotations: Floats
    beads: Beads


def crowded_specimen(
    kind: SpecimenKind,
    shape_zyx: tuple[int, int, int],
    field_yx: tuple[int, int],
    molecules: Sequence[Molecule],
    rng: np.random.Generator,
    *,
    crowding: bool = True,
    beyond: bool = True,
    n_particles: int | None = None,
    n_membranes: int | None = None,
    n_gold: int | None = None,
    ice_thickness_A: float | None = None,
) -> CrowdedSpecimen:
    """Fill a volume with a specimen in whose middle the field of view lies.

    Parameters
    ----------
    kind
        ``cell``: an elongated cell with its membrane, ice beside it, and the next cell beyond the field.
        ``lamella``: a slab of cytoplasm with vesicles that its surfaces do not cut. ``purified``: molecules
        and vesicles in ice.
    shape_zyx
        Shape of the volume.
    field_yx
        Shape of the field of view, about index N // 2.
    molecules
        The species of large molecules, each equally likely.
    crowding
        Small proteins fill what the large molecules leave of cell or lamella.
    beyond
        There is matter beyond the field, too; else only ice.
    n_particles, n_membranes, n_gold
        Numbers of molecules, vesicles and beads in the field of view; the density beyond is the same.
    ice_thickness_A
        Thickness of the ice; at most that of the volume.

    Raises
    ------
    InputError
        If a number cannot be used, or what is to be placed finds no room.
    """
    gold_rng, body_rng, vesicle_rng, molecule_rng, crowd_rng = rng.spawn(5)
    voxel_size_A = molecules[0].voxel_size_A
    if min(n_particles or 0, n_membranes or 0, n_gold or 0) < 0:
        raise InputError("specimen: expected counts of particles, membranes and gold of 0 or more")
    depth_A = shape_zyx[0] * voxel_size_A
    thickness_A = min(ICE_THICKNESS_A[kind], 0.9 * depth_A) if ice_thickness_A is None else ice_thickness_A
    planes = round(thickness_A / voxel_size_A)
    if not 1 <= planes <= shape_zyx[0]:
        raise InputError(
            f"ice thickness {thickness_A:g} A: expected at least one voxel "
            f"and at most the specimen's {depth_A:g} A"
        )
    ice = slice((shape_zyx[0] - planes) // 2, (shape_zyx[0] - planes) // 2 + planes)
    field_A2 = field_yx[0] * field_yx[1] * voxel_size_A**2
    larger = shape_zyx[1] * shape_zyx[2] / (field_yx[0] * field_yx[1])

    beads = place_beads(
        shape_zyx, field_yx, thickness_A, n_gold, voxel_size_A, gold_rng, gold_free=kind == "lamella"
    )
    volume = np.zeros(shape_zyx, dtype=np.float32)
    occupied = np.ones(shape_zyx, dtype=bool)
    occupied[ice] = False
    inside = ~occupied
    if kind == "cell":
        distance_A = _distance_to_cells(shape_zyx, field_yx, voxel_size_A, thickness_A, body_rng)
        volume += _membrane(distance_A, voxel_size_A)
        inside = distance_A < -MEMBRANE_REACH_A
        outside = occupied | (distance_A < MEMBRANE_REACH_A)
        occupied |= ~inside
        del distance_A
    else:
        outside = occupied
    largest_A = min(LARGEST_VESICLE_A, thickness_A / 2 - MEMBRANE_REACH_A - voxel_size_A)
    # Vesicles lie beside a cell, and in a lamella.
    if n_membranes is not None:
        add_membranes(volume, outside, ice, round(n_membranes * larger), largest_A, voxel_size_A, vesicle_rng)
    elif largest_A > 150:
        for _ in range(round(larger * field_A2 / AREA_PER_VESICLE_A2[kind])):
            try:
                add_membranes(volume, outside, ice, 1, largest_A, voxel_size_A, vesicle_rng)
            except InputError:
                break  # No room beside the cells; nobody asked for this number.
    occupied |= np.abs(volume) > 0.02
    if n_particles is None:
        density = MOLECULES_PER_A3 if kind == "purified" else MOLECULES_PER_CELL_A3
        n_particles = round(density * float(inside.sum()) * voxel_size_A**3)
    else:
        n_particles = round(n_particles * larger)
    species, centres, rotations = add_molecules(
        volume, occupied, ice, molecules, n_particles, molecule_rng, ROTATIONS
    )
    if crowding and kind != "purified":
        room = inside & ~occupied
        volume += small_proteins(room, voxel_size_A, CROWD_FRACTION, crowd_rng)
    if not beyond:
        edge = [n // 2 - f // 2 for n, f in zip(shape_zyx[1:], field_yx, strict=True)]
        kept = np.zeros(shape_zyx[1:], dtype=bool)
        kept[edge[0] : edge[0] + field_yx[0], edge[1] : edge[1] + field_yx[1]] = True
        volume[:, ~kept] = 0
    direction = body_rng.uniform(0, 2 * np.pi)
    slope = ICE_SLOPE * np.array([np.sin(direction), np.cos(direction)])
    return CrowdedSpecimen(volume, voxel_size_A, thickness_A, slope, species, centres, rotations, beads)


def _distance_to_cells(
    shape_zyx: tuple[int, int, int],
    field_yx: tuple[int, int],
    voxel_size_A: float,
    thickness_A: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Distance in A from the nearest cell's surface, inside negative: parallel rods of elliptic section."""
    field_A = min(field_yx) * voxel_size_A
    half_width = min(CELL_HALF_WIDTH_A, CELL_SHARE_OF_FIELD * field_A) * rng.uniform(0.9, 1.1)
    half_height = max(thickness_A / 2 - CELL_BELOW_SURFACE_A, 0.3 * thickness_A)
    turn = rng.choice([-1, 1]) * np.radians(rng.uniform(15, 35))
    period = field_yx[1] * voxel_size_A / 2 + 2 * half_width + NEIGHBOUR_A
    z, y, x = (
        ((np.arange(n) - n // 2) * voxel_size_A).reshape([-1 if i == j else 1 for j in range(3)])
        for i, n in enumerate(shape_zyx)
    )
    along = (y * np.cos(turn) + x * np.sin(turn))[0]
    across = (x * np.cos(turn) - y * np.sin(turn))[0] - rng.uniform(-0.06, 0.06) * field_A
    waves = sum(
        amplitude * np.sin(2 * np.pi * along / length + rng.uniform(0, 2 * np.pi))
        for amplitude, length in ((0.06, 9000.0), (0.04, 4100.0), (0.02, 1700.0))
    )
    a, b = half_width * (1 + waves), half_height
    s = (across + period / 2) % period - period / 2
    distance = np.empty(shape_zyx, dtype=np.float32)
    for plane, height in zip(distance, z.ravel(), strict=True):
        level = np.hypot(s / a, height / b)
        slope = np.hypot(s / a**2, height / b**2)
        plane[...] = np.where(level > 1e-3, (level - 1) * level / np.maximum(slope, 1e-9), -b)
    return distance


def _membrane(distance_A: NDArray[np.float32], voxel_size_A: float) -> NDArray[np.float32]:
    """Two leaflets at a surface, smoothed as a voxel smooths."""
    variance = LEAFLET_SIGMA_A**2 + voxel_size_A**2 / 4
    near = np.abs(distance_A) < LEAFLET_DISTANCE_A / 2 + 5 * np.sqrt(variance)
    leaflets = sum(
        np.exp(-((distance_A[near] + side * LEAFLET_DISTANCE_A / 2) ** 2) / (2 * variance))
        for side in (-1, 1)
    )
    density = np.zeros_like(distance_A)
    density[near] = leaflets * (LEAFLET_SIGMA_A / np.sqrt(variance))
    return density
