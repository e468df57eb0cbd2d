"""What a fit without the outermost tilts knows of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dewedge.report.trust.part import Lengths, Picture
from dewedge.scores.spectra import listed


@dataclass(frozen=True, eq=False)
class Withheld:
    """What a fit without the outermost tilts knows of them, in the directions that only they measured.

    Parameters
    ----------
    beyond_deg
        The steepest tilt it was given.
    edges_per_voxel
        ``(s + 1,)`` of the shells in cycles per voxel.
    correlation, explained
        ``(s,)`` with their reconstruction, whose noise is in it, and the share of its power that vanishes
        when the prediction is subtracted (`dewedge.scores.withheld.ConeScore`).
    """

    heading: ClassVar[str] = "Asked of tilts kept back"
    meaning: ClassVar[str] = (
        "This is measured, not estimated, but of a harder task: that fit had fewer tilts and a wider wedge "
        "to fill. Noise cannot be explained, so even the specimen itself would not reach 100 %. More of it "
        "is in the folder <code>withheld</code>."
    )

    beyond_deg: float
    edges_per_voxel: tuple[float, ...]
    correlation: Sequence[float]
    explained: Sequence[float]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Withheld:
        """What `as_dict` gave."""
        correlation, explained = (
            [math.nan if value is None else float(value) for value in values[name]]
            for name in ("correlation", "explained")
        )
        return cls(
            float(values["beyond_deg"]), tuple(map(float, values["edges_per_voxel"])), correlation, explained
        )

    def sentences(self, lengths: Lengths) -> list[str]:
        parts = [
            f"{explained:.0%} at {lengths.span(low, high)} (correlation {correlation:.2f})"
            for (low, high), correlation, explained in zip(
                itertools.pairwise(self.edges_per_voxel), self.correlation, self.explained, strict=True
            )
            if math.isfinite(explained)
        ]
        return [
            f"Of what the tilts beyond {self.beyond_deg:.0f} degrees hold, noise included, a fit without "
            f"them explains {', '.join(parts)}."
        ]

    def pictures(self, lengths: Lengths) -> list[Picture]:
        return []

    def as_dict(self) -> dict[str, Any]:
        return {
            "beyond_deg": self.beyond_deg,
            "edges_per_voxel": list(self.edges_per_voxel),
            "correlation": listed(self.correlation),
            "explained": listed(self.explained),
        }
