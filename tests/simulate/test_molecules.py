from __future__ import annotations

import itertools
import re
from pathlib import Path

import gemmi
import numpy as np
import pytest
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from dewedge.errors import InputError
from dewedge.io.mrc import write_mrc
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.molecules import (
    SCATTERING_OF_SOLID_PROTEIN,
    centred_molecule,
    load_molecule,
    load_molecules,
    resample,
)


def blob(n: int, spacing_A: float, centre_A: tuple[float, ...], sigma_A: float) -> np.ndarray:
    """Gaussian of unit peak; index i lies at i * spacing_A."""
    axes = [np.exp(-((np.arange(n) * spacing_A - c) ** 2) / (2 * sigma_A**2)) for c in centre_A]
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]


def best_overlap(fixed: np.ndarray, moving: np.ndarray) -> float:
    """Highest correlation of two densities over 500 random rotations about the middle, the best refined."""
    inside = moving.ravel() > 0.1
    middle = fixed.shape[0] // 2
    points = (np.indices(fixed.shape).reshape(3, -1) - middle)[:, inside]
    values = moving.ravel()[inside]
    norm = np.sqrt((fixed**2).sum() * (values**2).sum())

    def mismatch(rotation_vector: np.ndarray) -> float:
        turned = Rotation.from_rotvec(rotation_vector).as_matrix() @ points + middle
        return -float((ndimage.map_coordinates(fixed, turned, order=1) * values).sum() / norm)

    quaternions = np.random.default_rng(0).normal(size=(500, 4))
    starts = sorted(Rotation.from_quat(quaternions).as_rotvec(), key=mismatch)[:4]
    fits = [
        optimize.minimize(mismatch, start, method="Nelder-Mead", options={"maxiter": 100}) for start in starts
    ]
    return max(-fit.fun for fit in fits)


def densest_tenth(density: np.ndarray) -> float:
    values = np.sort(density[density > 0])[::-1]
    return float(values[np.cumsum(values) <= 0.1 * values.sum()].mean())


