"""The figures of one tomogram: against the truth where it is known, else of the half-sets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dewedge.io.mrc import read_mrc
from dewedge.io.particles import read_particles
from dewedge.scores import evaluate, resolution_at
from dewedge.scores.half_sets import half_set_scores
from paper.runs import Outcome, Variant

Scores = dict[str, float | int | None]
BOX = 32


def with_truth(outcome: Outcome, variant: Variant, box: int = BOX) -> Scores:
    """Correlation outside and inside the wedge, and resolution of the molecules."""
    assert variant.truth is not None
    truth = read_mrc(variant.truth)
    assert truth.voxel_size_A is not None
    centres = None if variant.centres is None else read_particles(variant.centres).centre_zyx
    estimate = read_mrc(outcome.full).data
    return evaluate(estimate, truth.data, outcome.tilt_range, truth.voxel_size_A, centres, box).as_dict()


def half_sets(outcome: Outcome) -> Scores:
    """Agreement of both half-sets, and with the raw other half: docs/guide/compare.md tells their worth."""
    estimate = outcome.estimate()
    volumes = [read_mrc(path).data for path in estimate.halves]
    raw = [read_mrc(path) for path in outcome.raw.halves]
    voxel_size_A = raw[0].voxel_size_A or 1.0
    scores = half_set_scores(volumes, [mrc.data for mrc in raw], outcome.tilt_range)
    return {
        "cc_signal": _finite(scores.cc_signal),
        "against_raw_A": _finite(resolution_at(scores.against_raw, voxel_size_A)),
        "half_sets_A": _finite(resolution_at(scores.half_sets, voxel_size_A)),
    }


# What is measured where no truth is known. This is the one place to add to: a measure takes an `Outcome`,
# which knows its files and the folders and configurations of its runs, and gives figures by name.
WITHOUT_TRUTH: tuple[Callable[[Outcome], Scores], ...] = (half_sets,)


def scores_of(outcome: Outcome, variant: Variant) -> Scores:
    """All figures of one tomogram of a method."""
    if variant.truth is not None:
        edge = min(read_mrc(outcome.full).data.shape)
        return with_truth(outcome, variant, min(BOX, edge // 2 * 2))
    figures: dict[str, Any] = {}
    for measure in WITHOUT_TRUTH:
        figures |= measure(outcome)
    return figures


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
