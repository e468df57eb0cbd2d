"""A tomogram against its own images: perfect is what leaves the noise, not what agrees best."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.physics.projection import project
from dewedge.physics.reconstruction import fbp
from dewedge.scores.consistency import ImageAgreement, image_agreement
from dewedge.scores.spectra import shell_sums, tapered_image_spectrum

SHAPE = (40, 160, 160)
TILTS = np.arange(-60.0, 61, 3)
EDGES = (0.06, 0.1, 0.14, 0.18)
GEOMETRY = TiltGeometry(tilt_deg=TILTS, image_shape_yx=SHAPE[1:], pixel_size_A=10)
# Of some images there is more noise.
LEVEL = np.where(np.abs(TILTS) > 45, 1.5, 1.0)


@pytest.fixture(scope="module")
def specimen() -> torch.Tensor:
    volume = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        volume = torch.nn.functional.avg_pool3d(volume[None, None], 3, stride=1, padding=1)[0, 0]
    return volume


@pytest.fixture(scope="module")
def clean(specimen: torch.Tensor) -> torch.Tensor:
    return project(specimen, TILTS, SHAPE[1:])


@pytest.fixture(scope="module")
def frames(clean: torch.Tensor) -> list[np.ndarray]:
    generator = torch.Generator().manual_seed(1)
    std = 4 * clean.std() * torch.from_numpy(LEVEL).float().sqrt()[:, None, None]
    return [(clean + std * torch.randn(clean.shape, generator=generator)).numpy() for _ in range(2)]


@pytest.fixture(scope="module")
def noisy(frames: list[np.ndarray]) -> np.ndarray:
    return (frames[0] + frames[1]) / 2


def agreement(volume: torch.Tensor, images: np.ndarray, **frames: list[np.ndarray]) -> ImageAgreement:
    return image_agreement(volume.numpy(), images, TILTS, LEVEL, edges=EDGES, **frames)


@pytest.mark.parametrize("with_frames", [True, False])
def test_the_noise_is_told(specimen, clean, noisy, frames, with_frames: bool):
    found = agreement(specimen, noisy, **({"frames": frames} if with_frames else {}))
    spectra = [tapered_image_spectrum(image) for image in noisy - clean.numpy()]
    true = [sums.aa / sums.count for sums in (shell_sums(each, each, EDGES) for each in spectra)]
    ratio = found.noise / true
    np.testing.assert_allclose(ratio.mean(axis=0), 1, atol=0.2)
    steep = np.abs(TILTS) > 45
    assert found.noise[steep].mean() / found.noise[~steep].mean() == pytest.approx(1.5, rel=0.15)


def test_of_the_specimen_noise_is_left(specimen, noisy, frames):
    found = agreement(specimen, noisy, frames=frames)
    np.testing.assert_allclose(found.mean_over_noise, 1, atol=0.1)
    np.testing.assert_allclose(found.mean_correlation, found.ceiling, atol=0.06)
    assert found.reach() == (EDGES[-1], EDGES[-1]) and found.outliers() == []


def test_a_noisy_back_projection_agrees_better_and_is_found_out(noisy, frames):
    found = agreement(fbp(torch.from_numpy(noisy), GEOMETRY, SHAPE[0]), noisy, frames=frames)
    assert (found.mean_correlation > found.ceiling + 0.03).all()
    assert (found.mean_over_noise < 0.9).all()


def test_of_another_specimen_all_structure_is_left(specimen, noisy, frames):
    found = agreement(specimen.flip(1), noisy, frames=frames)
    np.testing.assert_allclose(found.mean_over_noise, 1 / (1 - found.ceiling**2), rtol=0.1)
    assert found.reach() == (None, EDGES[-1])


def test_images_of_noise_hold_no_structure(specimen, frames):
    noise = [np.random.default_rng(i).normal(size=frames[0].shape).astype(np.float32) for i in (0, 1)]
    found = agreement(specimen, (noise[0] + noise[1]) / 2, frames=noise)
    assert found.reach() == (None, None) and found.outliers() == []


@pytest.mark.parametrize("bad", [0, 13, 25])
def test_a_shifted_image_stands_out(specimen, noisy, bad: int):
    images = noisy.copy()
    images[bad] = np.roll(images[bad], 4, axis=1)
    assert agreement(specimen, images).outliers() == [bad]


def test_what_does_not_fit_is_refused(specimen, noisy):
    with pytest.raises(InputError, match="expected one image a tilt"):
        image_agreement(specimen.numpy(), noisy[:, :-1], TILTS, LEVEL)
