"""What independent results agree on bounds how well they know the specimen."""

import numpy as np
import pytest

from dewedge.geometry import TiltRange
from dewedge.scores.independent import agreement, most_with_truth

RANGE = TiltRange(-60, 60)
EDGES = (0.05, 0.2, 0.4)
SHAPE = (48, 64, 64)


def white(seed):
    return np.random.default_rng(seed).standard_normal(SHAPE)


@pytest.mark.parametrize("invented", [0.0, 1.0])
def test_the_bound_is_the_truth_unless_both_invent_alike(invented):
    truth, alike = white(0), invented * white(1)
    outputs = [truth + alike + white(seed) for seed in (2, 3)]
    found = agreement(*outputs, RANGE, EDGES)
    of_half = np.sqrt(found.inside.correlation)
    true = 1 / np.sqrt(2 + invented**2)
    if invented:
        assert (of_half > true + 0.1).all()
    else:
        np.testing.assert_allclose(of_half, true, atol=0.03)
        of_both = agreement(truth, truth + (white(2) + white(4)) / 2, RANGE, EDGES)
        np.testing.assert_allclose(
            most_with_truth(found.inside.correlation), of_both.inside.correlation, atol=0.03
        )


def test_inside_and_outside_are_told_apart():
    """Volumes that agree where tilts measured, and nowhere else."""
    spectrum = np.fft.rfftn(white(0))
    kz, _, kx = np.meshgrid(
        *(np.fft.fftfreq(n) for n in SHAPE[:2]), np.fft.rfftfreq(SHAPE[2]), indexing="ij", sparse=True
    )
    measured = np.abs(kz) <= np.tan(np.radians(60)) * np.abs(kx)
    filled = (np.where(measured, spectrum, np.fft.rfftn(white(seed))) for seed in (1, 2))
    a, b = (np.fft.irfftn(values, s=SHAPE, axes=(0, 1, 2)) for values in filled)
    found = agreement(a, b, RANGE, EDGES)
    assert (found.outside.correlation > 0.9).all()
    assert (np.abs(found.inside.correlation) < 0.2).all()


def test_no_agreement_is_no_correlation():
    np.testing.assert_array_equal(most_with_truth(np.array([-0.2, 0.0, 1.0])), [0, 0, 1])
