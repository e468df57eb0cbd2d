import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dewedge.physics.rotation import (
    Interpolation,
    cube_rotations,
    grid_sampled,
    random_rotation,
    rotate_cubes,
    source_extent,
    source_size,
)
from dewedge.physics.wedge import wedge_mask


def test_the_24_rotations_of_the_cube_form_a_group():
    rotations = cube_rotations()
    assert rotations.shape == (24, 3, 3)
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    products = {tuple((a @ b).ravel()) for a in rotations for b in rotations}
    assert products == {tuple(r.ravel()) for r in rotations}
    np.testing.assert_allclose(np.linalg.det(rotations), 1)


def test_moving_rotations_are_those_that_move_the_wedge_of_a_symmetric_tilt_range():
    everything = torch.from_numpy(cube_rotations("all").copy())
    ranges = torch.tensor([[-60.0, 60.0, 0.0]], dtype=torch.float64).expand(24, 3)
    masks = wedge_mask((9, 9, 9), ranges, everything)  # the identity comes first
    moved = [matrix for matrix, mask in zip(everything, masks, strict=True) if (mask != masks[0]).any()]
    assert len(moved) == 20
    np.testing.assert_array_equal(cube_rotations("moving"), np.stack(moved))


def test_rotations_about_the_tilt_axis_leave_it_where_it_is():
    turns = cube_rotations("tilt axis")
    expected = [Rotation.from_euler("y", angle, degrees=True).as_matrix() for angle in (0, 90, 180, 270)]
    found = {tuple(map(int, matrix.ravel())) for matrix in turns}
    # About the same axis the matrices of (x, y, z) and of (z, y, x) vectors are those of opposite angles.
    assert found == {tuple(map(int, matrix.round().ravel())) for matrix in expected}
    assert len(turns) == 4
    np.testing.assert_array_equal(cube_rotations("none"), np.eye(3)[None])


def test_random_rotations_are_uniform_on_so3():
    rng = np.random.default_rng(1)
    rotations = np.stack([random_rotation(rng) for _ in range(4000)])
    # Under the uniform law every entry has mean 0 and variance 1/3, and the trace has mean 0 and variance 1.
    np.testing.assert_allclose(rotations.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(rotations.var(axis=0), 1 / 3, atol=0.03)
    assert np.trace(rotations, axis1=1, axis2=2).var() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("size", [7, 8])
def test_exact_rotations_move_voxels_without_interpolation(size: int, interpolation: Interpolation):
    edge = source_size(size)
    sources = torch.randn(24, 2, edge, edge, edge, generator=torch.Generator().manual_seed(0))
    rotated = rotate_cubes(sources, torch.tensor(cube_rotations()), size, interpolation)
    offsets = np.stack(np.meshgrid(*[np.arange(size) - size // 2] * 3, indexing="ij"), axis=-1)
    for source, rotation, cube in zip(sources, cube_rotations(), rotated, strict=True):
        z, y, x = np.moveaxis((offsets @ rotation).astype(int) + edge // 2, -1, 0)  # R^T r as a row vector
        assert torch.equal(cube, source[:, z, y, x])


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_interpolation_meets_exact_rotations(interpolation: Interpolation):
    edge = source_size(8)
    sources = torch.randn(24, 1, edge, edge, edge, generator=torch.Generator().manual_seed(0))
    rotations = torch.tensor(cube_rotations())
    nearly = rotations @ torch.tensor(Rotation.from_rotvec([1e-6, 0, 0]).as_matrix())
    torch.testing.assert_close(
        rotate_cubes(sources, nearly, 8, interpolation),
        rotate_cubes(sources, rotations, 8, interpolation),
        rtol=0,
        atol=1e-4,
    )


@pytest.mark.parametrize(("interpolation", "order"), [("linear", 1), ("cubic", 3)])
@pytest.mark.parametrize("size", [7, 8])
def test_interpolation_is_that_of_scipy(size: int, interpolation: Interpolation, order: int):
    rng = np.random.default_rng(size)
    edge = source_size(size)
    sources = rng.standard_normal((3, 2, edge, edge, edge))
    rotations = np.stack([random_rotation(rng) for _ in range(3)])
    rotated = rotate_cubes(torch.from_numpy(sources), torch.from_numpy(rotations), size, interpolation)
    offsets = np.stack(np.meshgrid(*[np.arange(size) - size // 2] * 3, indexing="ij"), axis=-1)
    for source, rotation, cube in zip(sources, rotations, rotated.numpy(), strict=True):
        places = np.moveaxis(offsets @ rotation + edge // 2, -1, 0)
        for channel, result in zip(source, cube, strict=True):
            expected = ndimage.map_coordinates(channel, places, order=order, mode="mirror")
            np.testing.assert_allclose(result, expected, atol=1e-9)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_gradients_are_those_of_a_linear_map(interpolation: Interpolation):
    generator = torch.Generator().manual_seed(0)
    edge = source_size(6)
    x, other = torch.randn(2, 2, 1, edge, edge, edge, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 1, 6, 6, 6, generator=generator, dtype=torch.float64)
    rotations = torch.from_numpy(np.stack([cube_rotations()[7], random_rotation(np.random.default_rng(0))]))
    x.requires_grad_()
    (rotate_cubes(x, rotations, 6, interpolation) * y).sum().backward()
    expected = (rotate_cubes(other, rotations, 6, interpolation) * y).sum()
    torch.testing.assert_close((x.grad * other).sum(), expected)


def test_outside_a_small_source_are_zeros():
    cube = torch.ones(1, 1, 4, 4, 4)
    flip = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
    rotated = rotate_cubes(cube, flip[None], 4)[0, 0]
    assert not rotated[0].any() and not rotated[:, 0].any()
    torch.testing.assert_close(rotated[1:, 1:], torch.ones(3, 3, 4))


def test_a_gpu_interpolates_as_a_cpu_does():
    rng = np.random.default_rng(0)
    rotations = torch.from_numpy(np.stack([random_rotation(rng) for _ in range(3)])).float()
    for edge in (8, 9, source_size(8)):  # two too small, and one large enough
        sources = torch.from_numpy(rng.standard_normal((3, 2, edge, edge, edge), dtype=np.float32))
        torch.testing.assert_close(
            grid_sampled(sources, rotations, 8), rotate_cubes(sources, rotations, 8), atol=1e-4, rtol=0
        )


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="nearest"):
        rotate_cubes(torch.ones(1, 1, 5, 5, 5), torch.eye(3)[None], 3, "nearest")  # type: ignore[arg-type]


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


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_batch_equals_its_members(interpolation: Interpolation):
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    edge = source_size(6)
    sources = torch.randn(4, 2, edge, edge, edge, generator=generator)
    drawn = [random_rotation(rng), cube_rotations()[3], random_rotation(rng), cube_rotations()[20]]
    rotations = torch.from_numpy(np.stack(drawn))
    together = rotate_cubes(sources, rotations, 6, interpolation)
    for i in range(4):
        alone = rotate_cubes(sources[i : i + 1], rotations[i : i + 1], 6, interpolation)
        torch.testing.assert_close(together[i : i + 1], alone)
