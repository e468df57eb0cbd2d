"""The forward projector and its adjoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics import projection
from dewedge.physics.projection import Projector, back_project, project


def rotation(degrees: float, scale: float = 1.0) -> np.ndarray:
    a = np.radians(degrees)
    return scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


def raw_geometry(tilts: list[float], shape: tuple[int, int], axis_deg: float, seed: int = 0) -> TiltGeometry:
    generator = np.random.default_rng(seed)
    linear = np.stack([rotation(axis_deg + generator.normal(), 1 + 0.01 * generator.normal()) for _ in tilts])
    return TiltGeometry(
        tilt_deg=np.array(tilts),
        image_shape_yx=shape,
        pixel_size_A=10,
        linear_yx=linear,
        shift_yx=generator.normal(scale=2, size=(len(tilts), 2)),
    )


def blob(shape: tuple[int, ...], offset: tuple[float, ...], sigma: float) -> Tensor:
    """Gaussian at an offset from index N // 2, with peak 1."""
    result = torch.ones((), dtype=torch.float64)
    for n, centre in zip(shape, offset, strict=True):
        distance = torch.arange(n, dtype=torch.float64) - n // 2 - centre
        result = result[..., None] * torch.exp(-0.5 * (distance / sigma) ** 2)
    return result


def centroid(image: Tensor) -> Tensor:
    """Centre of mass from index N // 2."""
    axes = [torch.arange(n, dtype=image.dtype) - n // 2 for n in image.shape]
    return torch.stack([(image.sum(1) * axes[0]).sum(), (image.sum(0) * axes[1]).sum()]) / image.sum()


def adjoint_error(geometry: TiltGeometry, shape: tuple[int, int, int], dtype: torch.dtype) -> float:
    generator = torch.Generator().manual_seed(0)
    operator = Projector(geometry, shape)
    volume = torch.randn(shape, generator=generator, dtype=dtype)
    images = torch.randn(geometry.n_tilts, *geometry.image_shape_yx, generator=generator, dtype=dtype)
    forward, backward = operator.forward(volume), operator.adjoint(images)
    assert forward.shape == images.shape and forward.dtype == dtype
    assert backward.shape == volume.shape and backward.dtype == dtype
    left = (forward.double() * images.double()).sum()
    right = (volume.double() * backward.double()).sum()
    return float(abs(left - right) / (forward.double().norm() * images.double().norm()))


@pytest.mark.parametrize("axis_deg", [None, 0.0, 4.3, -86.0, 90.0, 178.0])
@pytest.mark.parametrize("shape", [(10, 24, 30), (9, 25, 31), (16, 40, 12)])
def test_adjoint(axis_deg: float | None, shape: tuple[int, int, int]) -> None:
    tilts = [-63.0, -41.5, -3.0, 0.0, 22.0, 48.0]
    geometry = TiltGeometry(tilt_deg=np.array(tilts), image_shape_yx=(27, 26), pixel_size_A=10)
    if axis_deg is not None:
        geometry = raw_geometry(tilts, (27, 26), axis_deg)
    assert adjoint_error(geometry, shape, torch.float32) < 1e-6
    assert adjoint_error(geometry, shape, torch.float64) < 1e-14


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-89, 89), min_size=1, max_size=5),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.floats(-180, 180),
)
def test_adjoint_of_any_geometry(
    tilts: list[float], volume: tuple[int, int, int], images: tuple[int, int], axis_deg: float
) -> None:
    aligned = TiltGeometry(tilt_deg=np.array(tilts), image_shape_yx=images, pixel_size_A=1)
    dot = (torch.ones(volume, dtype=torch.float64), torch.ones((len(tilts), *images), dtype=torch.float64))
    for geometry in (aligned, raw_geometry(tilts, images, axis_deg)):
        operator = Projector(geometry, volume)
        left, right = operator.forward(dot[0]).sum(), operator.adjoint(dot[1]).sum()
        torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


def test_small_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = torch.randn(11, 13, 12, dtype=torch.float64)
    tilts = np.array([-50.0, 10.0, 66.0])
    images = project(volume, tilts, (13, 15))
    back = back_project(images, tilts, (11, 13, 12))
    monkeypatch.setattr(projection, "_TABLE_PAIRS", 200)
    monkeypatch.setattr(projection, "_ROWS", 4)
    torch.testing.assert_close(project(volume, tilts, (13, 15)), images)
    torch.testing.assert_close(back_project(images, tilts, (11, 13, 12)), back)


