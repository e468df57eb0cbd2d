"""A refined tomogram that is a network's prediction and total variation, where structure is coarse."""

import numpy as np
import pytest
import torch

from dewedge.geometry import TiltRange
from dewedge.learn.blend import EDGE, coarse_shape, sections_of_tv, share_of_network, share_of_tv
from dewedge.learn.refine import RefineOptions, refine
from dewedge.physics.fourier import frequencies

SHAPE = (40, 57, 64)


def smooth(shape, seed=0, cutoff=0.06, scale=1.0):
    """Waves below a frequency in cycles per voxel, sampled every ``scale`` voxels from the centre."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[(np.arange(n) - n // 2) * scale for n in shape], indexing="ij")
    volume = np.zeros(shape)
    for _ in range(12):
        direction = rng.standard_normal(3)
        k = direction / np.linalg.norm(direction) * rng.uniform(0.01, cutoff)
        phase = rng.uniform(0, 2 * np.pi)
        volume += np.cos(2 * np.pi * sum(a * b for a, b in zip(k, axes, strict=True)) + phase)
    return volume.astype(np.float32)


def test_coarse_structure_comes_back_at_its_place_with_its_share():
    fine = smooth(SHAPE)
    coarse = smooth(coarse_shape(SHAPE), scale=2.0)
    added = np.stack(list(sections_of_tv(coarse, SHAPE, 0.4)))
    inner = tuple(slice(15, n - 15) for n in SHAPE)  # away from the edges, beyond which nothing is known
    shared = 0.4 * (fine - coarse.mean())
    np.testing.assert_allclose(added[inner], shared[inner], atol=0.03 * shared.std())
    assert np.corrcoef(added[inner].ravel(), shared[inner].ravel())[0, 1] > 0.9995


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_no_images_of_what_is_coarse_are_left_between_its_voxels(axis):
    """Linear interpolation leaves a sixth of a wave of .11 cycles per voxel at .39, along the same axis."""
    shape = tuple(96 if i == axis else 48 for i in range(3))
    coarse = smooth_wave(coarse_shape(shape), axis, 2.0)
    added = np.stack(list(sections_of_tv(coarse, shape, 0.4)))
    line = added.swapaxes(axis, 0)[:, 24, 24] * np.hanning(96)
    spectrum = np.abs(np.fft.rfft(line))
    assert spectrum[round(0.39 * 96)] < 0.01 * spectrum[round(0.11 * 96)]


def smooth_wave(shape, axis, scale):
    """A wave of .11 cycles per voxel along an axis."""
    place = (np.arange(shape[axis]) - shape[axis] // 2) * scale
    wave = np.cos(2 * np.pi * 0.11 * place).astype(np.float32)
    return np.broadcast_to(np.moveaxis(wave[:, None, None], 0, axis), shape).copy()


def test_what_is_at_one_side_does_not_come_back_at_the_other():
    coarse = np.zeros(coarse_shape(SHAPE), np.float32)
    coarse[:3] = 1.0
    added = np.stack(list(sections_of_tv(coarse, SHAPE, 0.4)))
    level = -0.4 * coarse.mean()
    assert np.abs(added[-6:] - level).max() < 0.02 and (added[:4] - level).min() > 0.3


def test_shares_of_both_add_up_to_one_and_fine_structure_is_the_networks():
    kz, ky, kx = frequencies(SHAPE)
    radius = (kz.square() + ky.square() + kx.square()).sqrt()
    left = share_of_network(SHAPE, 0.3, torch.device("cpu"))
    torch.testing.assert_close(left + share_of_tv(radius, 0.3), torch.ones_like(left))
    assert float(left[radius > EDGE + 0.05].min()) > 0.999
    assert float(left[radius < EDGE - 0.05].max()) == pytest.approx(0.7, abs=0.01)


def test_a_tile_gives_its_share_away():
    volume = smooth((32, 32, 32), cutoff=0.05)

    class Wave(torch.nn.Module):
        multiple = 1

        def forward(self, tiles: torch.Tensor) -> torch.Tensor:
            wave = torch.cos(2 * torch.pi * torch.arange(32) / 32)  # .03 cycles per voxel along y
            return torch.zeros_like(tiles) + wave[:, None]

    output = np.empty_like(volume)
    options = RefineOptions(tile=32, overlap=0)
    [scale] = refine([volume], output, Wave(), TiltRange(-60, 60), options, input_std=1.0, tv_share=0.3)
    wave = np.cos(2 * np.pi * np.arange(32) / 32)[:, None]
    np.testing.assert_allclose(
        output, np.broadcast_to(scale.mean + 0.7 * scale.std * wave, output.shape), atol=0.01 * scale.std
    )
