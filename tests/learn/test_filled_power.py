"""What a network puts into the wedge is measured in the grey scale of the tomogram."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dewedge.geometry import TiltRange
from dewedge.learn.amplitude import WedgeAmplitude
from dewedge.learn.filled_power import FilledPower, filled_power
from dewedge.learn.grey_scale import PairGreyScale
from dewedge.scores.spectra import power_inside_outside

SHAPE = (32, 40, 48)
TILT_RANGE = TiltRange(-60.0, 60.0)
EDGES = (0.1, 0.2, 0.3)
SCALE = PairGreyScale(5.0, 2.0, 1.5)
TRUTH = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


class Stub:
    """A network that does what it is told with ``(b, 1, d, h, w)`` volumes."""

    multiple = 8

    def __init__(self, does: Callable[[Tensor], Tensor]) -> None:
        self.does = does

    def __call__(self, volumes: Tensor) -> Tensor:
        return self.does(volumes)


def measured(does: Callable[[Tensor], Tensor], amplitude: WedgeAmplitude | None = None) -> FilledPower:
    halves = tuple(SCALE.mean + SCALE.std_half * (TRUTH + sign * 0.5) for sign in (1, -1))
    network: Any = Stub(does)
    return filled_power(
        network, halves, TILT_RANGE, EDGES, SCALE, None, amplitude, "32-true", torch.device("cpu")
    )


def test_what_fills_nothing_leaves_the_wedge_empty():
    found = measured(lambda volumes: volumes)
    assert (found.inside < 1e-6 * found.outside).all()


def test_of_the_truth_its_power_is_found():
    found = measured(lambda volumes: torch.from_numpy(TRUTH)[None, None])
    inside, outside = power_inside_outside(SCALE.std_half * TRUTH, TILT_RANGE, EDGES)
    np.testing.assert_allclose(found.inside, inside.aa, rtol=0.15)
    np.testing.assert_allclose(found.outside, outside.aa, rtol=0.15)
    np.testing.assert_allclose(found.middle, SCALE.std_half * TRUTH, rtol=1e-5)


def test_the_amplitude_of_the_run_counts():
    whole = measured(lambda volumes: torch.from_numpy(TRUTH)[None, None])
    half = measured(lambda volumes: torch.from_numpy(TRUTH)[None, None], WedgeAmplitude((0.5, 0.5), 16))
    np.testing.assert_allclose(half.inside, whole.inside / 4, rtol=0.25)
    assert half.outside == pytest.approx(whole.outside, rel=0.05)
