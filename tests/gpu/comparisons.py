"""What the tests of a GPU share: small data, and how far two results are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from scipy import ndimage

from dewedge.geometry import TiltRange
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.pairs import TomogramPair

CPU = torch.device("cpu")
RANGE = TiltRange(-60, 50)


def fabric_on(device: torch.device, precision: Any = "32-true") -> Fabric:
    fabric = Fabric(accelerator=device.type, devices=1, precision=precision)
    fabric.launch()
    return fabric


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def make_pair(*shape: int) -> TomogramPair:
    """Smooth signal and as much white noise, another in each half-set."""
    signal = ndimage.gaussian_filter(noise(*shape), 1.5)
    signal /= signal.std()
    return TomogramPair(signal + noise(*shape, seed=1), signal + noise(*shape, seed=2), RANGE)


def make_network(config: NetworkConfig) -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet(config)


def difference(result: Any, expected: Any) -> float:
    """Root of the mean squared difference of two arrays, in standard deviations of the second."""
    one, other = (
        np.asarray(torch.as_tensor(each).detach().cpu(), dtype=np.float64) for each in (result, expected)
    )
    assert one.shape == other.shape and np.isfinite(one).all()
    return float(np.sqrt(np.mean((one - other) ** 2)) / other.std())
