"""Cross-half scores: on a known signal with known noise they have the values of the algebra."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.cross_half import cross_half_scores

SHAPE = (48, 56, 60)
RANGE = TiltRange(-60, 60)
EDGES = (0.1, 0.3, 0.5)
Volume = NDArray[np.float64]


def noise(seed: int) -> Volume:
    return np.random.default_rng(seed).standard_normal(SHAPE)


def kept(volume: Volume, mask: torch.Tensor) -> Volume:
    return torch.fft.irfftn(torch.fft.rfftn(torch.from_numpy(volume)) * mask, s=SHAPE).numpy()


SIGNAL = noise(0)
HALVES = [kept(SIGNAL + noise(seed), wedge_mask(SHAPE, RANGE)) for seed in (1, 2)]


def test_the_raw_half_sets_have_an_error_ratio_of_1():
    found = cross_half_scores(HALVES, HALVES, RANGE, edges=EDGES)
    assert found.error_ratio == pytest.approx(1)
    # Signal and noise have the same power, so the half-sets correlate by 1/2.
    assert found.cc_signal == pytest.approx(math.sqrt(0.5), abs=0.02)
    for scores in found.directions.values():
        np.testing.assert_allclose(scores.half_sets, 0.5, atol=0.1)
        np.testing.assert_allclose(scores.against_raw, scores.half_sets)
        np.testing.assert_allclose(scores.amplitude, 1)


def test_the_signal_itself_has_half_the_error_and_slope_1():
    found = cross_half_scores([SIGNAL, SIGNAL], HALVES, RANGE, edges=EDGES)
    assert found.error_ratio == pytest.approx(0.5, abs=0.02)
    assert found.cc_signal == pytest.approx(1, abs=0.03)
    for scores in found.directions.values():
        np.testing.assert_allclose(scores.signal, 1, atol=0.12)
        np.testing.assert_allclose(scores.slope, 1, atol=0.1)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_gain_has_the_error_and_the_slope_of_the_algebra(gain: float):
    """f(v0) = g v0: error (g - 1)^2 S + (g^2 + 1) N over 2 N; slope S / (g (S + N)); here S = N."""
    found = cross_half_scores([gain * half for half in HALVES], HALVES, RANGE, edges=EDGES)
    assert found.error_ratio == pytest.approx(((gain - 1) ** 2 + gain**2 + 1) / 2, rel=0.03)
    for scores in found.directions.values():
        np.testing.assert_allclose(scores.slope, 0.5 / gain, rtol=0.2)
        np.testing.assert_allclose(scores.amplitude, gain)


def test_made_up_stripes_show_in_their_direction_alone():
    x = np.arange(SHAPE[2])
    stripes = 0.5 * np.cos(2 * np.pi * 0.4 * x)
    found = cross_half_scores([SIGNAL + stripes] * 2, HALVES, RANGE, edges=EDGES)
    assert found.directions["x"].slope[1] < 0.6
    assert found.directions["x"].slope[0] == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(found.directions["y"].slope, 1, atol=0.1)


def test_the_missing_wedge_does_not_count():
    missing = 1 - wedge_mask(SHAPE, RANGE)
    filled = [half + 3 * kept(noise(5), missing) for half in HALVES]
    before, after = (cross_half_scores(f, HALVES, RANGE, edges=EDGES) for f in (HALVES, filled))
    # The taper lets a little of it over the edge.
    assert after.cc_signal == pytest.approx(before.cc_signal, abs=0.06)


def test_the_box_alone_is_compared():
    box = np.array([(0, 0, 30), SHAPE])
    spoilt = [half.copy() for half in HALVES]
    for half in spoilt:
        half[:, :, :30] = 100 * noise(9)[:, :, :30]
    a, b = (cross_half_scores(f, HALVES, RANGE, box, EDGES).as_dict() for f in (HALVES, spoilt))
    assert a == b
    assert json.loads(json.dumps(a, allow_nan=False)) == a


def test_other_shapes_are_wrong_input():
    with pytest.raises(InputError, match="estimate of half-set 1"):
        cross_half_scores([SIGNAL, SIGNAL[1:]], HALVES, RANGE)