def test_zero_tilt_is_the_sum_over_z() -> None:
    volume = torch.randn(7, 9, 12)
    torch.testing.assert_close(project(volume, [0.0], (9, 12))[0], volume.sum(0))
    torch.testing.assert_close(project(volume, [0.0], (6, 8))[0], volume.sum(0)[1:7, 2:10])


@pytest.mark.parametrize("shape", [(24, 20, 40), (25, 21, 41)])
def test_mass_is_conserved_and_a_blob_projects_to_its_place(shape: tuple[int, int, int]) -> None:
    z, y, x = 4.0, -3.0, 6.0
    tilts = np.array([-70.0, -35.0, 0.0, 20.0, 60.0])
    volume = blob(shape, (z, y, x), 1.5)
    images = project(volume, tilts, (shape[1], shape[2] + 6))
    torch.testing.assert_close(images.sum(dim=(1, 2)), volume.sum().expand(5), rtol=1e-4, atol=0)
    for image, tilt in zip(images, np.radians(tilts), strict=True):
        expected = torch.tensor([y, x * np.cos(tilt) + z * np.sin(tilt)], dtype=torch.float64)
        torch.testing.assert_close(centroid(image), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("tilt", [3.0, 26.565, 36.0, 44.0, 45.0, -45.0, 60.0])
def test_a_uniform_specimen_projects_uniformly(tilt: float) -> None:
    image = project(torch.ones(100, 1, 300, dtype=torch.float64), [tilt], (1, 40))[0, 0]
    expected = torch.full_like(image, 100 / np.cos(np.radians(tilt)))
    torch.testing.assert_close(image, expected, rtol=2e-3, atol=0)


def test_linear() -> None:
    operator = Projector(raw_geometry([-40.0, 30.0], (15, 16), 85.0), (8, 16, 15))
    a, b = torch.randn(2, 8, 16, 15, dtype=torch.float64)
    torch.testing.assert_close(
        operator.forward(2 * a - b), 2 * operator.forward(a) - operator.forward(b), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("axis_deg", [0.0, 7.0, -84.0, 90.0])
def test_raw_pixels_see_the_aligned_image_at_their_place(axis_deg: float) -> None:
    tilts = [-50.0, 0.0, 35.0]
    geometry = raw_geometry(tilts, (48, 40), axis_deg)
    z, y, x = 3.0, 5.0, -6.0
    images = Projector(geometry, (20, *geometry.aligned_shape_yx)).forward(
        blob((20, *geometry.aligned_shape_yx), (z, y, x), 1.5)
    )
    for i, tilt in enumerate(np.radians(tilts)):
        aligned = np.array([y, x * np.cos(tilt) + z * np.sin(tilt)])
        raw = np.linalg.solve(geometry.linear_yx[i], aligned - geometry.shift_yx[i])
        np.testing.assert_allclose(centroid(images[i]).numpy(), raw, atol=0.02)


def test_a_quarter_turn_only_swaps_the_axes() -> None:
    linear = np.broadcast_to(np.array([[0.0, -1.0], [1.0, 0.0]]), (2, 2, 2))
    geometry = TiltGeometry(
        tilt_deg=np.array([-20.0, 40.0]), image_shape_yx=(13, 9), pixel_size_A=1, linear_yx=linear
    )
    assert geometry.aligned_shape_yx == (9, 13)
    volume = torch.randn(5, 9, 13, dtype=torch.float64)
    aligned = project(volume, geometry.tilt_deg, (9, 13))
    # Raw (y, x) lies at aligned (-x, y).
    expected = aligned.flip(1).transpose(1, 2)
    torch.testing.assert_close(Projector(geometry, (5, 9, 13)).forward(volume), expected)


def test_wrong_shapes_are_refused() -> None:
    operator = Projector(TiltGeometry(tilt_deg=np.zeros(1), image_shape_yx=(4, 5), pixel_size_A=1), (3, 4, 5))
    with pytest.raises(ValueError, match="expected shape"):
        operator.forward(torch.zeros(3, 5, 4))
    with pytest.raises(ValueError, match="expected shape"):
        operator.adjoint(torch.zeros(2, 4, 5))
