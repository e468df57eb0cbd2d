import numpy as np
import pytest
import torch
from scipy import fft

from dewedge.geometry import TiltRange
from dewedge.learn.noise import FLOOR, noise_weight
from dewedge.learn.sampling import CropSampler, TomogramPair


def sampler(exponent: float, cutoff: float = np.inf) -> CropSampler:
    """Half-sets of a common signal and noise whose power is the frequency to ``exponent``, up to a cutoff."""
    rng = np.random.default_rng(0)
    shape = (40, 64, 64)
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*map(fft.fftfreq, shape), indexing="ij")))
    response = np.where(k <= cutoff, np.maximum(k, 1e-3) ** (exponent / 2), 0)
    signal = 5 * rng.standard_normal(shape)
    noise = (fft.ifftn(response * fft.fftn(rng.standard_normal(shape))).real for _ in range(2))
    halves = [(signal + n / n.std()).astype(np.float32) for n in noise]
    return CropSampler([TomogramPair(*halves, TiltRange(-60, 60))], 16, exact_rotations=1.0)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_the_weight_is_the_inverse_of_the_noise_power(exponent: float):
    weight = noise_weight(sampler(exponent), torch.device("cpu"))
    assert weight.shape == (16, 16, 9)
    ratio = float(weight[2, 0, 0] / weight[8, 0, 0])  # a quarter of the frequency
    assert ratio == pytest.approx(4**exponent, rel=0.3)  # leakage at the cubes' edges fills low frequencies


def test_emptied_frequencies_count_no_more_than_those_at_the_peak_of_the_noise():
    weight = noise_weight(sampler(1.0, cutoff=0.25), torch.device("cpu"))
    assert weight[0, 0, 8] == weight.min()
    assert weight.max() <= weight.min() / FLOOR * 1.001


def test_it_does_not_depend_on_the_signal():
    noisy = sampler(1.0)
    pair = noisy.pairs[0]
    signal = 30 * np.random.default_rng(7).standard_normal(pair.shape_zyx).astype(np.float32)
    louder = TomogramPair(pair.half0 + signal, pair.half1 + signal, pair.tilt_range)
    other = CropSampler([louder], 16, exact_rotations=1.0)
    torch.testing.assert_close(
        noise_weight(noisy, torch.device("cpu")), noise_weight(other, torch.device("cpu")), rtol=0.02, atol=0
    )
