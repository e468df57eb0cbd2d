"""What is said of one tomogram: the estimate by shells, the verdict, and all that was asked besides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from dewedge.geometry import Floats
from dewedge.physics.angle_scale import AngleScale
from dewedge.report.trust.judged import Verdict
from dewedge.report.trust.part import Lengths, Part, PartName
from dewedge.scores.extra_wedge import DISTANCES_DEG, Azimuth, ExtraWedge, TrustShell
from dewedge.scores.spectra import listed

# Correlations with the truth: as much signal as the usual resolution criterion asks for (Rosenthal and
# Henderson 2003, J. Mol. Biol. 333, 721: C_ref 0.5), and more signal than error (its square is a half).
LOOK = 0.5
PICK = math.sqrt(0.5)


@dataclass(frozen=True, eq=False)
class Trust:
    """Findings about one tomogram.

    Parameters
    ----------
    name
        Of the tomogram.
    voxel_size_A
        None if it is not known; then lengths are in voxels.
    edges_per_voxel
        ``(s + 1,)`` of the shells in cycles per voxel.
    shells
        The estimate in each shell.
    extra_wedge
        What it is made of, by azimuth.
    by_distance
        The estimate in each shell, for each of `DISTANCES_DEG` from what was measured.
    added
        ``(s,)`` mean power of the result inside the wedge, in units of that outside.
    angle_scale
        By what the tilt angles have to be multiplied to fit the images; None if it cannot be told.
    parts
        What else was asked, by its name.
    seconds
        What each part cost, by its name.
    """

    name: str
    voxel_size_A: float | None
    edges_per_voxel: tuple[float, ...]
    shells: Sequence[TrustShell]
    extra_wedge: Mapping[Azimuth, ExtraWedge]
    added: Floats
    by_distance: Sequence[Sequence[TrustShell]] = ()
    angle_scale: AngleScale | None = None
    parts: Mapping[PartName, Part] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def lengths(self) -> Lengths:
        """Resolutions of frequencies, by the voxel size."""
        return Lengths(self.voxel_size_A)

    def reaches(self, least: float) -> float | None:
        """Frequency, in cycles per voxel, up to which the lower bound is at least so high; None if nowhere.

        From coarse to fine over the shells that can be judged; the first that is lower ends it, and so does
        one that cannot be judged beyond others that could.
        """
        found = None
        for shell in self.shells:
            if shell.low is None:
                if found is not None:
                    break
                continue
            if shell.low < least:
                break
            found = shell.edges_per_voxel[1]
        return found

    def verdict(self) -> Verdict:
        """The sentence on top of the page."""
        scale = self.angle_scale
        if scale is not None and scale.is_off:
            return Verdict(
                "unknown",
                "The tilt angles do not fit the images, so nothing can be said of the filled wedge.",
                f"The images fit best with {scale.factor:.2f} ± {scale.error:.2f} times the angles: look at "
                "the angle file, and run again. The measured part is distorted, too.",
            )
        if all(shell.correlation is None for shell in self.shells):
            reasons = dict.fromkeys(shell.reason for shell in self.shells)
            return Verdict(
                "unknown",
                "How far the filled wedge is to be believed cannot be told.",
                f"Treat it as unknown ({'; '.join(reasons)}). refined_measured holds what was measured.",
            )
        look, pick = (self.reaches(least) for least in (LOOK, PICK))
        if look is None:
            return Verdict(
                "none",
                "What fills the missing wedge is not to be trusted at any resolution that can be judged.",
                "Fit for longer, or to more tomograms; until then use refined_measured, and look at xy "
                "sections alone.",
            )
        if pick is None:
            return Verdict(
                "some",
                f"Inside the missing wedge structure may be looked at down to {self.lengths.text(look)}; "
                "none of it is sure enough to pick from.",
                "Look at xz sections low-passed to that. Pick, average and match templates in "
                "refined_measured.",
            )
        fine = "" if pick == look else f" and looked at down to {self.lengths.text(look)}"
        return Verdict(
            "good",
            f"Inside the missing wedge structure may be picked from down to {self.lengths.text(pick)}{fine}; "
            "what is finer is not to be trusted.",
            "Low-pass xz sections to that before reading them. Average and match templates in "
            "refined_measured.",
        )

    def as_dict(self) -> dict[str, Any]:
        """All figures, fit for JSON."""
        verdict = self.verdict()
        return {
            "name": self.name,
            "voxel_size_A": self.voxel_size_A,
            "verdict": {"level": verdict.level, "sentence": verdict.sentence, "advice": verdict.advice},
            "wedge": [
                {
                    "resolution_A": None
                    if self.voxel_size_A is None
                    else self.lengths.of(shell.edges_per_voxel[1]),
                    "edges_per_voxel": list(shell.edges_per_voxel),
                    "correlation": shell.correlation,
                    "low": shell.low,
                    "high": shell.high,
                    "reason": shell.reason,
                }
                for shell in self.shells
            ],
            "extra_wedge": [
                {
                    "middle": azimuth.middle,
                    "axis": azimuth.axis,
                    "correlation_of_half": listed(found.correlation),
                    "half_sets": listed(found.halves.correlation),
                }
                for azimuth, found in self.extra_wedge.items()
            ],
            "by_distance": [
                {"from_deg": low, "to_deg": high, "correlation": [shell.correlation for shell in shells]}
                for (low, high), shells in zip(DISTANCES_DEG, self.by_distance, strict=False)
            ],
            "added_power": listed(self.added),
            "angle_scale": None if self.angle_scale is None else self.angle_scale._asdict(),
            "seconds": dict(self.seconds),
            **dict.fromkeys(get_args(PartName)),
            **{
                name: {"told": list(part.sentences(self.lengths)), **part.as_dict()}
                for name, part in self.parts.items()
            },
        }
