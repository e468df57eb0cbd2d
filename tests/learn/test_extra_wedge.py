"""A wedge cut where it was measured tells how well a network knows the specimen."""

import numpy as np
import pytest
import torch

from dewedge.geometry import TiltRange
from dewedge.learn import extra_wedge as module
from dewedge.learn.extra_wedge import (
    azimuths,
    blocks,
    extra_wedge,
    judged_band,
    missing_band,
    standardised,
)
from dewedge.learn.grey_scale import PairGreyScale
from dewedge.physics.fourier import frequencies
from dewedge.physics.transfer import MeasuredPlanes, constant, transfer_at
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.extra_wedge import TOO_COARSE, of_whole, trust_shells
from dewedge.scores.spectra import OFF_AXIS, from_wedge_axis

RANGE = TiltRange(-60, 60)
EDGES = (0.05, 0.15, 0.25, 0.35)
SCALE = PairGreyScale(0.0, 1.0, 1.0)
CPU = torch.device("cpu")


def filtered(shape, seed, low_pass=0.3):
    """Smooth random matter without a preferred direction, of standard deviation 1."""
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")))
    white = np.random.default_rng(seed).standard_normal(shape)
    volume = np.fft.ifftn(np.fft.fftn(white) * np.exp(-((k / low_pass) ** 2))).real
    return (volume / volume.std()).astype(np.float32)


class Echo:
    """A network that gives back what it is given."""

    multiple = 8

    def __call__(self, volumes):
        return volumes


