"""The tilt axis found by the sharpness of a reconstruction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.alignment import align_images
from dewedge.physics.projection import project
from dewedge.physics.reconstruction import fbp
from dewedge.physics.tilt_axis import AxisEstimate, blur_px, estimate_axis, slab_tilt, unexplained
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen

TILTS = np.arange(-60, 61, 3.0)
N = 128


def geometry(n: int = N, tilts: np.ndarray = TILTS) -> TiltGeometry:
    return TiltGeometry(tilt_deg=tilts, image_shape_yx=(n, n), pixel_size_A=20.0)


@pytest.fixture(scope="module")
def projections() -> Tensor:
    """Clean images of a specimen that goes on beyond their edges: 20 pixels are to be cut."""
    volume = simulate_specimen((32, N + 40, N + 40), builtin_molecules(20.0), np.random.default_rng(1)).volume
    return project(torch.from_numpy(volume), TILTS, (N + 40, N + 40))


def misaligned(projections: Tensor, angle_deg: float, shift_x: float) -> Tensor:
    """Noisy images that become aligned if they are turned by the angle, then shifted along x."""
    # Turned back by aligning them as if they were raw: the inverse motion.
    turned = geometry(N + 40).moved(-angle_deg, 0.0)
    shifted = geometry(N + 40).moved(0.0, -shift_x)
    images = align_images(projections.numpy(), shifted)[0]
    images = align_images(images.numpy(), turned)[0][:, 20 : 20 + N, 20 : 20 + N]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return images + noise * images.std() * 10**0.5


def found_in(images: Tensor) -> AxisEstimate:
    found = estimate_axis(images, geometry(), 32)
    assert found is not None
    assert 0 < found.shift_error_px < 0.5 and 0 < found.angle_error_deg < 0.8
    return found


def test_an_exact_axis_is_left_where_it_is(projections: Tensor) -> None:
    found = found_in(misaligned(projections, 0, 0))
    assert abs(found.shift_px) < 2 * found.shift_error_px + 0.1
    assert abs(found.angle_deg) < 2 * found.angle_error_deg + 0.1
    assert abs(found.gain) < 0.01


@pytest.mark.parametrize("angle, shift", [(0.0, 3.3), (-0.7, -7.0), (1.0, 0.0)])
def test_a_displaced_and_turned_axis_is_found(projections: Tensor, angle: float, shift: float) -> None:
    found = found_in(misaligned(projections, angle, shift))
    assert found.shift_px == pytest.approx(shift, abs=0.5)
    assert found.angle_deg == pytest.approx(angle, abs=max(0.5, 2 * found.angle_error_deg))
    assert found.gain > (0.1 if shift else 0.002)


def test_what_is_found_puts_the_images_right(projections: Tensor) -> None:
    images = misaligned(projections, -2.0, 5.0)
    first = found_in(images)
    moved = geometry().moved(first.angle_deg, first.shift_px)
    again = found_in(align_images(images.numpy(), moved)[0])
    assert abs(again.shift_px) < 0.5 < abs(first.shift_px)
    assert abs(again.angle_deg) < 0.5 < abs(first.angle_deg)


def test_pure_noise_and_small_images_tell_nothing() -> None:
    noise = torch.randn(len(TILTS), N, N, generator=torch.Generator().manual_seed(0))
    found = estimate_axis(noise, geometry(), 32)
    assert found is None or abs(found.shift_px) < 3 * found.shift_error_px
    assert estimate_axis(noise[:, :64, :64], geometry(64), 32) is None


@pytest.mark.parametrize("tilts", [TILTS, np.arange(-40, 61, 2.0)])
def test_places_in_the_specimen_explain_cosines_and_sines(tilts: np.ndarray) -> None:
    rest = unexplained(tilts)
    angles = np.radians(tilts)
    np.testing.assert_allclose([rest @ np.cos(angles), rest @ np.sin(angles)], 0, atol=1e-9)
    # What is taken away lies at one place.
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert np.linalg.lstsq(places, 1 - rest, rcond=None)[1] < 1e-20
    assert blur_px(2.0, 0.0, tilts, (10, 10)) == pytest.approx(2 * np.sqrt(np.mean(rest**2)))
    assert blur_px(0.0, 1.0, tilts, (200, 100)) < blur_px(0.0, 1.0, tilts, (400, 100))


def test_blur_of_the_usual_range() -> None:
    assert blur_px(1.0, 0.0, TILTS, (100, 100)) == pytest.approx(0.18, abs=0.01)


@pytest.mark.parametrize("angle", [-6.0, 0.0, 8.0])
def test_a_tilted_slab_is_an_offset_of_all_angles(angle: float) -> None:
    n, thickness = 96, 48
    rng = np.random.default_rng(0)
    volume = np.zeros((thickness, n, 2 * n), np.float32)
    z, x = np.indices((thickness, 2 * n)) - np.array([thickness // 2, n])[:, None, None]
    inside = np.abs(z - x * np.tan(np.radians(angle))) < 6
    volume += rng.normal(size=volume.shape).astype(np.float32) * inside[:, None]
    images = project(torch.from_numpy(volume), TILTS, (n, n))
    found, error = slab_tilt(fbp(images, geometry(n), thickness))
    assert found == pytest.approx(angle, abs=max(1.5, 2 * error))
    assert error < 1.5
