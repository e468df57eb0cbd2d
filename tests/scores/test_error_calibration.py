"""What an ensemble's spread means is learnt, and found out where it means nothing."""

import numpy as np
import pytest

from dewedge.scores.uncertainty import Evidence, calibrate

FLOOR, GAIN, NOISE = 0.04, 3.0, 0.5


def evidence(seed=0, n=40_000, spread_of=lambda variance: variance, noise=NOISE, held_out_error=1.0):
    """Gaussian errors of variance a + b s^2, s^2 from 0.01 to 3, and what is said of s^2."""
    rng = np.random.default_rng(seed)
    spread = 10 ** rng.uniform(-2, 0.5, n)
    held_out = np.arange(n) % 2 == 1
    scale = np.where(held_out, held_out_error, 1.0)
    error = np.sqrt((FLOOR + GAIN * spread) * scale + noise) * rng.standard_normal(n)
    # The mean of 30 errors of like variance, as smoothing makes it.
    power = ((FLOOR + GAIN * spread) * scale + noise) * rng.chisquare(30, n) / 30
    return Evidence(error, power, spread_of(spread), np.full(n, noise), held_out, extent=2.0)


def test_errors_that_vary_as_the_spread_does_are_covered():
    found = calibrate(evidence())
    assert found.floor == pytest.approx(2 * FLOOR, abs=0.04)  # of a band twice as wide
    assert found.gain == pytest.approx(GAIN, rel=0.05)
    assert found.coverage == pytest.approx(0.9, abs=0.01)
    np.testing.assert_allclose(found.by_quarter, 0.9, atol=0.02)
    assert found.explained > 0.7 and found.holds
    assert (np.diff(found.quarters) > 0).all()
    np.testing.assert_allclose(found.variance(np.array([1.0])), 2 * FLOOR + GAIN, rtol=0.05)


def test_a_map_that_says_the_same_everywhere_fails():
    """Errors that differ tenfold, and a gain that is not there."""
    told = evidence(noise=0.01)
    # What there is to learn from tells of no difference.
    power = np.where(told.held_out, told.power, told.power.mean())
    found = calibrate(told._replace(power=power))
    assert found.gain == pytest.approx(0, abs=1e-3) and found.explained < 0.01
    assert found.by_quarter[0] > 0.97 and found.by_quarter[-1] < 0.8
    assert not found.holds


def test_a_spread_that_means_nothing_explains_nothing():
    rng = np.random.default_rng(1)
    found = calibrate(evidence(spread_of=rng.permutation))
    assert found.explained < 0.02


@pytest.mark.parametrize("worse", [0.1, 10.0])
def test_what_does_not_hold_on_held_out_space_is_found_out(worse):
    assert not calibrate(evidence(held_out_error=worse)).holds


def test_noise_hides_errors():
    found = calibrate(evidence(noise=50.0))
    assert found.coverage == pytest.approx(0.9, abs=0.02)
    assert found.is_hidden and not found.holds


def test_parts_of_the_evidence_add_up():
    parts = [evidence(seed, n=1000) for seed in (0, 1)]
    joined = Evidence.joined([parts[0], parts[1]._replace(extent=4.0)])
    assert len(joined.error) == 2000 and joined.extent == 3.0
    np.testing.assert_array_equal(joined.spread[1000:], parts[1].spread)
