"""Errors inside a wedge are told by how much predictions of it differ."""

import numpy as np
import pytest
import torch

from dewedge.geometry import TiltRange
from dewedge.learn.extra_wedge import azimuths
from dewedge.learn.grey_scale import PairGreyScale
from dewedge.learn.loss import cut_wedge
from dewedge.learn.uncertainty import Ensemble, Member, fill_uncertainty, gather
from dewedge.scores.uncertainty import Calibration, calibrate

SHAPE = (32, 64, 64)
HIGHEST = 0.25
RANGE = TiltRange(-60, 60)


class Blurred:
    """A network that knows the wedge up to errors that are ten times as strong where y is high."""

    multiple = 8

    def __init__(self, seed, uneven=10.0):
        self.rng = np.random.default_rng(seed)
        self.strength = np.linspace(1, uneven, 64)

    def __call__(self, volumes):
        errors = 0.05 * self.strength[: volumes.shape[-2], None] * self.rng.standard_normal(volumes.shape)
        return volumes + torch.from_numpy(errors).float()


def ensemble(networks, scale=1.0, tilt_range=RANGE):
    members = [Member(network, None) for network in networks]
    grey = PairGreyScale(0.0, scale, scale)
    return Ensemble(members, tilt_range, grey, None, 0.06, HIGHEST, SHAPE[0], "32-true", torch.device("cpu"))


def half_sets(noise=0.05, scale=1.0):
    rng = np.random.default_rng(0)
    return [(scale * noise * rng.standard_normal(SHAPE)).astype(np.float32) for _ in range(2)]


def calibration(floor, gain):
    return Calibration(floor, gain, 0.9, np.full(4, 0.9), np.ones(4), 0.5, 0.1)


@pytest.mark.parametrize("tilt_range", [TiltRange(-60, 60, 10), TiltRange(-60, 40, 10), TiltRange(-60, 40)])
def test_one_network_and_a_wedge_that_few_turns_leave_in_place_have_a_spread(tilt_range):
    one = ensemble([Blurred(0)], tilt_range=tilt_range)
    for rotation in (None, next(iter(azimuths().values()))):
        band = one.wedge(SHAPE) if rotation is None else one.other_wedge(SHAPE, rotation)
        _, variance = one.spread(np.zeros((2, *SHAPE), np.float32), band, rotation)
        assert np.isfinite(variance).all() and (variance > 0).all()


def test_the_spread_is_the_error_s_and_lies_where_the_error_does():
    """Predictions with errors of their own: the variance among them is known."""
    networks = [Blurred(seed) for seed in range(4)]
    one = ensemble(networks)
    given = np.zeros((2, *SHAPE), np.float32)
    band = one.wedge(SHAPE)
    _, variance = one.spread(given, band)
    share = float(band.float().mean())
    # Of the mean of two half-sets, between members, and between half-sets once more.
    expected = share * (0.05 * networks[0].strength) ** 2
    np.testing.assert_allclose(variance.mean(axis=(0, 2))[12:-12], expected[12:-12], rtol=0.35)


def test_a_map_has_the_grey_scale_of_the_tomogram_and_no_seams():
    flat = Blurred(0, uneven=1.0)
    for scale in (1.0, 40.0):
        output = np.zeros(SHAPE, np.float32)
        fill_uncertainty(ensemble([flat], scale), half_sets(scale=scale), calibration(4.0, 0.0), output)
        np.testing.assert_allclose(output, 2 * scale, rtol=1e-5)


def test_the_map_follows_the_spread():
    output = np.zeros(SHAPE, np.float32)
    fill_uncertainty(ensemble([Blurred(0), Blurred(1)]), half_sets(), calibration(0.0, 1.0), output)
    assert output[:, 48:].mean() > 2.5 * output[:, :16].mean()


def test_errors_are_those_in_the_wedge_that_was_cut():
    """Networks that put nothing there: the error is what half-set 0 has, and noise is known."""

    class Nothing:
        multiple = 8

        def __call__(self, volumes):
            return torch.zeros_like(volumes)

    halves = half_sets(noise=1.0)
    found = gather(ensemble([Nothing()]), halves)
    assert found.held_out.any() and not found.held_out.all()
    np.testing.assert_allclose(found.spread, 0, atol=1e-9)
    # Two of four azimuths, of which the tomogram's one block takes every second.
    bands = [ensemble([]).other_wedge(SHAPE, r) for r in list(azimuths().values())[::2]]
    assert np.square(found.error).mean() == pytest.approx(
        np.mean([cut_wedge(torch.from_numpy(halves[0]), band).square().mean() for band in bands]), rel=0.5
    )
    assert found.noise.mean() == pytest.approx(np.square(found.error).mean(), rel=0.3)
    # All of it is noise, so none of it is error.
    assert calibrate(found).is_hidden
