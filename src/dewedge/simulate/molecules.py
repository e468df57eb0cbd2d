"""Density maps of single molecules: from MRC maps, from atomic models, and built-in ones.

The unit of density is the contrast of solid protein to vitreous ice: 1 inside protein, 0 in ice. So the sum
of a map times its voxel volume is the volume of protein in cubic Angstrom. At 10 A per voxel the finite
resolution lets protein peak near 0.9.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dewedge.errors import InputError
from dewedge.geometry import Floats
from dewedge.io.mrc import read_mrc

MAP_SUFFIXES = (".mrc", ".map", ".ccp4", ".rec")
MODEL_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")

# Sum of electron scattering factors f(0) of the atoms without hydrogen, in A per A^3 of solid protein:
# 0.179 A per dalton (gemmi's form factors) times 0.753 dalton per A^3 (1.35 g per cm^3, less 7 % hydrogen).
SCATTERING_OF_SOLID_PROTEIN = 0.135

# What the densest tenth of a protein's mass comes to at 10 A per voxel in the unit above (four atomic models:
# 0.83 to 0.89). Maps of unknown grey scale are brought to it.
DENSEST_TENTH = 0.86
CALIBRATION_VOXEL_SIZE_A = 10.0

# Atoms are drawn with one B factor, since those of deposited models are not comparable; 60 A^2 is what a grid
# of 2 A samples without loss of mass.
B_FACTOR_A2 = 60.0
GRID_SPACING_A = 2.0
LARGEST_MODEL_A = 1000.0


@dataclass(frozen=True, eq=False)
class Molecule:
    """Density of one kind of molecule.

    Parameters
    ----------
    name
        Name of the species.
    density
        ``(n, n, n)`` float32 (z, y, x), n odd, protein positive, in units of solid protein. The centre of
        mass lies at index n // 2 of each axis, and the density within the sphere that fits into the cube.
    voxel_size_A
        Voxel size in Angstrom.
    """

    name: str
    density: NDArray[np.float32]
    voxel_size_A: float

    @property
    def protein_volume_A3(self) -> float:
        """Volume of solid protein of the same contrast; 1.23 A^3 weigh a dalton."""
        return float(self.density.sum(dtype=np.float64)) * self.voxel_size_A**3


def load_molecules(paths: Sequence[Path], voxel_size_A: float) -> list[Molecule]:
    """Read each map or atomic model with :func:`load_molecule`.

    Raises
    ------
    InputError
        If a file cannot be used, or its name cannot be that of a species: taken, or with odd characters.
    """
    molecules = [load_molecule(Path(path), voxel_size_A) for path in paths]
    names = [molecule.name for molecule in molecules]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"molecules: two files are named {name}; rename one, the name is the species")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise InputError(f"molecule {name!r}: expected letters, digits and . _ + - only; rename the file")
    return molecules


def load_molecule(path: Path, voxel_size_A: float) -> Molecule:
    """Molecule from an MRC map or a PDB or mmCIF model, at ``voxel_size_A``; its name is the file's.

    A map's background (median of its faces) becomes 0, what is darker is cut off, and its grey scale is
    brought to the unit of solid protein; it should hold one molecule, protein positive, masked. Of an atomic
    model, the first biological assembly is taken without hydrogen, water and alternative locations.

    Raises
    ------
    InputError
        If the file is missing, broken, of unknown type, or holds no molecule.
    """
    unzipped = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    suffix = unzipped.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path}: expected a density map or an atomic model, found no such file")
    if suffix in MAP_SUFFIXES:
        density, spacing_A = _read_map(path)
    elif suffix in MODEL_SUFFIXES:
        density, spacing_A = _read_model(path)
    else:
        known = " ".join(MAP_SUFFIXES + MODEL_SUFFIXES)
        raise InputError(f"{path}: expected a density map or an atomic model, named one of {known}")
    return centred_molecule(unzipped.stem, density, spacing_A, voxel_size_A)


def centred_molecule(
    name: str, density: NDArray[np.floating], spacing_zyx_A: Sequence[float], voxel_size_A: float
) -> Molecule:
    """Molecule at ``voxel_size_A`` from a density in units of solid protein.

    Parameters
    ----------
    density
        ``(z, y, x)``, surrounded by zeros.
    spacing_zyx_A
        Its voxel size along each axis in Angstrom.
    """
    mass = np.maximum(density, 0)
    centre = np.array(ndimage.center_of_mass(mass))
    far = np.argwhere(mass > 0.02 * mass.max()) - centre
    radius_A = float(np.sqrt(((far * np.asarray(spacing_zyx_A)) ** 2).sum(axis=1).max()))
    n = 2 * int(np.ceil(radius_A / voxel_size_A + 1.5)) + 1
    return Molecule(name, resample(density, spacing_zyx_A, voxel_size_A, centre, n), voxel_size_A)


def resample(
    density: NDArray[np.floating],
    spacing_zyx_A: Sequence[float],
    voxel_size_A: float,
    centre_zyx: Floats,
    n: int,
) -> NDArray[np.float32]:
    """``(n, n, n)`` float32 density whose index n // 2 lies at ``centre_zyx`` (in voxels) of the one given.

    Trigonometric interpolation at any ratio of voxel sizes and any shift. A voxel of size v is taken to hold
    the density smoothed by a Gaussian of standard deviation v / 2, so towards larger voxels it is smoothed by
    what is missing. Unlike a sharp cut at the Nyquist frequency, that neither rings nor loses mass: the sum
    times the voxel volume stays. Outside the density given, it is zero.
    """
    result = np.asarray(density, dtype=np.float64)
    for spacing_A, centre in zip(spacing_zyx_A, centre_zyx, strict=True):
        # The Fourier transform repeats the density: zeros keep the smoothed edges apart.
        margin = int(np.ceil(2 * max(voxel_size_A, spacing_A) / spacing_A))
        matrix = _resampling_matrix(result.shape[0] + 2 * margin, spacing_A, centre + margin, n, voxel_size_A)
        matrix = matrix[:, margin:-margin]
        # Contracting the first axis appends the new one as the last: after three rounds it is z, y, x again.
        result = np.tensordot(result, matrix, axes=(0, 1))
    return result.astype(np.float32)


def _resampling_matrix(n_old: int, old_A: float, centre: float, n: int, new_A: float) -> Floats:
    """``(n, n_old)`` samples of the smoothed trigonometric interpolation."""
    frequency_per_A = np.arange(n_old // 2 + 1) / (n_old * old_A)
    weight = np.exp(-0.5 * np.pi**2 * max(new_A**2 - old_A**2, 0.0) * frequency_per_A**2)
    weight[1:] *= 2
    if n_old % 2 == 0:
        weight[-1] /= 2
    position = centre + (np.arange(n) - n // 2) * new_A / old_A
    # The kernel depends on position minus index: cos(a - b) = cos a cos b + sin a sin b.
    phase = 2 * np.pi * old_A * frequency_per_A
    at, index = np.outer(position, phase), np.outer(phase, np.arange(n_old))
    kernel = (np.cos(at) * weight) @ np.cos(index) + (np.sin(at) * weight) @ np.sin(index)
    kernel[(position < -0.5) | (position > n_old - 0.5)] = 0
    return np.asarray(kernel / n_old)


def _read_map(path: Path) -> tuple[Floats, tuple[float, float, float]]:
    mrc = read_mrc(path)
    voxel_size_A = mrc.voxel_size_A
    if voxel_size_A is None:
        raise InputError(
            f"{path}: expected a map whose header holds its voxel size, found none; set it first"
        )
    density = np.array(mrc.data, dtype=np.float64)
    if density.ndim != 3 or min(density.shape) < 3 or not np.isfinite(density).all():
        raise InputError(f"{path}: expected a map (z, y, x) of finite values, got shape {density.shape}")
    faces = [density.take(index, axis=axis).ravel() for axis in range(3) for index in (0, -1)]
    density = np.maximum(density - np.median(np.concatenate(faces)), 0)
    if not density.any():
        raise InputError(f"{path}: holds no molecule: nothing is brighter than the map's faces")
    spacing_A = (voxel_size_A,) * 3
    coarse_A = max(voxel_size_A, CALIBRATION_VOXEL_SIZE_A)
    coarse = centred_molecule(path.name, density, spacing_A, coarse_A).density
    values = np.sort(coarse[coarse > 0].astype(np.float64))[::-1]
    densest = values[np.cumsum(values) <= max(0.1 * values.sum(), values[0])]
    return density * (DENSEST_TENTH / densest.mean()), spacing_A


def _read_model(path: Path) -> tuple[Floats, tuple[float, float, float]]:
    try:
        structure = gemmi.read_structure(str(path))
        structure.setup_entities()
        structure.remove_alternative_conformations()
        structure.remove_hydrogens()
        structure.remove_waters()
        model = structure[0]
        if structure.assemblies:
            naming = gemmi.HowToNameCopiedChain.Short
            model = gemmi.make_assembly(structure.assemblies[0], model, naming)
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected a PDB or mmCIF model: {reason or 'it holds no model'}") from error
    atoms = [site.atom for site in model.all()]
    positions = np.array([atom.pos.tolist() for atom in atoms])
    if not atoms or not np.isfinite(positions).all():
        raise InputError(f"{path}: expected a PDB or mmCIF model with atoms, found none")
    margin_A = 6.0
    size_A = np.ptp(positions, axis=0) + 2 * margin_A
    if size_A.max() > LARGEST_MODEL_A:
        raise InputError(
            f"{path}: the model is {size_A.max():.0f} A long, expected at most {LARGEST_MODEL_A:.0f} A"
        )
    for atom in atoms:
        atom.occ, atom.b_iso, atom.aniso = 1.0, B_FACTOR_A2, gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    to_box = gemmi.Transform()
    to_box.vec.fromlist(list(margin_A - positions.min(axis=0)))
    model.transform_pos_and_adp(to_box)
    cell = gemmi.UnitCell(size_A[0], size_A[1], size_A[2], 90, 90, 90)
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min = 2 * calculator.rate * GRID_SPACING_A
    calculator.grid.set_unit_cell(cell)
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.put_model_density_on_grid(model)
    grid = np.array(calculator.grid, dtype=np.float64)  # (x, y, z)
    density = grid.transpose(2, 1, 0) / SCATTERING_OF_SOLID_PROTEIN
    spacing = size_A[::-1] / density.shape
    return density, (float(spacing[0]), float(spacing[1]), float(spacing[2]))
