"""A wedge that a tilt about x has turned is that of every score, of controls and of what is filled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from dewedge.geometry import TiltRange
from dewedge.learn.fill import fill_wedge
from dewedge.learn.refine import RefineOptions
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.coefficient import correlation_outside_inside
from dewedge.scores.cross_half import cross_half_scores
from dewedge.scores.fsc import particle_fsc
from dewedge.scores.half_sets import half_set_scores
from dewedge.scores.spectra import power_inside_outside
from dewedge.simulate.controls import control_halves

SHAPE = (48, 48, 50)
TURNED = TiltRange(-55, 60, 14)
LEVEL = TURNED._replace(x_tilt_deg=0)
Volume = NDArray[np.float64]


def noise(seed: int) -> Volume:
    return np.random.default_rng(seed).standard_normal(SHAPE)


def within(volume: Volume, inside: bool = False) -> Volume:
    """What tilts measured of a volume; or the rest."""
    mask = wedge_mask(SHAPE, TURNED)
    spectrum = torch.fft.rfftn(torch.from_numpy(volume)) * (1 - mask if inside else mask)
    return torch.fft.irfftn(spectrum, s=SHAPE).numpy()


TRUTH = noise(0)
HALVES = [within(TRUTH + noise(seed)) for seed in (1, 2)]


def test_correlations_part_at_the_turned_wedge():
    outside, inside = correlation_outside_inside(within(TRUTH), TRUTH, TURNED)
    assert outside == pytest.approx(1, abs=1e-6) and inside == 0
    assert correlation_outside_inside(within(TRUTH), TRUTH, LEVEL)[1] > 0.3


def test_power_parts_at_the_turned_wedge():
    leaks = []
    for limits in (TURNED, LEVEL):
        inside, outside = power_inside_outside(within(TRUTH), limits, (0.15, 0.45))
        leaks.append(float(inside.aa[0] / inside.count[0] / (outside.aa[0] / outside.count[0])))
    assert leaks[0] < 0.15 and leaks[1] > 2 * leaks[0]


def test_particles_are_compared_inside_the_turned_wedge():
    estimate = within(TRUTH) + within(noise(3), inside=True)
    centres = [[24, 24, 24]]
    told, level = (particle_fsc(estimate, TRUTH, centres, 40, limits, 10.0) for limits in (TURNED, LEVEL))
    assert told.all_A == level.all_A
    assert told.inside_A > level.inside_A


def test_made_up_matter_in_the_turned_wedge_counts_in_no_score_of_half_sets():
    made_up, off = [within(3 * noise(4), inside=True)] * 2, []
    estimates = [half + made for half, made in zip(HALVES, made_up, strict=True)]
    for limits, alike in ((TURNED, True), (LEVEL, False)):
        with_it, without = (
            half_set_scores(each, HALVES, limits).half_sets.correlation for each in (estimates, HALVES)
        )
        assert np.allclose(with_it, without, atol=1e-5) == alike
        ratios = [cross_half_scores(each, HALVES, limits).error_ratio for each in (estimates, HALVES)]
        off.append(abs(ratios[0] - ratios[1]))
    # The taper spreads a little over the edge.
    assert off[0] < 0.5 * off[1], off


def test_controls_have_nothing_in_the_turned_wedge():
    for _, halves in control_halves(*HALVES, TURNED):
        for half in halves:
            assert (
                np.square(within(half.astype(np.float64), inside=True)).sum() < 1e-6 * np.square(half).sum()
            )


class Nothing(nn.Module):
    """A network that predicts nothing, a UNet in all that `refine` asks for."""

    multiple = 1

    def forward(self, volume):
        return 0 * volume


def test_what_was_measured_outside_the_turned_wedge_stays():
    source = TRUTH.astype(np.float32)
    options = RefineOptions(tile=48, overlap=8)
    device = torch.device("cpu")
    filled = fill_wedge(source, Nothing(), TURNED, options, input_std=1.0, device=device)
    np.testing.assert_allclose(filled, within(TRUTH), atol=1e-4)
