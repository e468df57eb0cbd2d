"""What a fit without some of the tilts knows of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dewedge.report.trust.part import Lengths, Picture
from dewedge.scores.spectra import listed


@dataclass(frozen=True, eq=False)
class Withheld:
    """Figures of what a fit without the outermost tilts knows of them, in directions that only they measured.

    Parameters
    ----------
    given_deg, withheld_deg
        Tilts that it was given, and those kept back.
    edges_per_voxel
        ``(s + 1,)`` of the shells in cycles per voxel.
    correlation, explained
        ``(s,)`` with their reconstruction, whose noise is in it, and the share of its power that vanishes
        when the prediction is subtracted (`dewedge.scores.withheld.ConeScore`).
    predicted, error
        ``(s,)`` the latter of the signal alone, and its standard deviation; NaN where half-sets do not tell
        (`dewedge.scores.withheld.SignalScore`).
    """

    heading: ClassVar[str] = "Asked of tilts kept back"
    meaning: ClassVar[str] = (
        "This is measured, not estimated, but of a harder task: that fit had fewer tilts and a wider wedge "
        "to fill. The specimen itself would reach 100 %, or, where noise is included, less. More of it "
        "is in the folder <code>withheld</code>."
    )

    given_deg: Sequence[float]
    withheld_deg: Sequence[float]
    edges_per_voxel: tuple[float, ...]
    correlation: Sequence[float]
    explained: Sequence[float]
    predicted: Sequence[float]
    error: Sequence[float]

    @property
    def tilts(self) -> str:
        """Tilts kept back, in words."""
        return f"the tilts beyond {max(map(abs, self.given_deg)):.0f} degrees"

    def sentences(self, lengths: Lengths) -> list[str]:
        shells = list(itertools.pairwise(self.edges_per_voxel))
        # The surest first.
        told = sorted(
            (i for i, value in enumerate(self.predicted) if math.isfinite(value)),
            key=lambda i: self.error[i],
        )
        found = []
        if told:
            each = [
                f"{self.predicted[i]:.0%} ± {max(self.error[i], 0.01):.0%} at {lengths.span(*shells[i])}"
                for i in told
            ]
            others = f" ({', '.join(each[1:])})" if each[1:] else ""
            found.append(
                f"Of what {self.tilts} hold, a fit without them would have predicted {each[0]}{others}."
            )
        rest = [
            f"{explained:.0%} at {lengths.span(*shells[i])} (correlation {self.correlation[i]:.2f})"
            for i, explained in enumerate(self.explained)
            if i not in told and math.isfinite(explained)
        ]
        if rest:
            found.append(f"Noise included, of what {self.tilts} hold it explains {', '.join(rest)}.")
        return found

    def pictures(self, lengths: Lengths) -> list[Picture]:
        return []

    def as_dict(self) -> dict[str, Any]:
        return {
            "given_deg": list(self.given_deg),
            "withheld_deg": list(self.withheld_deg),
            "edges_per_voxel": list(self.edges_per_voxel),
            "correlation": listed(self.correlation),
            "explained": listed(self.explained),
            "predicted": listed(self.predicted),
            "error": listed(self.error),
        }


@dataclass(frozen=True, eq=False)
class Inner(Withheld):
    """Figures of what a fit without a block of tilts knows of them.

    Parameters
    ----------
    images_given, images_predicted
        ``(s,)`` mean Fourier ring correlation of the images kept back with the reconstruction of the tilts
        given, and with the prediction.
    """

    heading: ClassVar[str] = "Asked of a block of tilts between others"
    meaning: ClassVar[str] = (
        "The fit takes the gap for measured, so this asks what it makes of tilts that failed, not of the "
        "wedge. What the reconstruction of the other tilts correlates with the images by is no merit of the "
        "network. More of it is in the folder <code>withheld_inner</code>."
    )

    images_given: Sequence[float]
    images_predicted: Sequence[float]

    @property
    def tilts(self) -> str:
        return f"the tilts from {min(self.withheld_deg):.0f} to {max(self.withheld_deg):.0f} degrees"

    def sentences(self, lengths: Lengths) -> list[str]:
        rings = [
            f"{predicted:.2f} ({given:.2f}) at {lengths.span(*edges)}"
            for edges, predicted, given in zip(
                itertools.pairwise(self.edges_per_voxel),
                self.images_predicted,
                self.images_given,
                strict=True,
            )
            if math.isfinite(predicted)
        ]
        return [
            *super().sentences(lengths),
            "With their images the prediction (and the reconstruction of the other tilts) correlates by "
            f"{', '.join(rings)}.",
        ]

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {
            "images_given": listed(self.images_given),
            "images_predicted": listed(self.images_predicted),
        }
