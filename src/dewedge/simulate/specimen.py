"""A frozen specimen with known truth: molecules, membranes and gold beads in a slab of ice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dewedge.errors import InputError
from dewedge.geometry import Floats
from dewedge.simulate.molecules import Molecule

Box = tuple[slice, slice, slice]

# Number densities behind the defaults. 13 kinds of protein, about 200 of each, in 512 x 512 x 200 voxels of
# 10 A (SHREC 2020) are 50 molecules in a cube of 100 nm.
MOLECULES_PER_A3 = 60 / 1000**3
AREA_PER_MEMBRANE_A2 = 1300.0**2
AREA_PER_GOLD_A2 = 1100.0**2

# Densities above this are molecule, and no two molecules share such a voxel or touch.
OCCUPIED = 0.1

GOLD_RADIUS_A = 50.0
GOLD_DENSITY = 6.0
LEAFLET_DISTANCE_A = 40.0
LEAFLET_SIGMA_A = 7.0
MEMBRANE_REACH_A = 45.0
LARGEST_VESICLE_A = 500.0

POSITIONS_PER_ROTATION = 300
FAILURES_BEFORE_CROWDED = 30


@dataclass(frozen=True, eq=False)
class Specimen:
    """A simulated specimen.

    Parameters
    ----------
    volume
        ``(z, y, x)`` float32 density, protein positive: the contrast to ice, 0 in ice and about 1 in protein.
    voxel_size_A
        Voxel size in Angstrom.
    species
        Name of each particle's molecule.
    centres_zyx
        ``(n, 3)`` voxel index of each particle's centre of mass.
    rotations
        ``(n, 3, 3)`` matrices R that multiply (z, y, x) column vectors from the left: the particle at c has
        the density m(R^T (r - c)) of its molecule m.
    gold_centres_zyx
        ``(n_gold, 3)`` centres of the gold beads in voxels.
    """

    volume: NDArray[np.float32]
    voxel_size_A: float
    species: tuple[str, ...]
    centres_zyx: NDArray[np.int64]
    rotations: Floats
    gold_centres_zyx: NDArray[np.int64]


def simulate_specimen(
    shape_zyx: tuple[int, int, int],
    molecules: Sequence[Molecule],
    rng: np.random.Generator,
    n_particles: int | None = None,
    n_membranes: int | None = None,
    n_gold: int | None = None,
    ice_thickness_A: float | None = None,
) -> Specimen:
    """Place gold, vesicles and uniformly rotated molecules at random in a slab of ice, without overlap.

    Parameters
    ----------
    shape_zyx
        Shape of the volume.
    molecules
        The species, each equally likely; their voxel size is that of the specimen.
    n_particles
        Number of molecules; fewer are placed where no room is found for more. By default as crowded as
        in the SHREC 2020 data; a large number fills the ice.
    n_membranes
        Number of ellipsoidal vesicles with two leaflets, 40 A apart. The volume's sides may cut them.
    n_gold
        Number of gold beads of 10 nm at the surfaces of the ice.
    ice_thickness_A
        Thickness of the slab, in the middle of z; nothing lies outside it. By default three quarters of z.

    Raises
    ------
    InputError
        If a molecule is too large for the volume, or there is no room for the gold, the membranes or any
        molecule.
    """
    if not molecules:
        raise ValueError("expected at least one molecule")
    voxel_size_A = molecules[0].voxel_size_A
    if any(molecule.voxel_size_A != voxel_size_A for molecule in molecules):
        raise ValueError("expected molecules of one voxel size")
    if min(n_particles or 0, n_membranes or 0, n_gold or 0) < 0:
        raise InputError("specimen: expected counts of particles, membranes and gold of 0 or more")
    ice = _ice_slab(shape_zyx[0], voxel_size_A, ice_thickness_A)
    for molecule in molecules:
        if min(shape_zyx) < (n := molecule.density.shape[0]):
            raise InputError(
                f"molecule {molecule.name}: its box of {n} voxels is larger than the specimen {shape_zyx}; "
                "make the specimen larger or leave the molecule out"
            )
    area_A2 = shape_zyx[1] * shape_zyx[2] * voxel_size_A**2
    thickness_A = (ice.stop - ice.start) * voxel_size_A
    if n_particles is None:
        n_particles = round(MOLECULES_PER_A3 * area_A2 * thickness_A)
    largest_vesicle_A = min(LARGEST_VESICLE_A, thickness_A / 2 - MEMBRANE_REACH_A)
    if n_membranes is None:
        n_membranes = round(area_A2 / AREA_PER_MEMBRANE_A2) if largest_vesicle_A > 150 else 0
    if n_gold is None:
        n_gold = round(area_A2 / AREA_PER_GOLD_A2)

    volume = np.zeros(shape_zyx, dtype=np.float32)
    occupied = np.ones(shape_zyx, dtype=bool)
    occupied[ice] = False
    gold = _add_gold(volume, occupied, ice, n_gold, voxel_size_A, rng)
    add_membranes(volume, occupied, ice, n_membranes, largest_vesicle_A, voxel_size_A, rng)
    species, centres, rotations = add_molecules(volume, occupied, ice, molecules, n_particles, rng)
    if n_particles and not species:
        raise InputError("specimen: no molecule found room; make the specimen larger or the ice thicker")
    return Specimen(volume, voxel_size_A, species, centres, rotations, gold)


def rotate_density(coefficients: NDArray[np.float32], rotation: Floats) -> NDArray[np.float32]:
    """Density m(R^T r) about index N // 2 of each axis, from the cubic spline coefficients of m.

    ``rotation`` R multiplies (z, y, x) column vectors from the left. Coefficients come from
    ``scipy.ndimage.spline_filter``, computed once a molecule.
    """
    middle = np.array(coefficients.shape) // 2
    rotated = ndimage.affine_transform(
        coefficients,
        rotation.T,
        offset=middle - rotation.T @ middle,
        order=3,
        mode="constant",
        prefilter=False,
        output=np.float32,
    )
    return np.asarray(rotated)


def _ice_slab(depth: int, voxel_size_A: float, thickness_A: float | None) -> slice:
    thickness = round(0.75 * depth) if thickness_A is None else round(thickness_A / voxel_size_A)
    if not 1 <= thickness <= depth:
        raise InputError(
            f"ice thickness {thickness_A:g} A: expected at least one voxel "
            f"and at most the specimen's {depth * voxel_size_A:g} A"
        )
    start = (depth - thickness) // 2
    return slice(start, start + thickness)


def _add_gold(
    volume: NDArray[np.float32],
    occupied: NDArray[np.bool_],
    ice: slice,
    n_gold: int,
    voxel_size_A: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    radius = GOLD_RADIUS_A / voxel_size_A
    half = int(np.ceil(radius + 1))
    low = np.array([ice.start + half, half, half])
    high = np.array([ice.stop - half, volume.shape[1] - half, volume.shape[2] - half])
    if n_gold and (low >= high).any():
        raise InputError(
            "gold: the ice or the specimen is too small for beads of 10 nm; ask for none, or for thicker ice"
        )
    axis = np.arange(-half, half + 1)
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    bead = (GOLD_DENSITY * np.clip(radius - distance + 0.5, 0, 1)).astype(np.float32)
    centres: list[NDArray[np.int64]] = []
    for _ in range(n_gold):
        for _ in range(POSITIONS_PER_ROTATION):
            centre = rng.integers(low, high)
            centre[0] = rng.choice([ice.start + half, ice.stop - 1 - half])
            box = _box(centre, half)
            if not occupied[box].any():
                break
        else:
            raise InputError(f"gold: found room for {len(centres)} of {n_gold} beads; ask for fewer")
        volume[box] += bead
        occupied[box] |= distance < radius + 1.5
        centres.append(centre)
    return np.array(centres, dtype=np.int64).reshape(-1, 3)


def add_membranes(
    volume: NDArray[np.float32],
    occupied: NDArray[np.bool_],
    ice: slice,
    n_membranes: int,
    largest_A: float,
    voxel_size_A: float,
    rng: np.random.Generator,
) -> None:
    """Add vesicles with semi-axes of 0.26 to 1 of the largest that the ice holds; they may be nested.

    ``volume`` and ``occupied``, both ``(z, y, x)``, are changed; centres lie in the planes of ``ice``.

    Raises
    ------
    InputError
        If the ice is too thin for any, or there is no room.
    """
    if n_membranes and largest_A < 100:
        raise InputError(
            f"membranes: the ice is too thin for vesicles of radius {largest_A:.0f} A; make it thicker"
        )
    for placed in range(n_membranes):
        for _ in range(POSITIONS_PER_ROTATION):
            axes_A = largest_A * rng.uniform(0.35, 1) * np.array([1.0, *rng.uniform(0.75, 1, size=2)])
            rotation = _random_rotation(rng)
            half = (axes_A.max() + MEMBRANE_REACH_A) / voxel_size_A
            low = np.array([ice.start + half, 0, 0])
            high = np.array([ice.stop - 1 - half, volume.shape[1] - 1, volume.shape[2] - 1])
            centre = rng.uniform(low, np.maximum(low, high))
            box, distance_A = _distance_to_ellipsoid(
                centre, axes_A, rotation, half, volume.shape, voxel_size_A
            )
            if not occupied[box][distance_A < MEMBRANE_REACH_A].any():
                break
        else:
            raise InputError(f"membranes: found room for {placed} of {n_membranes} vesicles; ask for fewer")
        # As for maps, a voxel holds the density smoothed by a Gaussian of half its size.
        variance = LEAFLET_SIGMA_A**2 + voxel_size_A**2 / 4
        leaflets = [
            np.exp(-((distance_A + side * LEAFLET_DISTANCE_A / 2) ** 2) / (2 * variance)) for side in (-1, 1)
        ]
        volume[box] += (LEAFLET_SIGMA_A / np.sqrt(variance) * sum(leaflets)).astype(np.float32)
        occupied[box] |= np.abs(distance_A) < MEMBRANE_REACH_A


def _distance_to_ellipsoid(
    centre: Floats,
    axes_A: Floats,
    rotation: Floats,
    half: float,
    shape_zyx: tuple[int, ...],
    voxel_size_A: float,
) -> tuple[Box, Floats]:
    """The box about an ellipsoid, cut at the volume, and the distance from its surface, inside negative."""
    box = tuple(
        slice(max(0, int(np.floor(c - half))), min(n, int(np.ceil(c + half)) + 1))
        for c, n in zip(centre, shape_zyx, strict=True)
    )
    grid = np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij")
    offset_A = (np.stack(grid, axis=-1) - centre) * voxel_size_A
    scaled = offset_A @ rotation / axes_A
    level = np.linalg.norm(scaled, axis=-1)
    slope = np.linalg.norm(scaled / axes_A, axis=-1)
    distance_A = np.where(level > 1e-6, (level - 1) * level / np.maximum(slope, 1e-9), -axes_A.min())
    return (box[0], box[1], box[2]), distance_A


def add_molecules(
    volume: NDArray[np.float32],
    occupied: NDArray[np.bool_],
    ice: slice,
    molecules: Sequence[Molecule],
    n_particles: int,
    rng: np.random.Generator,
    n_rotations: int | None = None,
) -> tuple[tuple[str, ...], NDArray[np.int64], Floats]:
    """Add molecules to a volume by random sequential addition, until so many are placed or none finds room.

    Each particle tries many positions. ``volume`` and ``occupied``, both ``(z, y, x)``, are changed.

    Parameters
    ----------
    occupied
        True where no molecule may be; what the new ones fill becomes True, with a border of one voxel.
    ice
        Planes in which their centres may lie.
    n_rotations
        Number of random rotations of each molecule, made once and drawn from; each particle has its own if
        not given.

    Returns
    -------
    tuple
        Species, ``(n, 3)`` centres and ``(n, 3, 3)`` rotations as in `Specimen`.
    """
    coefficients = [ndimage.spline_filter(molecule.density, output=np.float32) for molecule in molecules]
    species: list[str] = []
    centres: list[NDArray[np.int64]] = []
    rotations: list[Floats] = []
    failures = 0
    made: dict[tuple[int, int], _Turned] = {}
    while len(species) < n_particles and failures < FAILURES_BEFORE_CROWDED:
        kind = int(rng.integers(len(molecules)))
        if n_rotations is None:
            turned = _turned(coefficients[kind], rng)
        else:
            key = (kind, int(rng.integers(n_rotations)))
            turned = made.get(key) or _turned(coefficients[kind], rng)
            made[key] = turned
        centre = _free_position(occupied, ice, turned.inside, rng)
        if centre is None:
            failures += 1
            continue
        failures = 0
        box = _box(centre, turned.density.shape[0] // 2)
        volume[box] += turned.density
        occupied[box] |= turned.touched
        species.append(molecules[kind].name)
        centres.append(centre)
        rotations.append(turned.rotation)
    return (
        tuple(species),
        np.array(centres, dtype=np.int64).reshape(-1, 3),
        np.array(rotations, dtype=np.float64).reshape(-1, 3, 3),
    )


class _Turned(NamedTuple):
    """A rotated molecule: what it fills, and that dilated once, so that two molecules never touch."""

    rotation: Floats
    density: NDArray[np.float32]
    inside: NDArray[np.bool_]
    touched: NDArray[np.bool_]


def _turned(coefficients: NDArray[np.float32], rng: np.random.Generator) -> _Turned:
    rotation = _random_rotation(rng)
    density = rotate_density(coefficients, rotation)
    inside = density > OCCUPIED
    return _Turned(rotation, density, inside, ndimage.binary_dilation(inside, np.ones((3, 3, 3), dtype=bool)))


def _free_position(
    occupied: NDArray[np.bool_], ice: slice, inside: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """A random centre of the whole box within the volume, where ``inside`` meets nothing occupied."""
    half = inside.shape[0] // 2
    low = np.array([max(half, ice.start), half, half])
    high = np.array(
        [min(occupied.shape[0] - half, ice.stop), occupied.shape[1] - half, occupied.shape[2] - half]
    )
    if (low >= high).any():
        return None
    candidates = rng.integers(low, high, size=(POSITIONS_PER_ROTATION, 3))
    for centre in candidates[~occupied[tuple(candidates.T)]]:
        if not (occupied[_box(centre, half)] & inside).any():
            return np.asarray(centre)
    return None


def _box(centre: NDArray[np.int64], half: int) -> Box:
    z, y, x = (slice(int(c) - half, int(c) + half + 1) for c in centre)
    return z, y, x


def _random_rotation(rng: np.random.Generator) -> Floats:
    """Uniform on SO(3)."""
    return np.asarray(Rotation.from_quat(rng.normal(size=4)).as_matrix())
