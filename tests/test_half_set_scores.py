"""Scores from half-sets: they equal those against the truth, and cannot be had by making things up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.coefficient import correlation_outside_inside
from dewedge.scores.half_sets import half_set_scores, highest_against_raw

SHAPE = (40, 48, 46)
RANGE = TiltRange(-44, 60)


def filtered(volume: np.ndarray, width: float) -> np.ndarray:
    """The volume times a Gaussian of ``width`` cycles per voxel in Fourier space."""
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in volume.shape), indexing="ij")
    gain = np.exp(-sum(axis**2 for axis in k) / (2 * width**2))
    return np.real(np.fft.ifftn(np.fft.fftn(volume) * gain)).astype(np.float32)


def measured(volume: np.ndarray) -> np.ndarray:
    """What the tilts see of it."""
    mask = wedge_mask(SHAPE, RANGE)
    return torch.fft.irfftn(torch.fft.rfftn(torch.from_numpy(volume)) * mask, s=SHAPE).numpy()


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, list[np.ndarray]]:
    """A signal, and two noisy half-sets of it."""
    rng = np.random.default_rng(5)
    signal = filtered(rng.normal(size=SHAPE), 0.12)
    signal /= signal.std()
    halves = [measured((signal + 2 * rng.normal(size=SHAPE)).astype(np.float32)) for _ in range(2)]
    return signal, halves


@pytest.mark.parametrize("width", [0.05, 0.12, 10.0])
def test_equals_the_correlation_with_the_signal(data: tuple[np.ndarray, list[np.ndarray]], width: float):
    signal, halves = data
    estimates = [filtered(half, width) for half in halves]
    truth = [correlation_outside_inside(estimate, signal, RANGE)[0] for estimate in estimates]
    assert half_set_scores(estimates, halves, RANGE).cc_signal == pytest.approx(np.mean(truth), abs=0.02)


def test_of_the_raw_half_sets_both_curves_are_one(data: tuple[np.ndarray, list[np.ndarray]]):
    scores = half_set_scores(data[1], data[1], RANGE)
    np.testing.assert_allclose(scores.against_raw.correlation, scores.half_sets.correlation, atol=1e-6)
    agreement = correlation_outside_inside(*data[1], RANGE)[0]
    assert scores.cc_signal == pytest.approx(math.sqrt(agreement))


def test_the_signal_itself_reaches_what_can_be_reached(data: tuple[np.ndarray, list[np.ndarray]]):
    signal, halves = data
    raw = half_set_scores(halves, halves, RANGE).half_sets
    best = half_set_scores([signal, signal], halves, RANGE)
    strong = raw.correlation > 0.2
    assert strong.sum() > 3
    np.testing.assert_allclose(
        best.against_raw.correlation[strong], highest_against_raw(raw)[strong], atol=0.12
    )
    assert best.cc_signal == pytest.approx(1, abs=0.03)


def test_what_is_made_up_raises_the_half_set_fsc_alone(data: tuple[np.ndarray, list[np.ndarray]]):
    """An estimate with the same invented detail in both halves: they agree, the data do not."""
    halves = data[1]
    invented = 10 * np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    honest = half_set_scores(halves, halves, RANGE)
    forged = half_set_scores([half + invented for half in halves], halves, RANGE)
    assert forged.half_sets.correlation[3:].min() > 0.8 > honest.half_sets.correlation[3:].min()
    assert forged.against_raw.correlation.mean() < honest.against_raw.correlation.mean()
    assert forged.cc_signal < 0.5 * honest.cc_signal


def test_what_lies_in_the_missing_wedge_does_not_count(data: tuple[np.ndarray, list[np.ndarray]]):
    halves = data[1]
    noise = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    filled = [half + 3 * (noise - measured(noise)) for half in halves]
    before, after = half_set_scores(halves, halves, RANGE), half_set_scores(filled, halves, RANGE)
    np.testing.assert_allclose(after.half_sets.correlation, before.half_sets.correlation, atol=1e-3)
    assert after.cc_signal == pytest.approx(before.cc_signal, abs=1e-3)


def test_half_sets_without_anything_in_common_have_no_score():
    rng = np.random.default_rng(3)
    half = rng.normal(size=(12, 12, 12)).astype(np.float32)
    assert math.isnan(half_set_scores([half, -half], [half, -half], RANGE).cc_signal)


def test_wrong_volumes_are_wrong_input(data: tuple[np.ndarray, list[np.ndarray]]):
    with pytest.raises(InputError, match="expected the same"):
        half_set_scores([data[0][1:], data[0]], data[1], RANGE)