@pytest.mark.parametrize(
    ("n", "old_A", "new_A"), [(48, 4.0, 4.0), (41, 4.0, 7.3), (90, 1.9, 10.0), (24, 9.0, 5.0)]
)
def test_resampling_keeps_mass_and_smooths_by_what_is_missing(n: int, old_A: float, new_A: float) -> None:
    sigma_A, centre_A = 12.0, (80.0, 91.0, 97.0)
    density = blob(n, old_A, centre_A, sigma_A)
    new_n = 2 * int(70 / new_A) + 1
    got = resample(density, (old_A,) * 3, new_A, np.array(centre_A) / old_A, new_n)
    variance = sigma_A**2 + max(new_A**2 - old_A**2, 0) / 4
    middle = (new_n // 2) * new_A
    expected = blob(new_n, new_A, (middle,) * 3, np.sqrt(variance)) * (sigma_A**2 / variance) ** 1.5
    np.testing.assert_allclose(got, expected, atol=2e-3)
    assert got.sum() * new_A**3 == pytest.approx(density.sum() * old_A**3, rel=1e-3)


def test_resampling_to_the_same_grid_is_the_identity() -> None:
    density = np.random.default_rng(0).normal(size=(9, 9, 9))
    np.testing.assert_allclose(resample(density, (3.0,) * 3, 3.0, np.array([4, 4, 4]), 9), density, atol=1e-5)


def test_resampling_takes_a_spacing_of_each_axis() -> None:
    spacing_A = (4.0, 2.0, 3.0)
    axes = [
        np.exp(-((np.arange(n) * v - 60) ** 2) / 200) for n, v in zip((30, 60, 40), spacing_A, strict=True)
    ]
    density = axes[0][:, None, None] * axes[1][:, None] * axes[2]
    got = resample(density, spacing_A, 4.0, 60 / np.array(spacing_A), 25)
    offset_A = (np.indices(got.shape) - 12) * 4.0
    variance_A2 = [(got * offset_A[axis] ** 2).sum() / got.sum() for axis in range(3)]
    np.testing.assert_allclose(variance_A2, [100, 100 + (16 - 4) / 4, 100 + (16 - 9) / 4], rtol=1e-3)


def test_a_molecule_is_centred_on_its_mass_and_within_the_sphere() -> None:
    density = blob(60, 3.0, (60, 90, 110), 8) + 0.5 * blob(60, 3.0, (110, 70, 80), 10)
    molecule = centred_molecule("two", density, (3.0,) * 3, 6.0)
    n = molecule.density.shape[0]
    assert n % 2 == 1
    np.testing.assert_allclose(ndimage.center_of_mass(molecule.density), n // 2, atol=0.02)
    far = np.linalg.norm(np.indices((n, n, n)) - n // 2, axis=0) > n // 2
    assert molecule.density[far].max() < 0.01
    assert molecule.protein_volume_A3 == pytest.approx(density.sum() * 27, rel=2e-3)


def test_builtin_molecules_are_different_chiral_and_of_realistic_size() -> None:
    molecules = builtin_molecules(10.0)
    assert len(molecules) >= 6
    kilodaltons = [molecule.protein_volume_A3 * 0.81e-3 for molecule in molecules]
    assert 100 < min(kilodaltons) < 150
    assert 1800 < max(kilodaltons) < 3500
    for molecule in molecules:
        density = molecule.density
        extent_A = (np.ptp(np.argwhere(density > 0.1), axis=0) + 1).max() * 10
        assert 80 <= extent_A <= 260, molecule.name
        assert 0.8 < densest_tenth(density) < 1.05, molecule.name
        assert best_overlap(density, density) > 0.98, molecule.name
        assert best_overlap(density, density[::-1]) < 0.9, molecule.name
        np.testing.assert_allclose(ndimage.center_of_mass(density), density.shape[0] // 2, atol=0.05)
    for a, b in itertools.combinations(molecules, 2):
        difference = a.density.sum() / b.density.sum()
        spread = [np.sort(np.linalg.eigvalsh(np.cov(np.argwhere(m.density > 0.3).T))) for m in (a, b)]
        assert abs(np.log(difference)) > 0.05 or not np.allclose(*spread, rtol=0.1), (a.name, b.name)


def test_builtin_molecules_are_the_same_ones_at_any_voxel_size() -> None:
    for coarse, fine in zip(builtin_molecules(10.0), builtin_molecules(6.0), strict=True):
        assert coarse.protein_volume_A3 == pytest.approx(fine.protein_volume_A3, rel=2e-3)
        resampled = resample(fine.density, (6.0,) * 3, 10.0, np.full(3, fine.density.shape[0] // 2), 41)
        margin = (41 - coarse.density.shape[0]) // 2
        np.testing.assert_allclose(resampled, np.pad(coarse.density, margin), atol=0.06)


def write_model(path: Path, structure: gemmi.Structure) -> Path:
    if path.suffix == ".cif":
        structure.setup_entities()
        structure.make_mmcif_document().write_file(str(path))
    else:
        structure.write_pdb(str(path))
    return path


def small_structure() -> gemmi.Structure:
    """Twenty alanines' worth of atoms, with water, a hydrogen and an alternative location."""
    rng = np.random.default_rng(1)
    chain = gemmi.Chain("A")
    for number in range(1, 21):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number))
        for name, element in (("N", "N"), ("CA", "C"), ("C", "C"), ("O", "O"), ("CB", "C"), ("HA", "H")):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso, atom.occ = name, gemmi.Element(element), 20.0, 1.0
            atom.pos = gemmi.Position(*rng.uniform(0, 25, 3))
            if number == 5 and name == "CB":
                atom.altloc, atom.occ = "A", 0.5
                residue.add_atom(atom)
                atom.altloc = "B"
                atom.pos = gemmi.Position(*rng.uniform(0, 25, 3))
            residue.add_atom(atom)
        chain.add_residue(residue)
    for number in range(101, 131):
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = "HOH", gemmi.SeqId(str(number)), "H"
        atom = gemmi.Atom()
        atom.name, atom.element, atom.occ, atom.b_iso = "O", gemmi.Element("O"), 1.0, 20.0
        atom.pos = gemmi.Position(*rng.uniform(0, 60, 3))
        residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure = gemmi.Structure()
    structure.name = "small"
    structure.add_model(model)
    return structure


def scattering_A(counts: dict[str, int]) -> float:
    return sum(n * gemmi.Element(element).c4322.calculate_sf(0) for element, n in counts.items())


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
@pytest.mark.parametrize("voxel_size_A", [4.0, 10.0])
def test_a_model_has_the_mass_of_its_atoms_without_water_hydrogen_and_alternatives(
    tmp_path: Path, suffix: str, voxel_size_A: float
) -> None:
    path = write_model(tmp_path / f"small{suffix}", small_structure())
    molecule = load_molecule(path, voxel_size_A)
    expected = scattering_A({"N": 20, "C": 60, "O": 20}) / SCATTERING_OF_SOLID_PROTEIN
    # So small a model is coarse at 10 A: the remaining error is that of a sum over few voxels.
    assert molecule.protein_volume_A3 == pytest.approx(expected, rel=0.01)
    assert molecule.name == "small"


def test_the_mass_of_a_real_model_is_kept(shared_data: Path) -> None:
    path = shared_data / "structures-pdb" / "1s3x.pdb"
    structure = gemmi.read_structure(str(path))
    structure.remove_waters()
    structure.remove_alternative_conformations()
    structure.remove_hydrogens()
    expected_A = sum(site.atom.element.c4322.calculate_sf(0) for site in structure[0].all())
    molecule = load_molecule(path, 10.0)
    assert molecule.protein_volume_A3 == pytest.approx(expected_A / SCATTERING_OF_SOLID_PROTEIN, rel=3e-3)


def test_a_model_becomes_its_biological_assembly(tmp_path: Path) -> None:
    path = write_model(tmp_path / "dimer.pdb", small_structure())
    single = load_molecule(path, 8.0)
    remark = [
        "REMARK 350 BIOMOLECULE: 1",
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A",
        "REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000",
        "REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000",
        "REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000",
        "REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000       -5.00000",
        "REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000",
        "REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000",
    ]
    path.write_text("\n".join(remark) + "\n" + path.read_text())
    assert load_molecule(path, 8.0).protein_volume_A3 == pytest.approx(2 * single.protein_volume_A3, rel=2e-3)


def test_a_model_keeps_its_hand_and_its_axes(tmp_path: Path) -> None:
    structure = gemmi.Structure()
    chain = gemmi.Chain("A")
    for number, (x, y, z, copies) in enumerate(
        [(0, 0, 0, 4), (60, 0, 0, 2), (0, 40, 0, 1), (0, 0, 25, 1)], start=1
    ):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number))
        for i in range(copies):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.occ, atom.b_iso = f"C{i}", gemmi.Element("C"), 1.0, 20.0
            atom.pos = gemmi.Position(x, y, z)
            residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    density = load_molecule(write_model(tmp_path / "axes.pdb", structure), 5.0).density
    heavy = np.array(np.unravel_index(density.argmax(), density.shape))
    for offset_zyx in ((0, 0, 12), (0, 8, 0), (5, 0, 0)):
        assert density[tuple(heavy + offset_zyx)] > 0.2 * density.max()
        assert density[tuple(np.clip(heavy - offset_zyx, 0, density.shape[0] - 1))] < 0.05 * density.max()


def test_maps_and_models_of_one_protein_have_one_scale(shared_data: Path) -> None:
    for name in ("1s3x", "3h84", "3cf3", "3gl1"):
        of_map = load_molecule(shared_data / "structures-10A" / f"{name}.mrc", 10.0)
        of_model = load_molecule(shared_data / "structures-pdb" / f"{name}.pdb", 10.0)
        assert densest_tenth(of_map.density) == pytest.approx(densest_tenth(of_model.density), rel=0.12)
    # A monomer: both hold the same atoms.
    of_map = load_molecule(shared_data / "structures-10A" / "1s3x.mrc", 10.0)
    of_model = load_molecule(shared_data / "structures-pdb" / "1s3x.pdb", 10.0)
    assert of_map.protein_volume_A3 == pytest.approx(of_model.protein_volume_A3, rel=0.15)


def test_every_shrec_map_is_read(shared_data: Path) -> None:
    paths = sorted((shared_data / "structures-10A").glob("*.mrc"))
    molecules = load_molecules(paths, 10.0)
    assert len(molecules) == len(paths) > 10
    masses = {m.name: m.protein_volume_A3 * 0.81e-3 for m in molecules}
    assert 25 < masses["3qm1"] < 40
    assert 2500 < masses["5mrc"] < 3800
    assert all(np.isfinite(m.density).all() and m.density.min() > -0.05 for m in molecules)


@pytest.mark.parametrize(("gain", "offset"), [(1e-6, 0.0), (1e4, -3e4)])
def test_the_grey_scale_of_a_map_does_not_matter(tmp_path: Path, gain: float, offset: float) -> None:
    density = builtin_molecules(8.0)[1].density
    write_mrc(tmp_path / "a.mrc", density, 8.0)
    write_mrc(tmp_path / "b.mrc", gain * density + offset, 8.0)
    a, b = (load_molecule(tmp_path / f"{name}.mrc", 10.0) for name in "ab")
    np.testing.assert_allclose(a.density, b.density, atol=2e-3)


def test_broken_files_are_named(tmp_path: Path) -> None:
    write_mrc(tmp_path / "flat.mrc", np.ones((8, 8, 8)), 10.0)
    write_mrc(tmp_path / "unknown.mrc", builtin_molecules(10.0)[0].density, None)
    nan = builtin_molecules(10.0)[0].density.copy()
    nan[3, 3, 3] = np.nan
    write_mrc(tmp_path / "nan.mrc", nan, 10.0)
    (tmp_path / "short.mrc").write_bytes(b"abc")
    (tmp_path / "empty.pdb").write_text("HEADER\nEND\n")
    (tmp_path / "noise.cif").write_text("this is { not mmcif\n")
    (tmp_path / "noise.pdb").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "a.txt").write_text("x")
    names = [
        "flat.mrc",
        "unknown.mrc",
        "nan.mrc",
        "short.mrc",
        "empty.pdb",
        "noise.cif",
        "noise.pdb",
        "a.txt",
        "no.mrc",
    ]
    for name in names:
        with pytest.raises(InputError, match=re.escape(name)) as caught:
            load_molecule(tmp_path / name, 10.0)
        assert "\n" not in str(caught.value)


def test_species_have_distinct_plain_names(tmp_path: Path) -> None:
    density = builtin_molecules(10.0)[1].density
    for name in ("a/x.mrc", "b/x.mrc", "c/it's.mrc"):
        write_mrc(tmp_path / name, density, 10.0)
    with pytest.raises(InputError, match="two files are named x"):
        load_molecules([tmp_path / "a/x.mrc", tmp_path / "b/x.mrc"], 10.0)
    with pytest.raises(InputError, match="rename"):
        load_molecules([tmp_path / "c/it's.mrc"], 10.0)
