"""What two networks agree on that were fitted to separate halves of space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dewedge.geometry import Floats
from dewedge.report.trust.part import Lengths, Picture
from dewedge.scores.independent import most_with_truth
from dewedge.scores.spectra import ShellSums, listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_INCHES = (8.0, 4.2)


@dataclass(frozen=True, eq=False)
class Fits:
    """Agreement of two networks that were fitted to separate halves of space, given one half-set each.

    Parameters
    ----------
    edges_per_voxel
        ``(s + 1,)`` of the shells in cycles per voxel.
    inside, outside
        Sums of both outputs by shells, in the missing wedge and where tilts measured.
    """

    heading: ClassVar[str] = "Asked of independent fits"
    meaning: ClassVar[str] = (
        "Two networks were fitted to separate halves of the tomogram, each for half as long as the run's, "
        "and given one half-set each, so that no noise is common to both. What they agree on is "
        "reproducible. It need not be true: <em>agreement is not truth</em>, for two networks can invent "
        "alike. So this is a bound from above: with a correlation c between both, neither of them correlates "
        "with the specimen by more than &radic;c (in the mean of both), nor would it, given both half-sets, "
        "by more than &radic;(2c/(1+c)). The run's own network has seen twice as much, and may be better "
        "than that. refined_difference holds the one output less the other: where it is strong beside "
        "refined.mrc, noise or network decides what is seen."
    )

    edges_per_voxel: Sequence[float]
    inside: ShellSums
    outside: ShellSums

    @property
    def most(self) -> Floats:
        """``(s,)`` most that such a fit, given both half-sets, correlates with the truth in the wedge."""
        return most_with_truth(self.inside.correlation)

    def sentences(self, lengths: Lengths) -> list[str]:
        parts = [
            f"{inside:.2f} at {lengths.span(low, high)} ({outside:.2f} where tilts measured)"
            for (low, high), inside, outside in zip(
                itertools.pairwise(self.edges_per_voxel),
                self.inside.correlation,
                self.outside.correlation,
                strict=True,
            )
            if math.isfinite(inside) and math.isfinite(outside)
        ]
        return [
            f"Inside the missing wedge the outputs of two independent fits correlate by {', '.join(parts)}. "
            "Agreement is not truth: it bounds from above how well they know the specimen."
        ]

    def pictures(self, lengths: Lengths) -> list[Picture]:
        return [
            Picture(
                lambda: agreement_figure(self, lengths),
                "Correlation of two independent fits by resolution, inside the missing wedge and outside",
            )
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "edges_per_voxel": list(self.edges_per_voxel),
            "inside": listed(self.inside.correlation),
            "outside": listed(self.outside.correlation),
            "chance": listed(self.inside.chance),
            "correlation_at_most": listed(self.most),
        }


def agreement_figure(found: Fits, lengths: Lengths) -> Figure:
    """The correlation of both fits by frequency, inside and outside, and the bound that follows inside."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCHES, layout="constrained", facecolor="white")
    axes = figure.subplots()
    middles = np.add(found.edges_per_voxel[1:], found.edges_per_voxel[:-1]) / 2
    axes.plot(middles, found.outside.correlation, "o-", color="C2", label="where tilts measured")
    axes.plot(middles, found.inside.correlation, "o-", color="C0", label="inside the missing wedge")
    axes.plot(middles, found.most, "--", color="C0", linewidth=1, label="correlation with the truth, at most")
    chance = 1.645 * found.inside.chance
    axes.fill_between(middles, -chance, chance, color="0.85", linewidth=0, label="chance")
    ticks = found.edges_per_voxel
    axes.set_xticks(ticks, [f"{lengths.of(tick):.0f}" for tick in ticks])
    axes.set(ylim=(-0.1, 1.02), xlim=(ticks[0], ticks[-1]))
    axes.set_xlabel(f"resolution ({lengths.unit})")
    axes.set_ylabel("correlation of two independent fits")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
