from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dewedge.physics.projection import project
from dewedge.simulate.fourier_slice import project_slices

TILTS = [-60.0, -33.3, 0.0, 12.0, 60.0]


def blob(shape: tuple[int, ...], centre: tuple[float, ...], sigma: float) -> Tensor:
    axes = [torch.arange(n) - n // 2 - c for n, c in zip(shape, centre, strict=True)]
    grid = torch.meshgrid(*axes, indexing="ij")
    return torch.exp(-sum(a**2 for a in grid) / (2 * sigma**2))


@pytest.mark.parametrize("shape, image", [((40, 50, 120), (48, 64)), ((31, 33, 101), (33, 45))])
def test_a_gaussian_is_projected_exactly(shape: tuple[int, int, int], image: tuple[int, int]) -> None:
    images = project_slices(blob(shape, (5.3, -4.2, 7.4), 2.0), TILTS, image)
    for projected, tilt in zip(images, np.radians(TILTS), strict=True):
        x_p = 7.4 * np.cos(tilt) + 5.3 * np.sin(tilt)
        expected = np.sqrt(2 * np.pi) * 2 * blob(image, (-4.2, x_p), 2.0)
        torch.testing.assert_close(projected, expected, atol=1e-4, rtol=0)


def test_it_agrees_with_the_projector_of_the_reconstruction_at_low_frequency_only() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.zeros(24, 32, 140)
    noise[:, :, 50:90] = torch.randn(24, 32, 40, generator=generator)
    spectra = [torch.fft.rfft2(method(noise, [40.0], (32, 64))[0]) for method in (project_slices, project)]
    frequency = torch.hypot(torch.fft.fftfreq(32)[:, None], torch.fft.rfftfreq(64)[None])
    errors = [
        float((spectra[0] - spectra[1])[band].abs().mean() / spectra[0][band].abs().mean())
        for band in (frequency < 0.06, (frequency > 0.35) & (frequency < 0.5))
    ]
    assert errors[0] < 0.03
    assert errors[1] > 5 * errors[0]


def test_weighted_planes_add_up_to_the_whole() -> None:
    volume = torch.rand(12, 20, 60, generator=torch.Generator().manual_seed(1))
    ramp = torch.linspace(0, 1, 12)
    parts = project_slices(volume, TILTS, (20, 24), torch.stack([ramp, 1 - ramp]))
    assert parts.shape == (2, 5, 20, 24)
    torch.testing.assert_close(parts.sum(dim=0), project_slices(volume, TILTS, (20, 24)))


def test_images_may_not_be_higher_than_the_volume() -> None:
    with pytest.raises(ValueError, match="30 rows from a volume of 20"):
        project_slices(torch.zeros(4, 20, 40), TILTS, (30, 8))
