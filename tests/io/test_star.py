"""Particle lists."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dewedge.errors import InputError
from dewedge.io.particles import read_particles, write_particles

names = st.sampled_from(["1bxn", "007", "1e5", "NA", "None", "-", "+1", "two words", "Größe"])


@settings(max_examples=25, deadline=None)
@given(st.lists(names, max_size=5), st.booleans(), st.sampled_from(["TS_01", "003", "a b"]))
def test_round_trip(species: list[str], rotated: bool, tomogram_name: str) -> None:
    n = len(species)
    rng = np.random.default_rng(n)
    centres = rng.uniform(0, 500, (n, 3))
    rotations = Rotation.random(max(n, 1), rng=rng).as_matrix()[:n] if rotated else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "particles 1.star"
        write_particles(
            path, centres, species, voxel_size_A=13.68, tomogram_name=tomogram_name, rotations=rotations
        )
        particles = read_particles(path)
        table = starfile.read(path, parse_as_string=["rlnTomoName"])
        assert (table["rlnTomoName"] == tomogram_name).all()
    assert particles.species == tuple(species)
    np.testing.assert_allclose(particles.centre_zyx, centres, atol=1e-6)
    assert particles.voxel_size_A == (13.68 if n else None)
    if rotations is None:
        assert particles.rotations is None
    else:
        assert particles.rotations is not None
        np.testing.assert_allclose(particles.rotations, rotations, atol=1e-7)


def test_coordinates_are_indices_under_relion_names(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    write_particles(path, [[1, 2, 3.5]], ["x"], voxel_size_A=10, tomogram_name="t")
    row = starfile.read(path).iloc[0]
    assert (row["rlnCoordinateX"], row["rlnCoordinateY"], row["rlnCoordinateZ"]) == (3.5, 2, 1)
    assert row["rlnTomoTiltSeriesPixelSize"] == 10 and "rlnAngleRot" not in row


def test_angles_are_relions(tmp_path: Path) -> None:
    """RELION's matrix, in its own rows, takes the reference onto the particle, on (x, y, z)."""
    rot, tilt, psi = 20.0, 50.0, -70.0
    ca, sa = np.cos(np.radians(rot)), np.sin(np.radians(rot))
    cb, sb = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    cg, sg = np.cos(np.radians(psi)), np.sin(np.radians(psi))
    relion = np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )
    path = tmp_path / "a.star"
    write_particles(
        path, [[0, 0, 0]], ["x"], voxel_size_A=10, tomogram_name="t", rotations=[relion[::-1, ::-1]]
    )
    row = starfile.read(path).iloc[0]
    np.testing.assert_allclose(
        [row["rlnAngleRot"], row["rlnAngleTilt"], row["rlnAnglePsi"]], [rot, tilt, psi]
    )


def test_no_rotation_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    write_particles(
        path, np.zeros((2, 3)), ["x", "y"], voxel_size_A=10, tomogram_name="t", rotations=[np.eye(3)] * 2
    )
    np.testing.assert_array_equal(read_particles(path).rotations, [np.eye(3)] * 2)


def test_relion_file_with_optics(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    path.write_text(
        "# version 50001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n1 300\n\n\n"
        "data_particles\n\nloop_\n_rlnTomoName #1\n"
        "_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnCoordinateZ #4\n"
        "007 1 2 3\n007 4 5 6\n"
    )
    particles = read_particles(path)
    np.testing.assert_array_equal(particles.centre_zyx, [[3, 2, 1], [6, 5, 4]])
    assert particles.species == ("particle", "particle")
    assert particles.rotations is None and particles.voxel_size_A is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "data_\n",
        "data_\n\nloop_\n_rlnCoordinateX #1\n1\n",
        "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 x\n",
        "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 nan\n",
        'data_\n\n_a "b\n',
        "\0\0",
    ],
)
def test_wrong_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.star"
    path.write_text(text)
    with pytest.raises(InputError) as info:
        read_particles(path)
    assert str(path) in str(info.value) and "\n" not in str(info.value)


def test_files_of_relion_without_particles(shared_data: Path) -> None:
    paths = sorted((shared_data / "metadata" / "relion5").rglob("*.star"))
    assert len(paths) == 9
    for path in paths:
        with pytest.raises(InputError, match="table of rlnCoordinateZ"):
            read_particles(path)


def test_what_a_star_file_cannot_hold(tmp_path: Path) -> None:
    for species in (["a'b"], [""], ["a\nb"], ["a", "b"], ["#a"], ["nan"], ["<NA>"]):
        with pytest.raises(ValueError, match=r"cannot be written|species"):
            write_particles(tmp_path / "a.star", [[0, 0, 0]], species, voxel_size_A=1, tomogram_name="t")
    assert not (tmp_path / "a.star").exists()
