"""The verdict on a filled wedge."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from dewedge.physics.angle_scale import AngleScale
from dewedge.report.trust.verdict import Trust
from dewedge.scores.extra_wedge import NO_SIGNAL, TOO_COARSE, TrustShell

EDGES = (0.02, 0.04, 0.08, 0.1, 0.2)


def trust(*lows, voxel_size_A=10.0):
    """Of shells with these lower bounds; a reason where it cannot be told."""
    shells = [
        TrustShell(bounds, None, None, None, low)
        if isinstance(low, str)
        else TrustShell(bounds, low + 0.05, low, min(low + 0.1, 1.0))
        for bounds, low in zip(itertools.pairwise(EDGES), lows, strict=True)
    ]
    return Trust("TS", voxel_size_A, EDGES, shells, {}, np.ones(4))


@pytest.mark.parametrize(
    "lows, level, said",
    [
        ((TOO_COARSE, 0.9, 0.8, 0.6), "good", "picked from down to 100 Å and looked at down to 50 Å"),
        ((0.9, 0.8, 0.75, 0.72), "good", "picked from down to 50 Å; what is finer"),
        ((TOO_COARSE, 0.65, 0.55, 0.3), "some", "looked at down to 100 Å; none of it is sure enough"),
        ((0.6, 0.4, 0.9, 0.9), "some", "looked at down to 250 Å"),
        ((TOO_COARSE, 0.6, NO_SIGNAL, 0.9), "some", "looked at down to 125 Å"),
        ((0.2, 0.9, 0.9, 0.9), "none", "not to be trusted at any resolution"),
        ((TOO_COARSE, -0.1, NO_SIGNAL, NO_SIGNAL), "none", "not to be trusted at any resolution"),
        ((TOO_COARSE, NO_SIGNAL, NO_SIGNAL, NO_SIGNAL), "unknown", "cannot be told"),
    ],
)
def test_the_verdict_goes_from_coarse_to_fine_and_ends_where_the_bound_is_low(lows, level, said):
    verdict = trust(*lows).verdict()
    assert verdict.level == level and said in verdict.sentence and verdict.advice


def test_without_a_voxel_size_lengths_are_in_voxels():
    found = trust(TOO_COARSE, 0.9, 0.8, 0.6, voxel_size_A=None)
    assert "down to 10 voxels" in found.verdict().sentence
    assert found.as_dict()["wedge"][0]["resolution_A"] is None


def test_with_wrong_angles_nothing_is_told():
    found = replace(trust(0.9, 0.9, 0.9, 0.9), angle_scale=AngleScale(1.18, 0.02))
    verdict = found.verdict()
    assert verdict.level == "unknown" and "1.18 ± 0.02 times the angles" in verdict.advice
    assert replace(found, angle_scale=AngleScale(1.01, 0.02)).verdict().level == "good"
