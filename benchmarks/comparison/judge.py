"""The scores of a row."""

from __future__ import annotations

from typing import Any

from jobs import Job, is_realistic
from shells import shell_scores
from specimens import Data, Volume, voxel_size_A, without_gold

from dewedge.scores import evaluate
from dewedge.scores.spectra import listed


def scores_of(job: Job, volume: Volume, data: Data) -> dict[str, Any]:
    """Names and values, fit for JSON: against the truth, or of a real series against its withheld tilts."""
    if data.withheld is not None:
        scores = data.withheld.scores(volume, data.full)
        return {
            "correlation": listed(scores.prediction.correlation.round(4)),
            "explained": listed(scores.prediction.explained.round(4)),
            "chance": listed(scores.chance.round(4)),
        }
    assert data.truth is not None
    estimated = without_gold(volume, data.gold)
    against = evaluate(estimated, data.truth, data.tilt_range, voxel_size_A(job), data.centres_zyx)
    scores_of_truth = {
        "cc": round(against.cc, 4),
        "cc_outside": round(against.cc_outside, 4),
        "cc_inside": round(against.cc_inside, 4),
        "fsc": None if against.fsc_A is None else round(against.fsc_A, 2),
        "fsc_inside": None if against.fsc_inside_A is None else round(against.fsc_inside_A, 2),
    }
    further = shell_scores(estimated, data.truth, data.tilt_range) if is_realistic(job.specimen) else {}
    return scores_of_truth | further
