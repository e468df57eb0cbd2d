from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dewedge.errors import InputError
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import (
    GOLD_DENSITY,
    GOLD_RADIUS_A,
    OCCUPIED,
    Specimen,
    rotate_density,
    simulate_specimen,
)

MOLECULES = builtin_molecules(10.0)
BY_NAME = {molecule.name: molecule for molecule in MOLECULES}
SMALL = [m for m in MOLECULES if m.density.shape[0] <= 24]


def draw(specimen: Specimen, index: int) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box of a particle and its density, from what the specimen says of it."""
    coefficients = ndimage.spline_filter(BY_NAME[specimen.species[index]].density, output=np.float32)
    density = rotate_density(coefficients, specimen.rotations[index])
    half = density.shape[0] // 2
    return tuple(slice(c - half, c + half + 1) for c in specimen.centres_zyx[index]), density


@pytest.fixture(scope="module")
def crowded() -> Specimen:
    return simulate_specimen(
        (56, 97, 110), MOLECULES, np.random.default_rng(0), n_particles=10_000, n_membranes=0, n_gold=0
    )


def test_the_volume_is_the_sum_of_the_particles_listed(crowded: Specimen) -> None:
    volume = np.zeros_like(crowded.volume)
    for index in range(len(crowded.species)):
        box, density = draw(crowded, index)
        assert all(s.start >= 0 and s.stop <= n for s, n in zip(box, volume.shape, strict=True))
        volume[box] += density
    np.testing.assert_allclose(crowded.volume, volume, atol=1e-5)


def test_no_two_particles_overlap_or_touch_and_none_leaves_the_ice(crowded: Specimen) -> None:
    owner = np.zeros(crowded.volume.shape, dtype=int)
    for index in range(len(crowded.species)):
        box, density = draw(crowded, index)
        near = ndimage.binary_dilation(density > OCCUPIED, np.ones((3, 3, 3)))
        assert not owner[box][near].any()
        owner[box][density > OCCUPIED] = index + 1
    assert not owner[:7].any()
    assert not owner[-7:].any()
    assert owner[7:-7].any(axis=(1, 2)).all()


def test_a_large_number_fills_the_ice(crowded: Specimen) -> None:
    inside = crowded.volume[7:-7, 10:-10, 10:-10] > OCCUPIED
    assert 20 < len(crowded.species) < 10_000
    assert inside.mean() > 0.12
    assert len(set(crowded.species)) == len(MOLECULES)


@pytest.mark.parametrize("molecule", MOLECULES, ids=lambda m: m.name)
def test_rotation_keeps_mass_centre_and_energy(molecule) -> None:  # type: ignore[no-untyped-def]
    coefficients = ndimage.spline_filter(molecule.density, output=np.float32)
    for seed in range(3):
        rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
        rotation *= np.sign(np.linalg.det(rotation))
        rotated = rotate_density(coefficients, rotation)
        assert rotated.sum() == pytest.approx(molecule.density.sum(), rel=2e-3)
        assert (rotated**2).sum() == pytest.approx((molecule.density**2).sum(), rel=0.02)
        np.testing.assert_allclose(ndimage.center_of_mass(rotated), rotated.shape[0] // 2, atol=0.05)


def test_rotations_by_right_angles_move_voxels() -> None:
    density = MOLECULES[0].density
    quarter_z_to_y = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # (z, y, x): z becomes y
    got = rotate_density(ndimage.spline_filter(density, output=np.float32), quarter_z_to_y)
    middle = density.shape[0] // 2
    z, y, x = np.indices(density.shape)
    # r' = R r: what lies at (z, y, x) comes to (-y, z, x).
    expected = np.empty_like(density)
    expected[2 * middle - y, z, x] = density
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_an_isolated_particle_lies_at_its_centre_in_its_rotation() -> None:
    for seed, molecule in enumerate(MOLECULES):
        rng = np.random.default_rng(seed)
        specimen = simulate_specimen((60, 61, 62), [molecule], rng, n_particles=1, n_membranes=0, n_gold=0)
        mass = specimen.volume.astype(np.float64)
        np.testing.assert_allclose(ndimage.center_of_mass(mass), specimen.centres_zyx[0], atol=0.05)
        assert mass.sum() == pytest.approx(molecule.density.sum(), rel=2e-3)
        # Independent of the code that rotates: second and third moments turn with the matrix.
        rotation = specimen.rotations[0]
        assert np.linalg.det(rotation) == pytest.approx(1)
        reference = moments(molecule.density, np.full(3, molecule.density.shape[0] // 2))
        placed = moments(mass, specimen.centres_zyx[0])
        scale = np.abs(reference[0]).max()
        np.testing.assert_allclose(placed[0], rotation @ reference[0] @ rotation.T, atol=0.01 * scale)
        turned = np.einsum("ai,bj,ck,ijk->abc", rotation, rotation, rotation, reference[1])
        np.testing.assert_allclose(placed[1], turned, atol=0.03 * np.abs(reference[1]).max())


def moments(density: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    index = np.argwhere(np.abs(density) > 1e-4)
    weight = density[tuple(index.T)]
    r = index - centre
    return np.einsum("n,ni,nj->ij", weight, r, r), np.einsum("n,ni,nj,nk->ijk", weight, r, r, r)


def test_rotations_are_uniform() -> None:
    specimen = simulate_specimen(
        (60, 160, 160), SMALL, np.random.default_rng(3), 300, n_membranes=0, n_gold=0
    )
    assert len(specimen.species) > 100
    # Every column is then uniform on the sphere: each element has mean 0 and mean square 1 / 3.
    n = len(specimen.species)
    np.testing.assert_allclose(specimen.rotations.mean(axis=0), 0, atol=4 / np.sqrt(3 * n))
    np.testing.assert_allclose((specimen.rotations**2).mean(axis=0), 1 / 3, atol=4 * 0.3 / np.sqrt(n))


def test_the_same_seed_gives_the_same_specimen() -> None:
    a, b, c = (simulate_specimen((60, 80, 80), SMALL, np.random.default_rng(seed), 10) for seed in (5, 5, 6))
    np.testing.assert_array_equal(a.volume, b.volume)
    np.testing.assert_array_equal(a.rotations, b.rotations)
    assert a.species == b.species
    assert not np.array_equal(a.volume, c.volume)


def test_gold_is_dense_and_near_the_surfaces_of_the_ice() -> None:
    rng = np.random.default_rng(1)
    specimen = simulate_specimen((64, 100, 100), SMALL, rng, 0, n_membranes=0, n_gold=5, ice_thickness_A=440)
    assert len(specimen.gold_centres_zyx) == 5
    volume_A3 = 4 / 3 * np.pi * GOLD_RADIUS_A**3
    assert specimen.volume.sum() * 1000 == pytest.approx(5 * GOLD_DENSITY * volume_A3, rel=0.03)
    for centre in specimen.gold_centres_zyx:
        assert specimen.volume[tuple(centre)] == pytest.approx(GOLD_DENSITY)
        assert min(centre[0] - 10, 53 - centre[0]) <= 7
    assert not specimen.volume[:10].any()
    assert not specimen.volume[54:].any()


def test_vesicles_have_two_leaflets_40_A_apart() -> None:
    voxel_size_A = 5.0
    molecules = builtin_molecules(voxel_size_A)[:1]
    rng = np.random.default_rng(4)
    specimen = simulate_specimen((100, 160, 160), molecules, rng, 0, n_membranes=1, n_gold=0)
    volume = specimen.volume
    centre = np.argwhere(volume > 0.3).mean(axis=0)
    apart_A = []
    for direction in np.random.default_rng(0).normal(size=(20, 3)):
        ray = direction[:, None] / np.linalg.norm(direction) * np.arange(0, 80, 0.1)
        profile = ndimage.map_coordinates(volume, centre[:, None] + ray, order=1)
        peaks = np.flatnonzero((profile > 0.6) & (profile == ndimage.maximum_filter1d(profile, 41)))
        if len(peaks) >= 2:  # else the ray leaves the volume first
            apart_A.append((peaks[-1] - peaks[0]) * 0.1 * voxel_size_A)
    assert len(apart_A) >= 5
    # Rays are not quite normal to an ellipsoid, so some are longer.
    assert min(apart_A) > 36
    assert np.median(apart_A) < 48
    assert volume.max() < 1.1


def test_membranes_gold_and_molecules_keep_apart() -> None:
    alone = simulate_specimen((80, 128, 128), SMALL, np.random.default_rng(7), 0, n_membranes=2, n_gold=3)
    both = simulate_specimen((80, 128, 128), SMALL, np.random.default_rng(7), 60, n_membranes=2, n_gold=3)
    molecules = both.volume - alone.volume
    assert len(both.species) == 60
    assert not ((alone.volume > 0.3) & (molecules > OCCUPIED)).any()


def test_impossible_specimens_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="two_subunits"):
        simulate_specimen((30, 60, 60), MOLECULES, rng)
    with pytest.raises(InputError, match="ice thickness"):
        simulate_specimen((60, 60, 60), SMALL, rng, ice_thickness_A=700)
    with pytest.raises(InputError, match="gold"):
        simulate_specimen((60, 60, 60), SMALL, rng, n_gold=500)
    with pytest.raises(InputError, match="membranes"):
        simulate_specimen((60, 60, 60), SMALL, rng, n_membranes=1, ice_thickness_A=200)
    with pytest.raises(InputError, match="no molecule"):
        simulate_specimen((60, 60, 60), [BY_NAME["two_subunits"]], rng, 5, 0, 0, ice_thickness_A=100)
    with pytest.raises(InputError, match="0 or more"):
        simulate_specimen((60, 60, 60), SMALL, rng, n_particles=-1)