class Knowing(Echo):
    """A network that answers each input with a truth turned as the input is, and errors of its own."""

    def __init__(self, truth, error):
        self.truth, self.error, self.calls = truth, error, 0

    def __call__(self, volumes):
        rotation = list(azimuths().values())[self.calls // 2 % 4]
        self.calls += 1
        turned = module.turned(self.truth, rotation)
        wrong = filtered(turned.shape, 100 + self.calls)
        return torch.from_numpy(turned + self.error * wrong)[None, None]


def test_what_is_judged_lies_in_the_masks_of_a_turned_wedge():
    shape, tilt_range = (32, 32, 32), TiltRange(-60, 60, 9)
    k = frequencies(shape)
    inside = wedge_mask(shape, tilt_range) == 0
    missing = missing_band(k, tilt_range, 32)
    off_axis = from_wedge_axis(k, tilt_range) >= OFF_AXIS / 32
    # But for Nyquist, which the mask wants measured on both sides.
    within = np.s_[1:16, 1:16, :16]
    assert torch.equal(missing[within], (inside & off_axis)[within])
    assert not torch.equal(missing[within], missing_band(k, RANGE, 32).expand_as(missing)[within])
    for rotation in azimuths().values():
        own = wedge_mask(shape, tilt_range, torch.tensor(rotation)) == 1
        judged = judged_band(k, tilt_range, rotation, 32)
        assert judged.any()
        assert (own & inside)[within][judged[within]].all()


@pytest.mark.parametrize("error", [0.0, 1.0, 3.0])
def test_the_correlation_with_the_truth_is_found_without_it(error):
    shape = (64, 64, 64)
    truth = filtered(shape, 0)
    given, kept = (truth + 0.7 * filtered(shape, seed) for seed in (1, 2))
    network = Knowing(truth, error)
    found = extra_wedge(network, given, kept, RANGE, EDGES, SCALE, None, "32-true", CPU)
    assert set(found.whole) == set(azimuths()) and network.calls == 8
    expected = 1 / np.sqrt(1 + error**2)
    mean = np.mean([one.correlation for one in found.whole.values()], axis=0)
    np.testing.assert_allclose(mean[1:], expected, atol=0.06)
    for azimuth, whole in found.whole.items():
        counts = [one[azimuth].predicted.count for one in found.by_distance]
        assert min(map(sum, counts)) > 0
        np.testing.assert_allclose(sum(counts), whole.predicted.count)
        np.testing.assert_allclose(sum(one[azimuth].halves.ab for one in found.by_distance), whole.halves.ab)
    first, *others = trust_shells(found.whole, EDGES, 60)
    assert first.reason == TOO_COARSE and first.correlation is None
    for shell in others:
        assert shell.low <= of_whole(expected) <= shell.high + 1e-6


def test_what_was_cut_is_judged_and_nothing_else():
    """A network that gives back what it is given knows nothing of what was cut."""
    shape = (64, 64, 64)
    truth = filtered(shape, 0)
    found = extra_wedge(Echo(), truth, truth, RANGE, EDGES, SCALE, None, "32-true", CPU)
    for one in found.whole.values():
        # What is left of it is what the block's edges leave over from measured frequencies beside the wedge.
        assert np.abs(one.correlation[1:]).max() < 0.25
        np.testing.assert_allclose(one.halves.correlation, 1, atol=1e-4)


@pytest.mark.parametrize("step_deg", [2.0, 6.0])
def test_gaps_between_the_planes_of_half_sets_are_allowed_for(step_deg):
    """Both halves hold the signal where their planes are; a network that knows all of it is told so."""
    n = 64
    truth = filtered((n, n, n), 0)
    tilts = np.arange(-60, 60 + step_deg / 4, step_deg / 2)
    planes = [MeasuredPlanes(t, constant(t), constant(t)) for t in (tilts[::2], tilts[1::2])]
    halves = []
    for i, each in enumerate(planes):
        k = torch.meshgrid(*[torch.fft.fftfreq(n)] * 2, torch.fft.rfftfreq(n), indexing="ij")
        transfer = transfer_at(each, n, *k)
        seen = torch.fft.irfftn(torch.fft.rfftn(torch.from_numpy(truth)) * transfer, s=truth.shape).numpy()
        halves.append(seen + 0.1 * filtered(truth.shape, 1 + i))
    found = extra_wedge(
        Knowing(truth, 1.0), *halves, RANGE, EDGES, SCALE, None, "32-true", CPU, planes=planes
    )
    corrected = np.array([one.correlation for one in found.whole.values()])
    overlaps = np.array([one.overlap for one in found.whole.values()])
    np.testing.assert_allclose(np.nanmean(corrected, axis=0)[1:], np.sqrt(0.5), atol=0.07)
    if step_deg > 4:
        assert overlaps[:, -1].min() < 0.7  # or nothing was put right
        assert np.nanmean(corrected / np.sqrt(overlaps), axis=0)[-1] > np.sqrt(0.5) + 0.1


def test_distances_are_those_from_the_measured_range_on_either_side():
    # Missing are 60 to 130 degrees, or -50.
    angles = np.radians([61, 69, 75, 85, 105, 115, 125])
    kz, kx = (torch.tensor(f(angles))[:, None, None] for f in (np.sin, np.cos))
    near, between, far = (band.flatten().tolist() for band in module.bands((kz, kx, kx), TiltRange(-50, 60)))
    assert near == [True, True, False, False, False, False, True]
    assert between == [False, False, True, False, False, True, False]
    assert far == [False, False, False, True, True, False, False]


def test_noise_in_common_with_the_half_that_is_held_against_it_is_what_must_not_be():
    """The other way round, a network that knows the noise of its targets by heart looks too good."""
    shape = (64, 64, 64)
    truth = filtered(shape, 0)
    noises = [filtered(shape, seed) for seed in (1, 2)]
    halves = [truth + noise for noise in noises]
    by_heart = Knowing(truth + noises[1], 0.0)
    fair, unfair = (
        np.mean([one.correlation[1:] for one in found.whole.values()])
        for found in (
            extra_wedge(by_heart, halves[1 - i], halves[i], RANGE, EDGES, SCALE, None, "32-true", CPU)
            for i in (0, 1)
        )
    )
    assert fair == pytest.approx(np.sqrt(0.5), abs=0.08)
    assert unfair > 1.2


def test_no_signal_no_figure():
    shape = (64, 64, 64)
    halves = [filtered(shape, seed) for seed in (1, 2)]
    found = extra_wedge(Echo(), *halves, RANGE, EDGES, SCALE, None, "32-true", CPU)
    shells = trust_shells(found.whole, EDGES, 64)
    assert all(shell.correlation is None and shell.reason for shell in shells)


def test_no_azimuth_turns_about_the_tilt_axis():
    assert {(one.middle, one.axis) for one in azimuths()} == {("z", "x"), ("y", "z"), ("y", "x"), ("x", "z")}
    for rotation in azimuths().values():
        assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(100, 315, 326), (64, 64, 64), (33, 1000, 90), (300, 900, 900)])
def test_blocks_lie_in_the_tomogram_and_are_few(shape):
    found = blocks(shape, 8)
    assert 1 <= len(found) <= module.MOST_BLOCKS
    for block in found:
        edges = [part.stop - (part.start or 0) for part in block]
        assert all(edge % 8 == 0 for edge in edges)
        assert all(part.stop <= n for part, n in zip(block, shape, strict=True))
    assert len({str(block) for block in found}) == len(found)


def test_a_half_set_is_given_on_the_grey_scale_of_the_fit():
    half = np.array([[[0.0, 10.0, 400.0]]])
    scale = PairGreyScale(10.0, 20.0, 15.0)
    np.testing.assert_allclose(standardised(half, scale, 6.0), [[[-0.5, 0.0, 6.0]]])
    np.testing.assert_allclose(standardised(half, scale, None), [[[-0.5, 0.0, 19.5]]])
