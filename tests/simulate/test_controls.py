"""Specimens without structure have the spectra they were asked for, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dewedge.geometry import TiltRange
from dewedge.physics.fourier import frequencies
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.spectra import power_inside_outside, shell_sums, tapered_spectrum
from dewedge.simulate.controls import control_halves

SHAPE = (48, 60, 63)
TILT_RANGE = TiltRange(-60.0, 52.0)
EDGES = (0.1, 0.2, 0.3, 0.4)
NOISES = (0.8, 1.0)
Volume = NDArray[np.float64]


def measured(volume: Volume, anisotropic: bool = False) -> Volume:
    """What tilts keep of a volume; with a noise that is stronger along y."""
    spectrum = torch.fft.rfftn(torch.from_numpy(volume)) * wedge_mask(SHAPE, TILT_RANGE)
    if anisotropic:
        _, ky, _ = frequencies(SHAPE)
        spectrum = spectrum * (0.3 + 2 * ky.abs())
    return torch.fft.irfftn(spectrum, s=SHAPE).numpy()


def white(seed: int) -> Volume:
    return np.random.default_rng(seed).standard_normal(SHAPE)


@pytest.fixture(scope="module")
def signal() -> Volume:
    """Objects: few, dense, and of all frequencies."""
    volume = np.zeros(SHAPE)
    rng = np.random.default_rng(0)
    for place in zip(*(rng.integers(4, n - 4, 60) for n in SHAPE), strict=True):
        volume[tuple(slice(i, i + 2) for i in place)] += 6
    return measured(volume)


@pytest.fixture(scope="module")
def noises() -> list[Volume]:
    return [level * measured(white(seed), anisotropic=True) for seed, level in enumerate(NOISES, 1)]


@pytest.fixture(scope="module")
def controls(signal: Volume, noises: list[Volume]) -> dict[str, tuple[NDArray[np.float32], ...]]:
    return dict(control_halves(signal + noises[0], signal + noises[1], TILT_RANGE, seed=3))


def along_y(volume: Volume) -> float:
    """Share of the power at frequencies nearer to y than to z and x."""
    power = np.abs(np.fft.fftn(volume)) ** 2
    kz, ky, kx = np.meshgrid(*(np.fft.fftfreq(n) for n in SHAPE), indexing="ij")
    return float(power[np.abs(ky) > np.hypot(kz, kx)].sum() / power.sum())


def sums(a: Volume, b: Volume):
    # Without a taper, which would weigh the middle, where the objects are.
    return shell_sums(*(tapered_spectrum(v, "volume", EDGES[-1], taper=0) for v in (a, b)), EDGES)


def test_ice_has_the_spectrum_of_the_noise_of_each_half(noises, controls):
    for noise, ice in zip(noises, controls["ice"], strict=True):
        np.testing.assert_allclose(sums(ice, ice).aa, sums(noise, noise).aa, rtol=0.12)
        assert along_y(ice) == pytest.approx(along_y(noise), rel=0.05)


def test_both_halves_of_ice_share_nothing_with_each_other_or_with_the_specimen(signal, noises, controls):
    first, second = controls["ice"]
    for a, b in ((first, second), (first, signal), (first, noises[0]), (second, noises[1])):
        found = sums(a, b)
        assert (np.abs(found.correlation) < 4 * found.chance).all()


def test_the_randomised_specimen_shares_the_power_of_the_signal_and_none_of_it(signal, noises, controls):
    first, second = controls["randomised"]
    found = sums(first, second)
    np.testing.assert_allclose(found.ab, sums(signal, signal).aa, rtol=0.2)
    np.testing.assert_allclose(found.aa, sums(signal + noises[0], signal + noises[0]).aa, rtol=0.15)
    for half in (first, second):
        with_signal = sums(half, signal)
        assert (np.abs(with_signal.correlation) < 4 * with_signal.chance).all()
    # No voxel of it stands out, as objects do.
    common = first - controls["ice"][0]
    assert np.abs(common).max() < 6 * common.std() < 0.5 * np.abs(signal).max()


@pytest.mark.parametrize("name", ["ice", "randomised"])
def test_the_wedge_stays_empty(controls, name: str):
    unmeasured = 1 - wedge_mask(SHAPE, TILT_RANGE).numpy()
    for half in controls[name]:
        power = np.abs(np.fft.rfftn(half)) ** 2
        assert (power * unmeasured).sum() < 1e-9 * power.sum()
        inside, outside = power_inside_outside(half, TILT_RANGE, EDGES)
        assert (inside.aa / inside.count < 0.1 * outside.aa / outside.count).all()


def test_the_seed_decides(signal, noises, controls):
    halves = (signal + noises[0], signal + noises[1])
    again, other = (next(control_halves(*halves, TILT_RANGE, seed))[1] for seed in (3, 4))
    np.testing.assert_array_equal(again[0], controls["ice"][0])
    assert abs(np.corrcoef(again[0].ravel(), other[0].ravel())[0, 1]) < 0.02
