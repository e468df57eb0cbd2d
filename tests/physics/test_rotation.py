import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from dewedge.physics.rotation import (
    cube_rotations,
    random_rotation,
    rotate_cubes,
    source_extent,
    source_size,
)


def test_the_24_rotations_of_the_cube_form_a_group():
    rotations = cube_rotations()
    assert rotations.shape == (24, 3, 3)
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    products = {tuple((a @ b).ravel()) for a in rotations for b in rotations}
    assert products == {tuple(r.ravel()) for r in rotations}
    np.testing.assert_allclose(np.linalg.det(rotations), 1)


def test_random_rotations_are_uniform_on_so3():
    rng = np.random.default_rng(1)
    rotations = np.stack([random_rotation(rng) for _ in range(4000)])
    # Under the uniform law every entry has mean 0 and variance 1/3, and the trace has mean 0 and variance 1.
    np.testing.assert_allclose(rotations.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(rotations.var(axis=0), 1 / 3, atol=0.03)
    assert np.trace(rotations, axis1=1, axis2=2).var() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("index", range(24))
def test_exact_rotations_move_voxels_without_interpolation(size: int, index: int):
    rotation = cube_rotations()[index]
    edge = source_size(size)
    source = torch.randn(1, 1, edge, edge, edge, generator=torch.Generator().manual_seed(index))
    rotated = rotate_cubes(source, torch.tensor(rotation)[None], size)[0, 0]
    offsets = np.stack(np.meshgrid(*[np.arange(size) - size // 2] * 3, indexing="ij"), axis=-1)
    z, y, x = np.moveaxis((offsets @ rotation).astype(int) + edge // 2, -1, 0)  # R^T r as a row vector
    torch.testing.assert_close(rotated, source[0, 0][z, y, x], rtol=0, atol=2e-5)


def test_a_point_moves_to_R_times_its_place():
    rng = np.random.default_rng(0)
    size = 24
    edge = source_size(size)
    rotation = random_rotation(rng)
    point = np.array([3.0, -4.0, 5.0])
    grid = np.stack(np.meshgrid(*[np.arange(edge) - edge // 2] * 3, indexing="ij"), axis=-1)
    blob = np.exp(-((grid - point) ** 2).sum(-1) / (2 * 1.5**2)).astype(np.float32)
    rotated = rotate_cubes(torch.from_numpy(blob)[None, None], torch.from_numpy(rotation)[None], size)
    centre = np.array(ndimage.center_of_mass(rotated[0, 0].numpy())) - size // 2
    np.testing.assert_allclose(centre, rotation @ point, atol=0.02)


@given(size=st.integers(4, 50), seed=st.integers(0, 1000), exact=st.booleans())
def test_the_extent_holds_every_voxel_and_fits_the_source(size: int, seed: int, exact: bool):
    rng = np.random.default_rng(seed)
    rotation = cube_rotations()[seed % 24] if exact else random_rotation(rng)
    ends = np.array([-(size // 2), size - 1 - size // 2])
    corners = np.stack(np.meshgrid(ends, ends, ends), axis=-1).reshape(-1, 3) @ rotation
    low, high = source_extent(rotation, size)
    assert (corners >= low - 1e-3).all() and (corners <= high + 1e-3).all()
    assert (low > corners.min(axis=0) - 1).all() and (high < corners.max(axis=0) + 1).all()
    assert max(high.max(), -low.min()) <= source_size(size) // 2


def test_a_batch_equals_its_members():
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    edge = source_size(6)
    sources = torch.randn(3, 2, edge, edge, edge, generator=generator)
    rotations = torch.from_numpy(np.stack([random_rotation(rng) for _ in range(3)]))
    together = rotate_cubes(sources, rotations, 6)
    for i in range(3):
        torch.testing.assert_close(
            together[i : i + 1], rotate_cubes(sources[i : i + 1], rotations[i : i + 1], 6)
        )
