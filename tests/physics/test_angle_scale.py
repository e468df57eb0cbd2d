"""Tilt angles that are all wrong by one factor, found by the sharpness of a reconstruction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.angle_scale import AngleScale, estimate_angle_scale
from dewedge.physics.projection import project
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen

TILTS = np.arange(-60, 61, 3.0)
N, DEPTH = 128, 32


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Noisy images of a specimen that goes on beyond their edges."""
    volume = simulate_specimen(
        (DEPTH, N + 40, N + 40), builtin_molecules(20.0), np.random.default_rng(1)
    ).volume
    clean = project(torch.from_numpy(volume), TILTS, (N + 40, N + 40))[:, 20 : 20 + N, 20 : 20 + N]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return clean + noise * clean.std()


def estimate(images: Tensor, tilts: np.ndarray) -> AngleScale | None:
    geometry = TiltGeometry(tilt_deg=tilts, image_shape_yx=images.shape[1:], pixel_size_A=20.0)
    return estimate_angle_scale(images, geometry, 2 * DEPTH)


@pytest.mark.parametrize("wrong", [0.85, 0.93, 1.0, 1.08, 1.15])
def test_the_factor_is_found(images: Tensor, wrong: float):
    found = estimate(images, wrong * TILTS)
    assert found is not None
    assert found.factor * wrong == pytest.approx(1, abs=0.03)
    assert abs(found.factor * wrong - 1) < 3 * found.error
    assert found.is_off == (wrong != 1)


def test_an_offset_of_all_angles_is_none(images: Tensor):
    found = estimate(images, TILTS + 4)
    assert found is not None and not found.is_off


def test_noise_tells_nothing():
    noise = torch.randn((41, N, N), generator=torch.Generator().manual_seed(2))
    assert estimate(noise, TILTS) is None


@pytest.mark.parametrize("keep", [slice(0, 8), slice(None, None, 41)])
def test_few_tilts_tell_nothing(images: Tensor, keep: slice):
    assert estimate(images[keep], TILTS[keep]) is None


@pytest.mark.parametrize(
    "factor, error, off", [(1.03, 0.001, False), (1.06, 0.03, False), (1.06, 0.015, True), (0.9, 0.02, True)]
)
def test_what_is_within_its_error_is_not_off(factor: float, error: float, off: bool):
    assert AngleScale(factor, error).is_off == off
