from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.io.angles import read_tilt_angles
from dewedge.io.mdoc import read_mdoc
from dewedge.io.mrc import read_mrc
from dewedge.io.particles import read_particles
from dewedge.io.xf import read_xf, xf_to_geometry_arrays
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.files import simulate
from dewedge.simulate.specimen import OCCUPIED
from dewedge.simulate.tilt_series import simulate_tilt_series, tilt_geometry

SMALL = {"shape_zyx": (48, 64, 72), "n_membranes": 0, "n_gold": 1, "tilt_deg": range(-60, 61, 10)}


def test_every_file_is_written_and_fits_the_others(tmp_path: Path) -> None:
    files = simulate(tmp_path / "new", "ts", frames=True, exposure_e_per_A2=2.0, **SMALL)
    assert files.stack == tmp_path / "new" / "ts.mrc"
    assert files.xf is None and files.even is not None and files.odd is not None
    stack = read_mrc(files.stack, stack=True)
    assert stack.data.shape == (13, 64, 72)
    assert stack.voxel_size_A == pytest.approx(10)
    mean = (read_mrc(files.even).data + read_mrc(files.odd).data) / 2
    np.testing.assert_allclose(mean, stack.data, atol=1e-4)
    assert read_tilt_angles(files.angles).tolist() == list(range(-60, 61, 10))
    mdoc = read_mdoc(files.mdoc)
    assert mdoc.image_file == "ts.mrc"
    assert mdoc.tilt_deg[np.argsort(mdoc.acquisition_order)].tolist()[:5] == [0, 10, -10, -20, 20]
    assert mdoc.pre_exposure_e_per_A2 is not None and mdoc.pre_exposure_e_per_A2.max() == 24

    truth = read_mrc(files.truth)
    assert truth.data.shape == (48, 64, 72)
    assert truth.voxel_size_A == pytest.approx(10)
    particles = read_particles(files.particles)
    assert len(particles.species) == files.n_particles > 5
    assert particles.rotations is not None
    molecules = {molecule.name: molecule.density for molecule in builtin_molecules(10.0)}
    for centre, species, rotation in zip(
        particles.centre_zyx, particles.species, particles.rotations, strict=True
    ):
        # Dark in the truth where the molecule is dense, through the STAR file's angles.
        density = molecules[species]
        points = np.argwhere(density > 0.6) - density.shape[0] // 2
        at = np.round(centre + points @ rotation.T).astype(int)
        assert truth.data[tuple(at.T)].mean() < -0.5
        assert np.mean(truth.data[tuple(at.T)] < -OCCUPIED) > 0.99

    clean = read_mrc(files.clean).data
    rng = np.random.default_rng(0)
    again = simulate_tilt_series(
        np.ascontiguousarray(-truth.data), tilt_geometry(SMALL["tilt_deg"], (48, 64, 72), 10.0, rng), 1.0, rng
    )
    np.testing.assert_allclose(clean, again.clean, atol=1e-4)
    noise = stack.data.astype(np.float64) - clean
    assert clean.var(dtype=np.float64) / noise.var() == pytest.approx(0.25, rel=0.02)


def test_a_misaligned_series_has_its_xf_and_an_aligned_one_leaves_none_behind(tmp_path: Path) -> None:
    files = simulate(tmp_path, "ts", axis_angle_deg=84.0, jitter_A=30, **SMALL)
    assert files.xf is not None and files.even is None
    assert read_mrc(files.stack, stack=True).data.shape == (13, 72, 64)
    linear_yx, shift_yx = xf_to_geometry_arrays(*read_xf(files.xf), (72, 64))
    angle = np.degrees(np.arctan2(linear_yx[:, 1, 0], linear_yx[:, 1, 1]))
    np.testing.assert_allclose(angle, 84, atol=1e-3)
    assert 1 < shift_yx.std() < 6
    assert read_mdoc(files.mdoc).axis_angle_deg == pytest.approx(84)
    simulate(tmp_path, "ts", **SMALL)
    assert not (tmp_path / "ts.xf").exists()


def test_the_same_seed_gives_the_same_data(tmp_path: Path) -> None:
    stacks = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        files = simulate(tmp_path, name, seed=seed, **SMALL)
        stacks.append(read_mrc(files.stack, stack=True).data)
    np.testing.assert_array_equal(stacks[0], stacks[1])
    assert not np.array_equal(stacks[0], stacks[2])


def test_the_noise_does_not_change_the_specimen(tmp_path: Path) -> None:
    a = simulate(tmp_path, "a", snr=0.5, **SMALL)
    b = simulate(tmp_path, "b", snr=0.1, frames=True, **SMALL)
    np.testing.assert_array_equal(read_mrc(a.truth).data, read_mrc(b.truth).data)


def test_given_molecules_are_used(tmp_path: Path, shared_data: Path) -> None:
    paths = [shared_data / "structures-10A" / "1bxn.mrc", shared_data / "structures-pdb" / "1s3x.pdb"]
    files = simulate(tmp_path, "ts", molecules=paths, **SMALL)
    assert set(read_particles(files.particles).species) == {"1bxn", "1s3x"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"snr": 0.0}, "SNR"),
        ({"voxel_size_A": -1.0}, "positive size"),
        ({"shape_zyx": (0, 64, 64)}, "positive size"),
        ({"shape_zyx": (8, 64, 64)}, "larger than the specimen"),
        ({"tilt_deg": [0.0, 95.0]}, "tilt angle"),
        ({"name": "a/b"}, "name"),
        ({"molecules": [Path("missing.mrc")]}, re.escape("missing.mrc")),
    ],
)
def test_mistakes_are_refused_and_nothing_is_written(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        simulate(tmp_path, **{**SMALL, **options})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
