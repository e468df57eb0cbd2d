"""Particle lists as RELION's STAR files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from dewedge.errors import InputError, shown
from dewedge.geometry import Floats
from dewedge.io.files import StrPath, write_text_atomic
from dewedge.io.star import Table, numbers, read_star

_COORDINATES = ["rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX"]
_ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
_NAME, _SPECIES, _PIXEL_SIZE = "rlnTomoName", "dewedgeSpecies", "rlnTomoTiltSeriesPixelSize"
_RADIUS = "dewedgeRadiusAngst"

# What the library that writes takes for no value.
_MISSING = ("", "nan", "NaN", "<NA>")


@dataclass(frozen=True, eq=False)
class Particles:
    """Places, species and rotations of the particles of a tomogram.

    Parameters
    ----------
    centre_zyx
        ``(n, 3)`` index coordinates in voxels: the voxel of index i has coordinate i.
    species
        What each particle is.
    rotations
        ``(n, 3, 3)`` matrices that multiply (z, y, x) column vectors of the reference from the left and
        give those of the particle in the tomogram; None if not known.
    voxel_size_A
        Voxel size of the tomogram in Angstrom; None if not known.
    radii_A
        ``(n,)`` radii of round particles, such as gold beads, in Angstrom; None if not known.
    """

    centre_zyx: Floats
    species: tuple[str, ...]
    rotations: Floats | None
    voxel_size_A: float | None
    radii_A: Floats | None = None


def write_particles(
    path: StrPath,
    centre_zyx: ArrayLike,
    species: Sequence[str],
    *,
    voxel_size_A: float,
    tomogram_name: str,
    rotations: ArrayLike | None = None,
    radii_A: ArrayLike | None = None,
) -> None:
    """Write a particle list; the arguments are those of `Particles`.

    The angles are RELION's, in degrees: the matrix ``Z(rot) Y(tilt) Z(psi)`` on (x, y, z) column vectors
    (right-handed turns) takes the particle onto the reference. Ours is its inverse, with the axes reversed.

    Raises
    ------
    ValueError
        If the numbers of centres and species differ, or a name cannot be in a STAR file.
    UnwritableError
        If the file cannot be written.
    """
    import pandas as pd
    import starfile

    centres = np.asarray(centre_zyx, dtype=np.float64).reshape(-1, 3)
    if len(species) != len(centres):
        raise ValueError(f"{len(centres)} centres, but {len(species)} species")
    for text in (tomogram_name, *species):
        if text in _MISSING or set(text) & set("\"'#\t\r\n"):
            raise ValueError(f"{shown(text)} cannot be written to a STAR file")
    columns: dict[str, object] = {_NAME: [tomogram_name] * len(centres)}
    columns |= {name: centres[:, i] for i, name in reversed(list(enumerate(_COORDINATES)))}
    if rotations is not None:
        matrices_xyz = np.asarray(rotations, dtype=np.float64).reshape(-1, 3, 3)[:, ::-1, ::-1]
        eulers = np.empty((0, 3))
        if len(matrices_xyz):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # tilt 0: any rot + psi of the same sum will do
                eulers = Rotation.from_matrix(matrices_xyz).inv().as_euler("ZYZ", degrees=True)
        columns |= {name: eulers[:, i] for i, name in enumerate(_ANGLES)}
    columns |= {_SPECIES: list(species), _PIXEL_SIZE: np.full(len(centres), voxel_size_A)}
    if radii_A is not None:
        columns[_RADIUS] = np.asarray(radii_A, dtype=np.float64)
    write_text_atomic(path, starfile.to_string({"particles": pd.DataFrame(columns)}))


def read_particles(path: StrPath) -> Particles:
    """Read a particle list, ours or RELION's (whose species are then "particle").

    Raises
    ------
    InputError
        If the file cannot be read or has no table with coordinates.
    """
    tables = [table for table in read_star(path).values() if set(_COORDINATES) <= set(table)]
    if not tables:
        raise InputError(f"{path}: expected a STAR file with a table of {', '.join(_COORDINATES)}")
    table = tables[0]
    centres = _numbers(path, table, _COORDINATES)
    rotations = None
    if set(_ANGLES) <= set(table):
        eulers = _numbers(path, table, _ANGLES)
        rotations = np.empty((0, 3, 3))
        if len(eulers):
            rotations = (
                Rotation.from_euler("ZYZ", eulers, degrees=True).inv().as_matrix()[:, ::-1, ::-1].copy()
            )
    sizes = numbers(path, table, _PIXEL_SIZE) if _PIXEL_SIZE in table else np.empty(0)
    species = table.get(_SPECIES, ["particle"] * len(centres))
    radii = numbers(path, table, _RADIUS) if _RADIUS in table else None
    return Particles(centres, tuple(species), rotations, float(sizes[0]) if sizes.size else None, radii)


def _numbers(path: StrPath, table: Table, columns: Sequence[str]) -> Floats:
    return np.stack([numbers(path, table, column) for column in columns], axis=1)
