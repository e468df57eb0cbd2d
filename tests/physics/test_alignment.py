"""Alignment and binning of tilt images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.physics.alignment import BinningMethod, align_images
from dewedge.physics.projection import Projector, project


def blobs(shape: tuple[int, int], points_yx: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussians at points from index N // 2."""
    y, x = (np.arange(n) - n // 2 for n in shape)
    return sum(np.exp(-((y[:, None] - py) ** 2 + (x - px) ** 2) / (2 * sigma**2)) for py, px in points_yx)


def make_geometry(
    shape: tuple[int, int], angle_deg: float = 0, shift: tuple[float, float] = (0, 0)
) -> TiltGeometry:
    a = np.radians(angle_deg)
    linear = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]])
    return TiltGeometry(
        tilt_deg=np.array([30.0]),
        image_shape_yx=shape,
        pixel_size_A=2.0,
        linear_yx=linear,
        shift_yx=np.array([shift], dtype=float),
    )


@pytest.mark.parametrize("method", ["fourier", "average"])
@pytest.mark.parametrize("binning", [1, 2, 3, 4])
@pytest.mark.parametrize("angle_deg", [0.0, 5.0, -86.0, 180.0])
@pytest.mark.parametrize("shape", [(96, 120), (97, 121)])
def test_points_land_where_the_geometry_says(
    method: BinningMethod, binning: int, angle_deg: float, shape: tuple[int, int]
) -> None:
    # Turned images without a shift tell whether the axis stays at N // 2; a shift, whether it is added after.
    points = np.array([[20.0, 14.0], [-17.0, 30.0], [8.0, -25.0]])
    geometry = make_geometry(shape, angle_deg, (0, 0) if angle_deg == 0 else (3.3, -4.6))
    sigma = 4.0
    image = blobs(shape, points, sigma).astype(np.float32)
    aligned, after = align_images(image[None], geometry, binning, method)
    assert after.is_aligned and after.image_shape_yx == tuple(aligned.shape[1:])
    assert after.image_shape_yx == tuple(n // binning for n in geometry.aligned_shape_yx)
    assert after.pixel_size_A == 2.0 * binning
    moved = (points @ geometry.linear_yx[0].T + geometry.shift_yx[0]) / binning
    expected = blobs(after.image_shape_yx, moved, sigma / binning) - image.mean()
    inside = (slice(None), *(slice(n // 8, -(n // 8)) for n in after.image_shape_yx))
    difference = (aligned.numpy() - expected)[inside]
    # Averaging widens the points by the variance of a pixel; the centre must hold to a fraction of a pixel.
    assert np.abs(difference).max() < (0.08 if method == "average" and binning > 2 else 0.04)
    weight = np.clip(aligned.numpy()[0] + image.mean() - 0.05, 0, None)
    weight[: weight.shape[0] // 10] = weight[-(weight.shape[0] // 10) :] = 0
    truth = np.clip(expected + image.mean() - 0.05, 0, None)
    for axis in (0, 1):
        position = np.arange(weight.shape[axis])
        found = (weight.sum(1 - axis) * position).sum() / weight.sum()
        wanted = (truth.sum(1 - axis) * position).sum() / truth.sum()
        assert abs(found - wanted) < 0.06


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_aligned_images_are_only_freed_of_their_mean(dtype: type) -> None:
    images = np.random.default_rng(0).integers(0, 100, (2, 9, 12)).astype(dtype)
    geometry = TiltGeometry(tilt_deg=np.array([0.0, 3.0]), image_shape_yx=(9, 12), pixel_size_A=1)
    aligned, _ = align_images(images, geometry)
    expected = images.astype(np.float64) - images.mean(axis=(1, 2), dtype=np.float64, keepdims=True)
    np.testing.assert_allclose(aligned.numpy(), expected, atol=1e-5)


def test_a_large_offset_does_not_matter() -> None:
    images = np.random.default_rng(0).normal(size=(1, 32, 30))
    geometry = make_geometry((32, 30), 5.0, (1.0, 2.0))
    aligned, _ = align_images(images, geometry, 2)
    shifted, _ = align_images(images + 1e5, geometry, 2)
    torch.testing.assert_close(shifted, aligned, rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.integers(1, 4), st.sampled_from(["fourier", "average"]))
def test_every_size_keeps_the_centre(height: int, width: int, binning: int, method: BinningMethod) -> None:
    # A raw image that is odd about its centre stays so, or its centre has moved.
    ky, kx = 1 / height, 1 / width
    y, x = np.arange(height) - height // 2, np.arange(width) - width // 2
    image = np.sin(2 * np.pi * ky * y)[:, None] + np.sin(2 * np.pi * kx * x) + 5
    aligned, after = align_images(image[None], make_geometry((height, width)), binning, method)
    ny, nx = after.image_shape_yx
    # Half a binned pixel would make sin(pi binning / N), at least 0.078 times the binning.
    assert abs(float(aligned[0, ny // 2, nx // 2])) < 0.04 * binning


def test_outside_the_raw_image_values_fade_without_a_rim() -> None:
    # A gradient over the image: the worst case for a step at its edges.
    image = np.linspace(-1, 1, 80)[None, :] + 0 * np.arange(60.0)[:, None] + 100
    aligned, _ = align_images(image[None], make_geometry((60, 80), 0.0, (0.0, 30.0)))
    row = aligned[0, 30]
    assert row[:20].abs().max() < 1e-4
    assert row.abs().max() < 1.001
    assert row.diff().abs().max() < 0.3
    torch.testing.assert_close(row[31:], torch.from_numpy(image[30, 1:50] - 100).float(), rtol=0, atol=2e-3)


def test_alignment_undoes_a_raw_geometry() -> None:
    generator = np.random.default_rng(3)
    tilts = np.array([-45.0, 0.0, 30.0])
    angles = np.radians(-85 + generator.normal(size=3))
    linear = np.moveaxis(
        np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]), -1, 0
    )
    geometry = TiltGeometry(
        tilt_deg=tilts,
        image_shape_yx=(64, 72),
        pixel_size_A=1,
        linear_yx=linear,
        shift_yx=generator.normal(scale=3, size=(3, 2)),
    )
    shape = (16, *geometry.aligned_shape_yx)
    z, y, x = torch.meshgrid(*[torch.arange(float(n)) - n // 2 for n in shape], indexing="ij")
    volume = torch.exp(-((z - 2) ** 2 + (y - 7) ** 2 + (x + 5) ** 2) / (2 * 3.0**2))
    raw = Projector(geometry, shape).forward(volume)
    aligned, after = align_images(raw.numpy(), geometry)
    direct = project(volume, tilts, after.image_shape_yx)
    direct = direct - raw.mean(dim=(1, 2), keepdim=True)
    inside = (slice(None), slice(8, -8), slice(8, -8))
    error = (aligned - direct)[inside].abs().max() / direct.max()
    assert error < 0.03


def test_bad_images_are_named() -> None:
    geometry = TiltGeometry(tilt_deg=np.array([0.0, 3.0]), image_shape_yx=(8, 8), pixel_size_A=1)
    images = np.random.default_rng(0).normal(size=(2, 8, 8)).astype(np.float32)
    images[1, 2, 3] = np.nan
    with pytest.raises(InputError, match=r"image 1 .*3 degrees.*NaN"):
        align_images(images, geometry)
    images[1] = 7
    with pytest.raises(InputError, match=r"image 1 .*constant \(7\)"):
        align_images(images, geometry)
    with pytest.raises(InputError, match="expected"):
        align_images(images[:1], geometry)
    with pytest.raises(InputError, match="binning 5"):
        align_images(images, geometry, 5)
