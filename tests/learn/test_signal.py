import numpy as np
import pytest
import torch

from dewedge.learn.batch import Batch
from dewedge.learn.loss import squared_error
from dewedge.learn.signal import signal_weight
from dewedge.physics.fourier import frequencies

N = 24


def low_passed(volumes: torch.Tensor, cut: float) -> torch.Tensor:
    kz, ky, kx = frequencies(volumes.shape[-3:])
    mask = (kz.square() + ky.square() + kx.square()).sqrt() < cut
    return torch.fft.irfftn(
        torch.fft.rfftn(volumes, dim=(-3, -2, -1)) * mask, s=volumes.shape[-3:], dim=(-3, -2, -1)
    )


def batches(signal: float, noise: float = 1.0, count: int = 3, seed: int = 0):
    """Sub-tomograms with signal below 0.15 cycles per voxel and white noise, and their signal."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> torch.Tensor:
        return torch.randn(4, N, N, N, generator=generator)

    signals = [signal * low_passed(normal(), 0.15) for _ in range(count)]
    none = torch.empty(0)
    return [Batch(s + noise * normal(), s + noise * normal(), none, none) for s in signals], signals


def test_weights_are_where_the_halves_agree():
    data, _ = batches(signal=3.0)
    weight = signal_weight(data)
    kz, ky, kx = frequencies((N, N, N))
    k = (kz.square() + ky.square() + kx.square()).sqrt()
    assert weight.shape == (N, N, N // 2 + 1)
    assert float(weight[k > 0.2].mean()) < 0.05 * float(weight[k < 0.12].mean())


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_the_error_of_nothing_is_one_and_that_of_the_signal_is_the_noise_where_there_is_signal(scale):
    data, signals = batches(signal=3.0 * scale, noise=scale)
    weight = signal_weight(data)

    def loss(predictions):
        errors = [squared_error(p - b.half1, weight) for p, b in zip(predictions, data, strict=True)]
        return float(np.mean(errors))

    assert loss([torch.zeros_like(s) for s in signals]) == pytest.approx(1, rel=1e-4)
    assert loss(signals) == pytest.approx(1 / (1 + 9), rel=0.1)
    # Half of the signal left out, which plain squares of white noise would hardly see.
    halved = loss([s / 2 for s in signals])
    assert halved == pytest.approx((1 + 9 / 4) / (1 + 9), rel=0.1)


def test_without_signal_all_shells_count_alike():
    data, _ = batches(signal=0.0, count=6)
    weight = signal_weight(data)
    assert torch.isfinite(weight).all()
    kz, ky, kx = frequencies((N, N, N))
    k = (kz.square() + ky.square() + kx.square()).sqrt()
    assert float(weight[k > 0.4].mean()) > 0.1
    assert float(sum(squared_error(b.half1, weight) for b in data) / len(data)) == pytest.approx(1, rel=1e-4)
