"""The half-spectrum and Fourier cropping."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dewedge.physics.fourier import fourier_crop, frequencies, multiplicity

SIZES = [(12, 18, 6, 6), (13, 17, 5, 8), (16, 15, 9, 7), (15, 16, 8, 5), (12, 12, 12, 12), (13, 13, 13, 13)]


@pytest.mark.parametrize("shape", [(8, 6, 10), (7, 5, 9), (6, 7, 9), (7, 6, 8)])
def test_parseval_with_multiplicity(shape: tuple[int, ...]) -> None:
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    power = torch.fft.rfftn(volume, norm="ortho").abs().square()
    torch.testing.assert_close((power * multiplicity(shape[-1])).sum(), volume.square().sum())


def test_frequencies_are_those_of_the_half_spectrum() -> None:
    shape = (4, 5, 7)
    wave = torch.tensor([0.25, -0.4, 1 / 7])
    grid = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
    phase = 2 * torch.pi * sum(w * g for w, g in zip(wave, grid, strict=True))
    power = torch.fft.rfftn(torch.cos(phase)).abs()
    peak = torch.unravel_index(power.argmax(), power.shape)
    found = [f.expand(power.shape)[peak] for f in frequencies(shape)]
    torch.testing.assert_close(torch.stack(found), wave)


@given(st.integers(2, 24), st.integers(2, 24), st.data())
def test_cropping_keeps_the_mean_and_batches(height: int, width: int, data: st.DataObject) -> None:
    shape = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    images = torch.randn((2, height, width), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cropped = fourier_crop(images, shape)
    assert cropped.shape == (2, *shape)
    torch.testing.assert_close(cropped.mean(dim=(1, 2)), images.mean(dim=(1, 2)))
    torch.testing.assert_close(cropped[1], fourier_crop(images[1], shape))


@pytest.mark.parametrize("sizes", SIZES)
def test_cropping_keeps_a_smooth_image_about_its_centre(sizes: tuple[int, int, int, int]) -> None:
    # A band-limited image is known everywhere, so its cropped version must be its own value at d * old / new.
    height, width, new_height, new_width = sizes

    def image(n_y: int, n_x: int) -> torch.Tensor:
        y = (torch.arange(n_y, dtype=torch.float64)[:, None] - n_y // 2) / n_y
        x = (torch.arange(n_x, dtype=torch.float64) - n_x // 2) / n_x
        return 1 + torch.cos(2 * torch.pi * (y + 2 * x)) + torch.sin(2 * torch.pi * (2 * y - x))

    cropped = fourier_crop(image(height, width), (new_height, new_width))
    torch.testing.assert_close(cropped, image(new_height, new_width))


@pytest.mark.parametrize("sizes", [(13, 17, 5, 7), (12, 16, 6, 8), (13, 15, 6, 8), (12, 14, 7, 9)])
def test_cropping_a_mirrored_image_mirrors_the_result(sizes: tuple[int, int, int, int]) -> None:
    height, width, new_height, new_width = sizes

    def mirrored(image: torch.Tensor) -> torch.Tensor:
        even = [1 - n % 2 for n in image.shape]
        return image.flip(0, 1).roll(even, (0, 1))  # about index N // 2, periodic

    image = torch.randn((height, width), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    shape = (new_height, new_width)
    torch.testing.assert_close(fourier_crop(mirrored(image), shape), mirrored(fourier_crop(image, shape)))
    torch.testing.assert_close(fourier_crop(image.T, shape[::-1]), fourier_crop(image, shape).T)


def test_cropping_to_the_same_shape_changes_nothing() -> None:
    image = torch.randn((7, 10))
    torch.testing.assert_close(fourier_crop(image, (7, 10)), image)


def test_cropping_refuses_a_larger_shape() -> None:
    with pytest.raises(ValueError, match="larger"):
        fourier_crop(torch.zeros(4, 4), (4, 5))
