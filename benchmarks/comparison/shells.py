"""What realistic specimens are scored by besides: correlation by shells of frequency, and round objects.

Most of the power of their truth lies at frequencies where the data hold next to nothing, so a correlation of
all frequencies says little.
"""

from __future__ import annotations

from typing import Any

from specimens import Volume

from dewedge.geometry import TiltRange
from dewedge.scores.objects import elongation, find_objects
from dewedge.scores.spectra import (
    OFF_AXIS,
    from_axis,
    listed,
    plane_angle_deg,
    shell_sums,
    tapered_spectrum,
)
from dewedge.scores.withheld import EDGES
from dewedge.scores.withholding import GAP_DEG


def shell_scores(estimate: Volume, truth: Volume, tilt_range: TiltRange) -> dict[str, Any]:
    """Further fields of a row; None where there is nothing to measure.

    ``shells_outside`` and ``shells_inside`` are correlations with the truth in the shells between `EDGES`, in
    directions that tilts measured and in those at least 11 degrees from all of them, since what was measured
    leaks. Frequencies within 2 / thickness of the tilt axis, where all tilts meet, are left out of both.
    ``z_to_x`` is how much longer the mean of compact objects is along z than along x, at the places where the
    truth has them: the same ones for every method.
    """
    spectrum, of_truth = (
        tapered_spectrum(volume, name, EDGES[-1])
        for volume, name in ((estimate, "estimate"), (truth, "truth"))
    )
    angle = plane_angle_deg(of_truth)
    off_axis = from_axis(of_truth) >= OFF_AXIS / truth.shape[0]
    low, high, _ = tilt_range
    outside = (angle >= low) & (angle <= high) & off_axis
    inside = ((angle <= low - GAP_DEG) | (angle >= high + GAP_DEG)) & off_axis
    shells = [shell_sums(spectrum, of_truth, EDGES, part).correlation.round(4) for part in (outside, inside)]
    places, sign = find_objects(truth)
    found = elongation(estimate, places, sign=sign)
    return {
        "shells_outside": listed(shells[0]),
        "shells_inside": listed(shells[1]),
        "z_to_x": None if found is None else listed([round(found.ratio, 3)])[0],
    }
